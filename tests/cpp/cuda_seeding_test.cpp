// SPDX-License-Identifier: Apache-2.0
// What initialisations ask of a shard on a CUDA device, and the initialisations that ask, beside the oracle. Small
// enough for compute-sanitizer.
#include <array>

#include "cuda_fits.hpp"
#include "host/masses.hpp"
#include "kmeans_plus_plus.hpp"
#include "make_shard.hpp"

namespace fastkmeans::testing {
namespace {

class CudaSeeding : public CudaFits {
 protected:
  static constexpr int kWithoutSketches = 4;  // looks at candidates

  // k-means++, and which filter its last step went by.
  struct Seeds {
    std::vector<float> centroids;
    std::string filter;
  };
  static Seeds seeds_of(const Source& rows, const Metric& metric, std::int64_t k, const Execution& execution) {
    Workers workers(2, {});
    NoReducer reducer;
    const auto shard = make_shard(rows, metric, execution, workers);
    std::vector<float> centroids = kmeans_plus_plus({}, *shard, rows, metric, k, 11, 1, reducer, workers);
    return {std::move(centroids), std::string(shard->filter_of_masses())};
  }

  static std::vector<std::int64_t> random_weights(std::int64_t n, Random& random) {
    std::vector<std::int64_t> weights(static_cast<std::size_t>(n));
    for (auto& weight : weights) weight = draw(random, 0, 3);
    weights[0] = 1;
    return weights;
  }

  static void expect_same_seeds(const Source& rows, std::int64_t k, const char* filter, std::int64_t memory_limit = 0,
                                const Metric& metric = euclidean()) {
    const Seeds expected = seeds_of(rows, metric, k, on("scalar"));
    Execution execution = on(Path{"cuda", ""});
    execution.memory_limit = memory_limit;
    const Seeds got = seeds_of(rows, metric, k, execution);
    EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
    EXPECT_EQ(got.filter, filter);
  }
};

// Rows off every tile of the scan, sketches of one step and of many; up to eight candidates are one tile, nine (k =
// 1100) are two.
TEST_F(CudaSeeding, KMeansPlusPlus) {
  Random random(501);
  for (const auto& [n, d, k] : {std::array<std::int64_t, 3>{900, 3, 40},
                                {1025, 64, 60},
                                {1500, 65, 90},
                                {31, 20, 12},
                                {33, 20, 12},
                                {700, 130, 30},
                                {1200, 20, 1100},
                                {90, 1100, 20}}) {
    SCOPED_TRACE(::testing::Message() << n << " x " << d << ", k " << k);
    const Matrix x = random_rows(Kind::normal, n, d, random);
    const std::vector<std::int64_t> weights = random_weights(n, random);
    expect_same_seeds(HostArray(x.view()), k, "int8");
    expect_same_seeds(HostArray(x.view(), 0, weights.data()), std::min(k, n / 2), "int8");
  }
}

// More rows than all warps of a device take at once, beside the CPU.
TEST_F(CudaSeeding, ManyRowsHeavy) {
  Random random(508);
  const Matrix x = random_rows(Kind::normal, 700'001, 12, random);
  const HostArray rows(x.view());
  const Seeds expected = seeds_of(rows, euclidean(), 150, Execution());
  const Seeds got = seeds_of(rows, euclidean(), 150, on(Path{"cuda", ""}));
  EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
  EXPECT_EQ(got.filter, "int8");
}

// Rows that are hard on the bound, and on the rule for tiny data: where a candidate is tiny D is taken of all rows.
TEST_F(CudaSeeding, KindsOfRows) {
  Random random(502);
  for (const Kind kind : kKinds) {
    SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(kind));
    const bool may_be_tiny =
        kind == Kind::tiny || kind == Kind::denormal || kind == Kind::mixed_rows || kind == Kind::half_tiny;
    for (const std::int64_t d : {1, 33}) {
      const Matrix x = random_rows(kind, 600, d, random);
      const std::vector<std::int64_t> weights = random_weights(x.rows, random);
      for (const std::int64_t* of_rows : {static_cast<const std::int64_t*>(nullptr), std::as_const(weights).data()}) {
        const HostArray rows(x.view(), 0, of_rows);
        const Seeds expected = seeds_of(rows, euclidean(), 50, on("scalar"));
        const Seeds got = seeds_of(rows, euclidean(), 50, on(Path{"cuda", ""}));
        EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
        if (!may_be_tiny && d > 1) {
          EXPECT_EQ(got.filter, "int8");
        }
        if (kind == Kind::tiny || kind == Kind::denormal) {
          EXPECT_EQ(got.filter, "none");
        }
      }
    }
  }
}

// Verb by verb: most often a candidate becomes a centroid, but anything else may; exponents that are not the largest
// distance's; more candidates than are scanned at once; and a second run begins with what the first has left.
TEST_F(CudaSeeding, StepByStep) {
  Random random(503);
  for (const Kind kind : {Kind::normal, Kind::half_tiny, Kind::duplicates, Kind::mixed_rows, Kind::huge})
    for (const std::int64_t n : {1, 200, 3000}) {
      const std::int64_t d = kind == Kind::half_tiny ? 1 : draw(random, 1, 70);
      const Matrix x = random_rows(kind, n, d, random);
      const std::vector<std::int64_t> weights = random_weights(n, random);
      const HostArray rows(x.view(), 0, weights.data());
      Workers workers(2, {});
      const auto ours = make_shard(rows, euclidean(), on(Path{"cuda", ""}), workers);
      const auto oracle = make_shard(rows, euclidean(), on("scalar"), workers);
      std::vector<double> got(weights.size()), expected(weights.size());
      const auto lower = [&](CentroidsView added, bool first) {
        for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances(added, first);
        ours->copy_distances(got.data());
        oracle->copy_distances(expected.data());
        ASSERT_EQ(got, expected);
      };
      for (int redo = 0; redo < 2; ++redo) {
        lower(centroids_near(x, 1, random).centroids(), true);
        for (int step = 0; step < 14; ++step) {
          SCOPED_TRACE(::testing::Message() << static_cast<int>(kind) << ' ' << n << ' ' << redo << ' ' << step);
          const double largest = oracle->largest_distance();
          ASSERT_EQ(ours->largest_distance(), largest);
          if (largest == 0) break;
          const int exponent = 30 - std::ilogb(largest);
          const std::array<std::int64_t, 6> counts = {5, 40, 8, 9, 16, 17};
          const Matrix candidates =
              candidates_near(x, counts[static_cast<std::size_t>(step) % counts.size()], step % 3 == 0, random);
          for (const int scale : {exponent, exponent - 5}) {
            const Mass total = oracle->total_mass(scale);
            ASSERT_TRUE(ours->total_mass(scale) == total);
            if (total > 0) {
              const std::vector<Mass> some = {0, total / 3, total - 1, total / 7};
              ASSERT_EQ(ours->rows_at(scale, some), oracle->rows_at(scale, some));
            }
            ASSERT_TRUE(ours->masses_with(candidates.centroids(), scale) ==
                        oracle->masses_with(candidates.centroids(), scale));
            if (kind == Kind::normal && step >= kWithoutSketches && n < 3000) {  // there is room for all pairs
              EXPECT_EQ(ours->filter_of_masses(), candidates.rows <= 16 ? "int8" : "none");
            }
          }
          if (step == 6)
            lower(centroids_near(x, 3, random).centroids(), false);
          else
            lower({step == 5 ? x.row(0) : candidates.row(step % 5), 1, d}, false);
        }
      }
    }
}

// Where so many pairs are near that there is no room for them D is taken of all: iid rows of many dimensions, of which
// the first centroids are equally far. Later there is.
TEST_F(CudaSeeding, PairsWithoutRoom) {
  Random random(504);
  const Matrix x = random_rows(Kind::normal, 9000, 64, random);
  Workers workers(2, {});
  const HostArray rows(x.view());
  const auto ours = make_shard(rows, euclidean(), on(Path{"cuda", ""}), workers);
  const auto oracle = make_shard(rows, euclidean(), on("scalar"), workers);
  Matrix far(1, 64), near(8, 64);
  std::fill_n(far.row(0), 64, 100.0f);
  for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances(far.centroids(), true);
  const auto expect_same = [&](const char* filter) {
    ASSERT_TRUE(ours->masses_with(near.centroids(), 10) == oracle->masses_with(near.centroids(), 10));
    EXPECT_EQ(ours->filter_of_masses(), filter);
  };
  near = random_rows(Kind::normal, 8, 64, random);
  for (int look = 0; look < 6; ++look) expect_same("none");  // all are nearer than `far`
  // One of these becomes a centroid all the same, and then every row has been near.
  for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances({near.row(3), 1, 64}, false);
  const Matrix many = centroids_near(x, 400, random);
  for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances(many.centroids(), false);
  near = random_rows(Kind::normal, 8, 64, random);
  expect_same("int8");
  for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances({near.row(2), 1, 64}, false);
  ASSERT_TRUE(ours->total_mass(10) == oracle->total_mass(10));
}

// Rows that are converted as they are read, that the metric changes, that lie apart, and that stay on the host.
TEST_F(CudaSeeding, RowsThatAreFetched) {
  Random random(505);
  const Matrix x = random_rows(Kind::normal, 6000, 96, random);  // 2.3 MB
  expect_same_seeds(HostArray(x.view()), 120, "int8", 0, spherical());
  expect_same_seeds(HostArray(x.view()), 120, "int8", 3 << 20);  // sketches fit, rows do not
  expect_same_seeds(HostArray(x.view()), 20, "none", 1 << 20);   // nor sketches
  std::vector<double> wide(x.values.begin(), x.values.end());
  expect_same_seeds(HostArray(MatrixView(wide.data(), x.rows, x.cols, DType::f64)), 60, "int8");
  const MatrixView apart(x.values.data(), x.rows / 2, x.cols / 2, DType::f32, 2 * 96 * 4, 2 * 4);
  expect_same_seeds(HostArray(apart), 40, "int8");
}

// Fits that begin with them. The pool of k-means|| is on the device too, or, with little memory, on the host.
TEST_F(CudaSeeding, Fits) {
  Random random(506);
  const Matrix x = random_rows(Kind::normal, 4000, 40, random), given = centroids_near(x, 7, random);
  const std::vector<std::int64_t> weights = random_weights(x.rows, random);
  for (const InitMethod method : {InitMethod::kmeans_plus_plus, InitMethod::kmeans_parallel, InitMethod::afk_mc2}) {
    SCOPED_TRACE(::testing::Message() << "method " << static_cast<int>(method));
    Params params = params_of(50, 2, -1);
    params.init_method = method;
    params.nredo = 2;
    for (const std::int64_t limit : {std::int64_t{0}, std::int64_t{6} << 20}) expect_oracle(x, params, "int8", limit);
    params.init = given.view();
    expect_oracle(x, params, "int8");
    for (const Metric* metric : {&euclidean(), &spherical()}) {
      params.execution = on("scalar");
      const Result expected = fit_on_shards(x.view(), {x.rows}, params, *metric, weights.data())[0];
      params.execution = on(Path{"cuda", "int8"});
      for (const Ends& ends : {Ends{x.rows}, Ends{900, 900, x.rows}})
        expect_same(fit_on_shards(x.view(), ends, params, *metric, weights.data())[0], expected);
    }
  }
}

// A shard beside that of a fit: on the same device, as long as there is memory.
TEST_F(CudaSeeding, ShardBesideAnother) {
  Random random(507);
  const Matrix x = random_rows(Kind::normal, 500, 20, random), pool = random_rows(Kind::normal, 300, 20, random);
  const HostArray rows(x.view()), others(pool.view());
  Workers workers(2, {});
  Execution execution = on(Path{"cuda", "int8"});
  for (const std::int64_t limit : {std::int64_t{0}, std::int64_t{1} << 30, std::int64_t{16} << 20}) {
    execution.memory_limit = limit;
    const auto shard = make_shard(rows, euclidean(), execution, workers);
    shard->start_run({centroids_near(x, 9, random).values});
    shard->assign(false);
    shard->assigned();
    const auto beside = shard->beside(others);
    ASSERT_EQ(beside != nullptr, limit != 16 << 20);
    if (!beside) continue;
    const auto oracle = make_shard(others, euclidean(), on("scalar"), workers);
    for (Shard* of_others : {beside.get(), oracle.get()}) of_others->lower_distances({pool.row(0), 9, pool.cols}, true);
    EXPECT_EQ(beside->largest_distance(), oracle->largest_distance());
    shard->start_run({centroids_near(x, 9, random).values});
    shard->assign(false);
    shard->assigned();
  }
}

// Both ends of every row's mass, over three parts, beyond 64 bits in all; more masses than before in a later call.
TEST_F(CudaSeeding, RowsAtEveryEnd) {
  Random random(509);
  const Matrix x = random_rows(Kind::normal, 9001, 3, random);
  std::vector<std::int64_t> weights = random_weights(x.rows, random);
  for (auto& weight : weights) weight <<= 24;
  const HostArray rows(x.view(), 0, weights.data());
  Workers workers(2, {});
  const auto ours = make_shard(rows, euclidean(), on(Path{"cuda", ""}), workers);
  const auto oracle = make_shard(rows, euclidean(), on("scalar"), workers);
  for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances({x.row(0), 2, 3}, true);
  std::vector<double> distances(weights.size());
  oracle->copy_distances(distances.data());
  const int exponent = mass_exponent(oracle->largest_distance());
  const Mass total = oracle->total_mass(exponent);
  ASSERT_TRUE((total >> 64) > 0);
  ASSERT_TRUE(ours->total_mass(exponent) == total);
  std::vector<Mass> ends = {0};
  Mass sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Mass own = Masses::mass(distances[i], std::ldexp(1.0, exponent), weights[i]);
    if (own == 0) continue;
    sum += own;
    ends.push_back(sum - 1);
    if (sum < total) ends.push_back(sum);
  }
  ASSERT_TRUE(sum == total);
  ASSERT_EQ(ours->rows_at(exponent, {ends[0]}), oracle->rows_at(exponent, {ends[0]}));
  ASSERT_EQ(ours->rows_at(exponent, ends), oracle->rows_at(exponent, ends));
}

}  // namespace
}  // namespace fastkmeans::testing
