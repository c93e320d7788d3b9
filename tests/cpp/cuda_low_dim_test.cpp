// SPDX-License-Identifier: Apache-2.0
// Rows of few elements on a CUDA device: their filter, and how they move from cluster to cluster.
#include <cmath>
#include <utility>

#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

class CudaLowDim : public CudaFits {
 protected:
  // From the first k rows, of all rows.
  static void expect_oracle_from_first_rows(const Matrix& x, std::int64_t k, int niter) {
    Params params = params_of(k, niter, -1);
    params.max_points_per_centroid.reset();
    params.init = MatrixView(x.row(0), k, x.cols, DType::f32);
    expect_oracle(x, params, "low_dim");
  }
};

// All numbers of lanes of which a row has some, rows of weight 0, labels that change from iteration to iteration.
TEST_F(CudaLowDim, RowsMoveHeavy) {
  Random random(314);
  for (const std::int64_t d : {1, 2, 3, 5, 8, 9, 16, 17, 31, 32, 33, 64})
    for (const auto& [n, k] : {std::pair(1055, 15), std::pair(1055, 1), std::pair(31, 3)}) {
      const Matrix x = random_rows(Kind::normal, n, d, random);
      std::vector<std::int64_t> weights;
      for (std::int64_t i = 0; i < n; ++i) weights.push_back(draw(random, 0, 3));
      for (const std::int64_t* some : {static_cast<const std::int64_t*>(nullptr), std::as_const(weights).data()}) {
        SCOPED_TRACE(::testing::Message() << "d " << d << " n " << n << " k " << k << (some ? " weights" : ""));
        Params params = params_of(k, 6, -1);
        params.max_points_per_centroid.reset();
        params.execution = on("scalar");
        const Result expected = fit_on_shards(x.view(), {x.rows}, params, euclidean(), some)[0];
        for (const IterationStats& stats : expected.iterations) EXPECT_GT(stats.changed, k == 15 ? 0 : -1);
        for (const char* filter : {"none", "low_dim", "int8"}) {
          params.execution = on(Path{"cuda", filter});
          const Result got = fit_on_shards(x.view(), {x.rows}, params, euclidean(), some)[0];
          expect_same(got, expected);
          for (const IterationStats& stats : got.iterations) expect_ran({"cuda", filter}, stats.filter, d, false);
        }
      }
    }
}

// Many whole blocks of rows, more than there are at a time, and a part of one; with more centroids than shared memory
// has at a time too.
TEST_F(CudaLowDim, ManyRowsHeavy) {
  Random random(316);
  for (const auto& [d, n, k] :
       {std::tuple(3, 2'400'001, 5), std::tuple(8, 1'300'001, 5), std::tuple(13, 200'001, 5),
        std::tuple(32, 1'300'001, 5), std::tuple(33, 700'001, 5), std::tuple(2, 450'001, 1030)}) {
    SCOPED_TRACE(::testing::Message() << "d " << d << " n " << n << " k " << k);
    Params params = params_of(k, k > 5 ? 1 : 3, -1);
    params.max_points_per_centroid.reset();
    expect_oracle(random_rows(Kind::normal, n, d, random), params, "low_dim");
  }
}

// More centroids than shared memory has at a time: 1024, 512, 256 or 128, as rows are long; the last one alone too.
TEST_F(CudaLowDim, ManyCentroids) {
  Random random(315);
  for (const auto& [d, k] : {std::pair(1, 1025), std::pair(3, 1024), std::pair(8, 1032), std::pair(9, 513),
                             std::pair(16, 1025), std::pair(17, 257), std::pair(32, 513), std::pair(33, 129)})
    for (const Kind kind : {Kind::normal, Kind::integers}) {
      SCOPED_TRACE(::testing::Message() << "d " << d << " k " << k << " kind " << static_cast<int>(kind));
      expect_oracle(random_rows(kind, 1100, d, random), k, "low_dim");
    }
}

// All kinds of rows, in every number of elements that the tensor cores are fed: scores of 11 bits must not decide.
TEST_F(CudaLowDim, EveryKind) {
  Random random(317);
  for (const std::int64_t d : {1, 7, 8, 12, 16, 20, 32, 50, 64})
    for (const Kind kind : kKinds) {
      SCOPED_TRACE(::testing::Message() << "d " << d << " kind " << static_cast<int>(kind));
      expect_oracle(random_rows(kind, 700, d, random), 37, "low_dim");
    }
}

// Rows around the middle between two centroids, as far from it as fp32 tells apart and somewhat farther.
TEST_F(CudaLowDim, NearTheMiddle) {
  Random random(318);
  for (const std::int64_t d : {2, 8, 16, 32, 64}) {
    SCOPED_TRACE(::testing::Message() << "d " << d);
    Matrix x = random_rows(Kind::normal, 1000, d, random);
    for (std::int64_t i = 0; i < x.rows; ++i)  // first elements -1 and 1, then those that lie between
      x.row(i)[0] = i < 2 ? static_cast<float>(2 * i - 1)
                          : std::ldexp(static_cast<float>(draw(random, -3, 3)), -static_cast<int>(draw(random, 4, 24)));
    std::copy_n(x.row(0) + 1, d - 1, x.row(1) + 1);
    expect_oracle_from_first_rows(x, 2, 1);
  }
}

// Centroids that are one and the same to tensor cores, in the columns of all lanes, and rows that tell them apart.
TEST_F(CudaLowDim, CentroidsThatRoundToOne) {
  Random random(320);
  for (const std::int64_t d : {2, 8, 16, 32, 64}) {
    SCOPED_TRACE(::testing::Message() << "d " << d);
    const Matrix middle = random_rows(Kind::normal, 1, d, random);
    Matrix x(600, d);
    for (std::int64_t i = 0; i < x.rows; ++i)
      for (std::int64_t j = 0; j < d; ++j)
        x.row(i)[j] = middle.row(0)[j] + std::ldexp(static_cast<float>(draw(random, -8, 8)), i % 2 ? -22 : -16);
    std::copy_n(random_rows(Kind::normal, 300, d, random).row(0), 300 * d, x.row(300));  // the centre is not there
    expect_oracle_from_first_rows(x, 24, 2);
  }
}

// Centroids that stay, alone, by twos and by threes that tensor cores do not tell apart. A label that is known from the
// assignment before is confirmed with one distance, or two; else a row needs all of them, as it did at first.
TEST_F(CudaLowDim, KnownLabelsAreConfirmed) {
  Random random(321);
  for (const std::int64_t d : {5, 8, 11, 16, 32, 64})
    for (const std::int64_t together : {1, 2, 3}) {
      SCOPED_TRACE(::testing::Message() << "d " << d << " together " << together);
      constexpr std::int64_t k = 12, n = 1500;
      Matrix centroids(k, d), x(n, d);
      for (std::int64_t c = 0; c < k; ++c)
        for (std::int64_t j = 0; j < d; ++j) {
          const std::int64_t group = c / together, middle = j == 0 ? group % 4 : j == 1 ? group / 4 : 1;
          centroids.row(c)[j] = 8 * static_cast<float>(middle) + std::ldexp(static_cast<float>(c % together), -17);
        }
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j)
          x.row(i)[j] = centroids.row(i % k)[j] + std::ldexp(static_cast<float>(draw(random, -1000, 1000)), -12);
      Params params = params_of(k, 2, -1);
      params.max_points_per_centroid.reset();
      params.init = centroids.view();
      params.frozen_centroids = true;
      const Result got = expect_oracle(x, params, "low_dim");
      ASSERT_GE(got.iterations.size(), 2u);
      const auto expect_distances = [&](std::size_t iteration, std::int64_t expected) {
        // But for a few rows that lie so near to a centroid that the bound tells it from the others.
        EXPECT_NEAR(static_cast<double>(got.iterations[iteration].filter.refined), static_cast<double>(expected),
                    n / 10);
      };
      expect_distances(0, together == 1 ? n : n + n * k);
      expect_distances(1, together == 1 ? n : together == 2 ? 2 * n : 2 * n + n * k);
    }
}

// Few rows need more than one distance, though some clusters have two centroids.
TEST_F(CudaLowDim, TheFilterServes) {
  Random random(319);
  for (const std::int64_t d : {4, 8, 16, 32, 64}) {
    SCOPED_TRACE(::testing::Message() << "d " << d);
    const Matrix centres = random_rows(Kind::normal, 50, d, random);
    Matrix x = random_rows(Kind::normal, 20'000, d, random);
    for (std::int64_t i = 0; i < x.rows; ++i)
      for (std::int64_t j = 0; j < d; ++j) x.row(i)[j] = x.row(i)[j] * 0.3f + centres.row(i % 50)[j];
    Params params = params_of(50, 4, -1);
    params.max_points_per_centroid.reset();
    for (const IterationStats& stats : expect_oracle(x, params, "low_dim").iterations)
      EXPECT_LT(stats.filter.refined, 2 * x.rows);
  }
}

}  // namespace
}  // namespace fastkmeans::testing
