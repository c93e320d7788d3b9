// SPDX-License-Identifier: Apache-2.0
// Labels by inner products on a CUDA device beside the oracle: what the tests of inner_product_test.cpp, which run on
// all paths, do not reach. Small enough for compute-sanitizer (scripts/gpu_check.sh).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

class CudaProducts : public CudaFits {
 protected:
  using CudaFits::expect_oracle;
  static Result expect_oracle(const Matrix& x, std::int64_t k, const char* filter, std::int64_t memory_limit = 0) {
    return expect_oracle(x, of_products(k, 5), filter, memory_limit);
  }

  // Rows in a common direction, of lengths that differ by orders of magnitude, some of them zero or equal.
  static Matrix of_many_lengths(std::int64_t rows, std::int64_t cols, int magnitudes, Random& random) {
    Matrix x = random_rows(Kind::normal, rows, cols, random);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float length = std::ldexp(1.0f, static_cast<int>(draw(random, -magnitudes, magnitudes)));
      for (std::int64_t j = 0; j < cols; ++j) x.row(i)[j] = (x.row(i)[j] + 0.5f) * length;
    }
    std::fill_n(x.row(0), cols, 0.0f);
    std::fill_n(x.row(rows / 2), cols, 0.0f);
    std::copy_n(x.row(1), cols, x.row(rows - 1));
    return x;
  }
};

TEST_F(CudaProducts, EveryFilterAndKind) {
  Random random(401);
  for (const auto& [filter, d] :
       {std::pair("none", 1), std::pair("none", 33), std::pair("none", 130), std::pair("int8", 1),
        std::pair("int8", 31), std::pair("int8", 64), std::pair("int8", 65), std::pair("int8", 130),
        std::pair("low_dim", 3), std::pair("int8_lists", 130), std::pair("narrow", 130)})
    for (const Kind kind : kKinds) {
      SCOPED_TRACE(::testing::Message() << filter << " d " << d << " kind " << static_cast<int>(kind));
      Matrix x = random_rows(kind, 300, d, random);
      std::fill_n(x.row(5), d, 0.0f);
      expect_oracle(x, 140, filter);
      if (HasFailure()) return;
    }
}

TEST_F(CudaProducts, NumbersOfRowsAndCentroidsOffEveryTile) {
  Random random(402);
  for (const auto& [n, k] : {std::pair(1, 1), std::pair(2, 2), std::pair(127, 1), std::pair(128, 128),
                             std::pair(129, 127), std::pair(257, 129), std::pair(700, 257)})
    for (const char* filter : {"none", "int8"}) {
      SCOPED_TRACE(::testing::Message() << filter << " n " << n << " k " << k);
      expect_oracle(random_rows(Kind::normal, n, 70, random), k, filter);
    }
}

TEST_F(CudaProducts, LengthsThatDifferByOrdersOfMagnitude) {
  Random random(403);
  for (const int magnitudes : {2, 10, 30})
    for (const std::int64_t d : {9, 100})
      for (const char* filter : {"none", "int8"}) {
        SCOPED_TRACE(::testing::Message() << filter << " d " << d << " magnitudes " << magnitudes);
        expect_oracle(of_many_lengths(900, d, magnitudes, random), 200, filter);
      }
}

// Sketches of more than 1024 elements are made by blocks; with more than 16384 there are none.
TEST_F(CudaProducts, LongRows) {
  Random random(404);
  expect_oracle(random_rows(Kind::normal, 40, 1100, random), 9, "int8");
  expect_oracle(random_rows(Kind::normal, 12, 16385, random), 3, "int8");
}

TEST_F(CudaProducts, EveryKernelBulk) {
  Random random(405);
  const Matrix x = of_many_lengths(500, 200, 2, random);
  expect_every_kernel([&] { return expect_oracle(x, 300, "int8"); });
}

// Rows in one place: lists run over, and are scanned again. Against copies of one centroid, which no bound can tell
// apart, they run over once more, and all products are computed.
TEST_F(CudaProducts, ListsThatRunOver) {
  Random random(406);
  for (const int exponent : {-12, -6}) {
    Matrix x = random_rows(Kind::normal, 3000, 70, random);
    for (std::int64_t i = 0; i < x.rows; ++i)
      for (std::int64_t j = 0; j < x.cols; ++j)
        x.row(i)[j] = std::ldexp(x.row(i)[j], exponent) + (i % 50 ? 1.0f : 1.5f);
    expect_oracle(x, of_products(2500, 3), "int8");
    if (exponent != -12) continue;
    constexpr std::int64_t kSecond = 8 * 128;  // places in the lists of a row
    Matrix copies(2500, x.cols);
    for (std::int64_t c = 0; c < copies.rows; ++c) std::copy_n(x.row(1), x.cols, copies.row(c));
    Params params = of_products(copies.rows, 2);
    params.init = copies.view();
    EXPECT_GT(expect_oracle(x, params, "int8").iterations[0].filter.refined, kSecond * x.rows);
  }
}

// Few products are computed once labels are known, also where centroids are of many lengths.
TEST_F(CudaProducts, TheFilterServes) {
  Random random(407);
  constexpr std::int64_t kRows = 2000, kClusters = 200;
  const Matrix x = clusters_of_many_lengths(kRows, kClusters, 96, random);
  Params params = of_products(kClusters, 8);
  params.empty_clusters = EmptyClusters::split;
  EXPECT_LT(expect_oracle(x, params, "int8").iterations[6].filter.refined, kRows * kClusters / 10);
}

// Rows that do not fit stay on the host, and cross the bus in many pieces.
TEST_F(CudaProducts, MemoryLimit) {
  Random random(408);
  const Matrix x = of_many_lengths(20'000, 96, 1, random);  // 7.7 MB
  for (const std::int64_t limit : {0, 6 << 20, 3 << 20}) expect_oracle(x, 60, "int8", limit);
  expect_oracle(x, 60, "none", 3 << 20);
}

// What rows would gain as centroids of their own decides who fills an empty cluster; rows of weight 0 do not.
TEST_F(CudaProducts, EmptyClustersWeightsRunsAndShards) {
  Random random(409);
  const Matrix x = of_many_lengths(200, 30, 1, random), given = centroids_near(x, 9, random);
  std::vector<std::int64_t> weights;
  for (std::int64_t i = 0; i < x.rows; ++i) weights.push_back(draw(random, 0, 3));
  for (const EmptyClusters rule : {EmptyClusters::farthest, EmptyClusters::split, EmptyClusters::random}) {
    Params params = of_products(50, 6);
    params.empty_clusters = rule;
    params.nredo = 2;
    params.init = given.view();
    params.frozen_centroids = rule == EmptyClusters::random;
    params.int_centroids = rule == EmptyClusters::farthest;
    params.execution = on("scalar");
    const Result expected = fit_on_shards(x.view(), {x.rows}, params, inner_product(), weights.data())[0];
    EXPECT_GT(expected.iterations[0].empty, 0);
    for (const char* filter : {"int8", "none"})
      for (const Ends& ends : {Ends{x.rows}, Ends{70, 70, x.rows}}) {
        SCOPED_TRACE(::testing::Message() << filter << " rule " << static_cast<int>(rule) << " shards " << ends.size());
        params.execution = on(Path{"cuda", filter});
        expect_same(fit_on_shards(x.view(), ends, params, inner_product(), weights.data())[0], expected);
      }
  }
}

// By distances, whatever decides labels.
TEST_F(CudaProducts, Initialisations) {
  Random random(410);
  const Matrix x = of_many_lengths(2000, 40, 1, random);
  for (const InitMethod method :
       {InitMethod::random, InitMethod::kmeans_plus_plus, InitMethod::kmeans_parallel, InitMethod::afk_mc2}) {
    SCOPED_TRACE(::testing::Message() << "method " << static_cast<int>(method));
    Params params = of_products(50, 2);
    params.init_method = method;
    expect_oracle(x, params, "int8");
  }
}

// Values of a prediction.
TEST_F(CudaProducts, PredictGivesProducts) {
  Random random(411);
  PredictParams params;
  params.metric = MetricType::inner_product;
  params.distances = true;
  const Matrix many = of_many_lengths(3001, 77, 10, random), others = of_many_lengths(131, 77, 10, random);
  for (const char* filter : {"int8", "none"}) {
    params.execution = on(Path{"cuda", filter});
    expect_products_by_hand(params.execution);
    const Prediction found = predict(many.view(), others.view(), params);
    params.execution = on("scalar");
    const Prediction expected = predict(many.view(), others.view(), params);
    EXPECT_EQ(found.labels, expected.labels);
    EXPECT_TRUE(same_bits(found.distances, expected.distances));
  }
}

// Products that sink below all denormals are 0 or -0, which is no less: ties go to the lowest index, and the oracle
// finds what is stored, sign and all.
TEST_F(CudaProducts, ProductsThatVanish) {
  const Environment verify("FASTKMEANS_VERIFY", "1");
  Random random(412);
  for (const char* filter : {"int8", "none"})
    for (const int exponent : {-70, -75, -80, -140})
      for (const bool mixed : {true, false}) {  // no: all lanes of a pair are 0, or all are -0
        SCOPED_TRACE(::testing::Message() << filter << " exponent " << exponent << " mixed " << mixed);
        Matrix x = random_rows(Kind::integers, 400, 40, random);
        for (std::int64_t i = 0; i < x.rows; ++i)
          for (std::int64_t j = 0; j < x.cols; ++j) {
            float& value = x.row(i)[j];
            if (!mixed) value = (std::abs(value) + 1) * (i % 3 ? 1.0f : -1.0f);
            value = std::ldexp(value, exponent);
          }
        expect_oracle(x, 90, filter);
      }
}

TEST_F(CudaProducts, BadRowsAreTheErrorOfTheCpu) {
  Random random(413);
  Matrix x = random_rows(Kind::normal, 300, 20, random);
  x.row(17)[3] = std::numeric_limits<float>::quiet_NaN();
  PredictParams params;
  params.metric = MetricType::inner_product;
  const Matrix centroids = random_rows(Kind::normal, 9, 20, random);
  std::vector<std::string> texts;
  for (const Execution& execution : {on("scalar"), on(Path{"cuda", "int8"}), on(Path{"cuda", "none"})}) {
    params.execution = execution;
    texts.push_back(message_of<std::invalid_argument>([&] { predict(x.view(), centroids.view(), params); }));
  }
  EXPECT_EQ(texts[1], texts[0]);
  EXPECT_EQ(texts[2], texts[0]);
}

}  // namespace
}  // namespace fastkmeans::testing
