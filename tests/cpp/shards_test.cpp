// SPDX-License-Identifier: Apache-2.0
// The bits do not depend on how the rows are spread over shards; weights and metrics work on all paths; the verbs that
// initialisations need.
#include "shards.hpp"

#include <algorithm>
#include <limits>

#include "numeric/distance.hpp"
#include "scalar/scalar_distance.hpp"

namespace fastkmeans::testing {
namespace {

std::vector<Path> all_paths() {
  std::vector<Path> paths = fit_paths(true);
  for (const cpu::Isa* isa : kernel_isas()) paths.push_back({std::string(isa->name), ""});
  paths.push_back({"scalar", ""});
  return paths;
}

// Each path on one shard and on one of the spreads, in turn; or, since threads that wait for each other are slow, all
// paths on all spreads in tests named Heavy alone.
void compare(const MatrixView& x, Params params, const Metric& metric = euclidean(),
             const std::int64_t* weights = nullptr, bool all_spreads = false) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  params.execution = on("scalar");
  const Result expected = fit_on_shards(x, {x.rows}, params, metric, weights)[0];
  std::size_t turn = 0;
  for (const Path& path : all_paths()) {
    ++turn;
    params.execution = on(path, 2);
    params.execution.chunk_size_data = 64;
    SCOPED_TRACE(::testing::Message() << path << " n " << x.rows << " d " << x.cols << " k " << params.k);
    expect_same(fit_on_shards(x, {x.rows}, params, metric, weights)[0], expected);
    const std::vector<Ends> all = spreads(x.rows);
    for (const Ends& ends : all) {
      if (!all_spreads && &ends != &all[turn % all.size()]) continue;
      SCOPED_TRACE(::testing::Message() << ends.size() << " shards");
      const std::vector<Result> got = fit_on_shards(x, ends, params, metric, weights);
      for (const Result& shard : got) expect_same(shard, expected, &shard == &got[0]);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Shards, BitsDoNotDependOnTheSpread) {
  Random random(200);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, draw(random, 60, 200), draw(random, 1, 40), random);
    compare(x.view(), params_of(draw(random, 1, 40), 6, draw(random, -1, 0)));
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(Shards, AllSpreadsOnAllPathsHeavy) {
  Random random(211);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, draw(random, 60, 200), draw(random, 1, 40), random);
    compare(x.view(), params_of(draw(random, 1, 40), 6, draw(random, -1, 0)), euclidean(), nullptr, true);
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(Shards, SamplesRunsAndInitialCentroids) {
  Random random(201);
  const Matrix x = random_rows(Kind::integers, 400, 3, random);  // many equal rows
  Params params = params_of(60, 5, 0);
  params.nredo = 3;
  compare(x.view(), params);
  params.max_points_per_centroid = 3;
  compare(x.view(), params);
  params.labels = false;
  compare(x.view(), params);
}

TEST(Shards, KMeansPlusPlus) {
  Random random(212);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, draw(random, 60, 150), draw(random, 1, 40), random);
    Params params = params_of(draw(random, 1, 30), 3, 0);
    params.init_method = InitMethod::kmeans_plus_plus;
    params.nredo = 2;
    compare(x.view(), params);
    if (kind == Kind::normal) compare(x.view(), params, spherical());
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(Shards, KMeansParallelAndAfkMc2) {
  Random random(214);
  for (const Kind kind : {Kind::normal, Kind::duplicates, Kind::half_tiny}) {
    const Matrix x = random_rows(kind, 120, 4, random);
    const Matrix given = centroids_near(x, 2, random);
    Params params = params_of(8, 1, 0);
    params.init_method = kind == Kind::duplicates ? InitMethod::afk_mc2 : InitMethod::kmeans_parallel;
    params.nredo = 2;
    compare(x.view(), params);
    params.init_method = InitMethod::afk_mc2;
    if (kind == Kind::normal) {
      params.init = given.view();
      compare(x.view(), params, spherical());
    }
  }
}

TEST(Shards, GivenFrozenAndIntegerCentroids) {
  Random random(213);
  for (const Kind kind : {Kind::normal, Kind::integers, Kind::duplicates, Kind::tiny}) {
    const Matrix x = random_rows(kind, 150, 5, random);
    const Matrix given = centroids_near(x, 4, random);
    Params params = params_of(25, 4, 0);
    params.init = given.view();
    params.nredo = 2;
    for (const InitMethod method : {InitMethod::random, InitMethod::kmeans_plus_plus}) {
      params.init_method = method;
      params.frozen_centroids = method == InitMethod::random;
      params.int_centroids = kind != Kind::tiny;
      compare(x.view(), params);
    }
    compare(x.view(), params, spherical());
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(Shards, EmptyClustersByEachRule) {
  Random random(202);
  for (const Kind kind : {Kind::normal, Kind::duplicates, Kind::half_tiny, Kind::tiny}) {
    const Matrix x = random_rows(kind, 200, 8, random);
    Matrix start(50, 8);
    for (std::int64_t c = 0; c < 50; ++c) std::copy_n(x.row(draw(random, 0, 19)), 8, start.row(c));
    Params params = params_of(50, 8, -1);
    params.init = start.view();
    compare(x.view(), params);
    if (kind != Kind::normal) continue;
    params.niter = 3;
    params.empty_clusters = EmptyClusters::split;
    compare(x.view(), params, spherical());
    params.empty_clusters = EmptyClusters::random;
    compare(x.view(), params);
  }
}

TEST(ShardsNoOracle, ErrorsNameTheSameRowOnEveryShard) {
  Random random(203);
  Matrix x = random_rows(Kind::normal, 90, 5, random);
  x.row(70)[3] = std::numeric_limits<float>::quiet_NaN();
  x.row(31)[1] = 0x1p60f;
  for (const Ends& ends : spreads(90))
    expect_contains(message_of<std::invalid_argument>([&] { fit_on_shards(x.view(), ends, params_of(4, 3, 0)); }),
                    {"data has infinity", "2 rows", "row 31 (column 1)"});
  EXPECT_NE(message_of<std::invalid_argument>([&] {
              fit_on_shards(x.view(), {40, 90}, params_of(91, 3, 0));
            }).find("(90) is less than k (91)"),
            std::string::npos);
}

TEST(ShardsNoOracle, TheCallbackOfOneStopsAll) {
  Random random(204);
  const Matrix x = random_rows(Kind::normal, 90, 5, random);
  Params params = params_of(9, 20, 0);
  params.callback = [](const IterationStats& stats) { return stats.iteration == 2; };
  for (const Result& shard : fit_on_shards(x.view(), {10, 50, 90}, params)) EXPECT_EQ(shard.n_iter, 3);
}

TEST(ShardsNoOracle, APrecisionWarningIsOfAllRows) {
  // Each shard's column is constant, so no shard alone would warn.
  std::vector<double> x(40, 1e9);
  for (std::size_t i = 20; i < x.size(); ++i) x[i] = 1e9 + 1;
  const MatrixView view(x.data(), 40, 1, DType::f64);
  for (const Result& shard : fit_on_shards(view, {20, 40}, params_of(2, 3, 0))) {
    ASSERT_EQ(shard.warnings.back().kind, Warning::Kind::precision);
  }
}

// --- Weights ---

TEST(Weights, AWeightIsThatManyRows) {
  Random random(205);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, 80, 6, random);
    std::vector<std::int64_t> weights(80);
    for (auto& weight : weights) weight = draw(random, 0, 4);
    const Matrix start = centroids_near(x, 7, random);
    Params params = params_of(7, 1, 0);
    params.init = start.view();
    params.execution = on("scalar");
    const Result expected = fit(repeated(x, weights).view(), params);
    if (expected.iterations[0].empty > 0) continue;  // a donor gives a row with all its weight
    const Result got = fit_on_shards(x.view(), {80}, params, euclidean(), weights.data())[0];
    EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << static_cast<int>(kind);
    EXPECT_EQ(got.inertia, expected.inertia);
    compare(x.view(), params, euclidean(), weights.data());
  }
}

// Whatever is in it: the scale of the sums is that of the rows that count.
TEST(Weights, ARowOfWeightZeroChangesNoBit) {
  Random random(211);
  Matrix x = random_rows(Kind::normal, 80, 6, random);
  for (float& value : x.values) value *= 0x1p-24f;  // beside 2^55 two limbs are not enough
  std::vector<std::int64_t> weights(80, 1);
  weights[79] = 0;
  Params params = params_of(7, 5, 0);
  const Matrix start = centroids_near(x, 7, random);
  params.init = start.view();
  params.execution = on("scalar");
  const Result expected = fit({x.values.data(), 79, 6}, params);
  for (const float value : {0x1p55f, 0x1p-120f}) {
    std::fill_n(x.row(79), 6, value);
    const Result got = fit_on_shards(x.view(), {80}, params, euclidean(), weights.data())[0];
    EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << value;
    compare(x.view(), params, euclidean(), weights.data());
  }
}

TEST(Weights, OnAllPathsAndShards) {
  Random random(206);
  const Matrix x = random_rows(Kind::integers, 150, 4, random);
  std::vector<std::int64_t> weights(150);
  for (auto& weight : weights) weight = draw(random, 0, 2) ? draw(random, 0, 1'000'000'000) : 0;
  Params params = params_of(30, 8, -1);
  compare(x.view(), params, euclidean(), weights.data());
  params.max_points_per_centroid = 2;
  compare(x.view(), params, euclidean(), weights.data());
}

TEST(WeightsNoOracle, InertiaIsExact) {
  Random random(207);
  for (const float distance : {0x1.fffffep127f, 1.0f, 0x1.234566p-3f, 0x1p-149f, -0x1.8p-60f})
    for (const std::uint64_t weight :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{999'999}, std::uint64_t{1} << 40}) {
      ExactSum once, twice;
      once.add(distance, weight);
      EXPECT_EQ(once.value(), true_distance(distance) * static_cast<double>(weight));  // 24 + 20 bits: exact
      twice.add(distance, weight);
      twice.add(distance, weight);
      ExactSum doubled;
      doubled.add(once);
      doubled.add(once);
      EXPECT_EQ(twice.value(), doubled.value());
    }
  // Weights that carry from digit to digit, beside their bits, which do not.
  for (const float distance : {0x1.fffffep127f, 0x1.fffffep0f, 0x1.fffffep7f, 0x1.fffffcp-127f})
    for (const std::uint64_t weight : {(std::uint64_t{1} << 40) - 1, (std::uint64_t{1} << 32) - 1}) {
      ExactSum at_once, bit_by_bit;
      at_once.add(distance, weight);
      for (std::uint64_t rest = weight; rest; rest &= rest - 1) bit_by_bit.add(distance, rest & -rest);
      EXPECT_EQ(at_once.value(), bit_by_bit.value()) << distance << ' ' << weight;
    }
  ExactSum by_weight, one_by_one;
  for (int i = 0; i < 1000; ++i) one_by_one.add(0x1.fffffep100f);
  by_weight.add(0x1.fffffep100f, 1000);
  EXPECT_EQ(by_weight.value(), one_by_one.value());
}

// --- Metrics ---

TEST(Metrics, SphericalOnAllPathsAndShards) {
  Random random(208);
  for (const Kind kind : kKinds) {
    Matrix x = random_rows(kind, 120, draw(random, 1, 70), random);
    std::fill_n(x.row(5), x.cols, 0.0f);  // stays zero
    compare(x.view(), params_of(11, 5, -1), spherical());
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(MetricsNoOracle, RowsOfLengthOne) {
  Random random(209);
  for (const std::int64_t d : {1, 3, 33, 700})
    for (const float scale : {1.0f, 0x1p-149f, 0x1p55f}) {
      Matrix x = random_rows(Kind::normal, 1, d, random);
      for (float& value : x.values) value *= scale;
      Matrix y = x;
      spherical().transform(y.row(0), d);
      double square = 0;
      for (const float value : y.values) square += static_cast<double>(value) * static_cast<double>(value);
      const bool zero = std::all_of(x.values.begin(), x.values.end(), [](float v) { return v == 0; });
      EXPECT_NEAR(square, zero ? 0 : 1, 1e-6) << d << ' ' << scale;
      for (std::int64_t j = 0; j < d; ++j) EXPECT_EQ(std::signbit(y.row(0)[j]), std::signbit(x.row(0)[j]));
    }
  // Half of each of two opposite rows: the sum is zero, and the centroid stays.
  const FixedPoint scale({1.0f}, 1.0f, 2);
  const std::uint64_t hi = 0;
  const float before = 0.25f;
  float out = 7;
  spherical().update(scale, &hi, nullptr, 2, &before, &out);
  EXPECT_EQ(out, 0.25f);
}

// --- What initialisations need ---

// D to the nearest of the centroids, by loops; then masses and the row at a mass, one row at a time.
TEST(Initialisation, DistancesAndMassesEqualPlainLoops) {
  Random random(210);
  for (const Kind kind : {Kind::normal, Kind::tiny, Kind::half_tiny, Kind::duplicates, Kind::huge}) {
    const std::int64_t n = draw(random, 2, 300), d = draw(random, 1, 50);
    const Matrix x = random_rows(kind, n, d, random);
    std::vector<std::int64_t> weights(static_cast<std::size_t>(n));
    for (auto& weight : weights) weight = draw(random, 0, 3);
    const Matrix first = centroids_near(x, 1, random), more = centroids_near(x, draw(random, 1, 5), random);
    std::vector<double> expected(static_cast<std::size_t>(n), std::numeric_limits<double>::infinity());
    for (const Matrix* added : {&first, &more}) {
      const bool tiny = is_tiny(added->centroids());
      for (std::int64_t i = 0; i < n; ++i) {
        const Nearest nearest = scalar_nearest(x.row(i), added->centroids(), tiny, [] {});
        auto& distance = expected[static_cast<std::size_t>(i)];
        distance = std::min(distance, true_distance(nearest.distance));
      }
    }
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (weights[i] > 0) largest = std::max(largest, expected[i]);
    int exponent = 0;
    std::frexp(largest, &exponent);
    exponent = 31 - exponent;
    const HostArray rows(x.view(), 0, weights.data());
    std::vector<std::string> isas = {"scalar"};
    for (const cpu::Isa* isa : kernel_isas()) isas.emplace_back(isa->name);
    for (const std::string& isa : isas) {
      SCOPED_TRACE(isa);
      Workers workers(3, {});
      const Execution execution = on(isa, 3);
      const auto shard = make_shard(rows, euclidean(), execution, workers);
      shard->lower_distances(first.centroids(), true);
      shard->lower_distances(more.centroids(), false);
      std::vector<double> got(expected.size());
      shard->copy_distances(got.data());
      EXPECT_EQ(got, expected);
      EXPECT_EQ(shard->largest_distance(), largest);
      Mass before = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto s = static_cast<std::size_t>(i);
        const Mass own = static_cast<Mass>(std::ldexp(expected[s], exponent)) * static_cast<Mass>(weights[s]);
        if (own == 0) continue;
        const Mass first = before;
        before += own;
        EXPECT_EQ(shard->rows_at(exponent, {first, before - 1}), (std::vector<std::int64_t>{i, i}));
      }
      EXPECT_TRUE(shard->total_mass(exponent) == before);
      const Matrix candidates = centroids_near(x, 6, random);
      const std::vector<Mass> with = shard->masses_with(candidates.centroids(), exponent);
      ASSERT_EQ(with.size(), 6u);
      EXPECT_TRUE(shard->total_mass(exponent) == before) << "nothing was lowered";
      for (std::int64_t c = 0; c < 6; ++c) {
        const auto alone = make_shard(rows, euclidean(), execution, workers);
        alone->lower_distances(first.centroids(), true);
        alone->lower_distances(more.centroids(), false);
        alone->lower_distances({candidates.row(c), 1, d}, false);
        EXPECT_TRUE(with[static_cast<std::size_t>(c)] == alone->total_mass(exponent)) << c;
      }
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
