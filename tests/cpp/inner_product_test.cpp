// SPDX-License-Identifier: Apache-2.0
// Inner product as a metric: labels, sums and fits of every path are the oracle's; what only it needs (docs/filter.md
// section 6.11).
#include <algorithm>
#include <cmath>
#include <string>

#include "cpu/lower_bounds.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "numeric/distance.hpp"
#include "numeric/exact_sum.hpp"
#include "numeric/metric.hpp"
#include "scalar/scalar_distance.hpp"
#include "shards.hpp"
#include "sketch/bound.hpp"
#include "sketch/lift.hpp"

namespace fastkmeans::testing {
namespace {

// Every filter of every instruction set and of CUDA against the oracle, on every shard that has rows; shards in turn.
void compare(const MatrixView& x, Params params, const std::int64_t* weights = nullptr) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  params.execution = on("scalar");
  const Result expected = fit_on_shards(x, {x.rows}, params, inner_product(), weights)[0];
  std::size_t turn = 0;
  for (const Path& path : fit_paths(true)) {
    params.execution = on(path, 2);
    params.execution.chunk_size_data = 64;
    SCOPED_TRACE(::testing::Message() << path << " n " << x.rows << " d " << x.cols << " k " << params.k);
    const std::vector<Ends> all = spreads(x.rows);
    const Ends ends = ++turn % 2 ? Ends{x.rows} : all[turn / 2 % all.size()];
    const std::vector<Result> got = fit_on_shards(x, ends, params, inner_product(), weights);
    expect_same(got[0], expected);
    for (std::size_t s = 0; s < got.size(); ++s) {
      if (ends[s] == (s > 0 ? ends[s - 1] : 0)) continue;
      EXPECT_EQ(got[s].iterations.size(), expected.iterations.size());
      for (const IterationStats& stats : got[s].iterations) expect_ran(path, stats.filter, x.cols, false, true);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(InnerProduct, AllPathsGiveTheOraclesBits) {
  Random random(300);
  for (const Kind kind : kKinds) {
    Matrix x = random_rows(kind, 130, draw(random, 1, 70), random);
    std::fill_n(x.row(5), x.cols, 0.0f);
    compare(x.view(), of_products(21, 6));
    if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
  }
}

TEST(InnerProduct, RulesForEmptyClustersWeightsAndRuns) {
  Random random(301);
  const Matrix x = random_rows(Kind::normal, 150, 6, random), given = centroids_near(x, 9, random);
  std::vector<std::int64_t> weights(150);
  for (auto& weight : weights) weight = draw(random, 0, 3);
  for (const EmptyClusters rule : {EmptyClusters::farthest, EmptyClusters::split, EmptyClusters::random}) {
    Params params = of_products(30, 4);
    params.empty_clusters = rule;
    params.nredo = 3;
    params.init = given.view();
    params.frozen_centroids = rule == EmptyClusters::random;
    params.int_centroids = rule == EmptyClusters::farthest;
    compare(x.view(), params, weights.data());
  }
}

TEST(InnerProductNoOracle, TheBestRunHasTheLargestSum) {
  Random random(302);
  const Matrix x = random_rows(Kind::normal, 200, 4, random);
  Params params = of_products(5, 3);
  params.execution.device = "cpu";
  std::vector<double> sums(6);
  params.nredo = 6;
  params.labels = false;
  params.callback = [&](const IterationStats& stats) {
    sums[static_cast<std::size_t>(stats.redo)] = stats.inertia;
    return false;
  };
  EXPECT_EQ(fit(x.view(), params).inertia, *std::max_element(sums.begin(), sums.end()));
  EXPECT_LT(*std::min_element(sums.begin(), sums.end()), *std::max_element(sums.begin(), sums.end()));
}

TEST(InnerProductNoOracle, ByHand) {
  Execution execution;
  execution.device = "cpu";
  expect_products_by_hand(execution);
}

// All are in cluster 0. What the rows would win as centroids is 16 - 4, 9 - 0 and 9 - 3: the first one leaves.
TEST(InnerProductNoOracle, TheRowThatGainsMostFillsAnEmptyCluster) {
  const Matrix x(3, 2, {4, 0, 0, 3, 3, 0}), start(2, 2, {1, 0, -1, -1});
  Params params = of_products(2, 1);
  params.init = start.view();
  params.execution.device = "cpu";
  EXPECT_EQ(fit(x.view(), params).centroids, (std::vector<float>{1.5f, 1.5f, 4, 0}));
}

TEST(InnerProductNoOracle, SumsOfEitherSignAreExact) {
  const auto sum_of = [](std::initializer_list<float> terms) {
    ExactSum sum;
    for (const float term : terms) sum.add(term);
    return sum.signed_value();
  };
  EXPECT_EQ(sum_of({0x1p100f, 1, -0x1p100f}), 1);
  EXPECT_EQ(sum_of({-0x1p100f, -0x1p-149f, 0x1p100f}), -0x1p-149);
  EXPECT_EQ(sum_of({0x1p100f, -0x1p-149f}), 0x1p100);
  EXPECT_EQ(sum_of({0x1p53f, 1, -0x1p-149f}), 0x1p53);           // just below a tie
  EXPECT_EQ(sum_of({-0x1p53f, -1, -0x1p-149f}), -(0x1p53 + 2));  // just beyond
  EXPECT_EQ(sum_of({-3, 3, 0.0f, -0.0f}), 0);
  ExactSum weighted;
  weighted.add(-2.5f, 3);
  EXPECT_EQ(weighted.signed_value(), -7.5);
  EXPECT_EQ(inner_product().inertia(weighted), 7.5);
}

// Each of 255 products in a lane is just above half an ulp of the first, 1, and rounded up; those of the row with
// itself are just half of it, and lost. Without room for that the centroid would be at distance 0.
TEST(LiftNoOracle, RadiusCoversTheRoundingOfProducts) {
  constexpr std::int64_t kDims = 8192;
  std::vector<float> x(kDims, 0x1p-12f), c(kDims, 0x1.004p-12f);
  std::fill_n(x.begin(), kLanes, 1.0f);
  std::fill_n(c.begin(), kLanes, 1.0f);
  Workers workers(1, {});
  Lift lift;
  lift.raise({c.data(), 1, kDims}, workers);
  const double sq_length = lift.sq_ceiling() - lift.sq_height(0);
  const FilterBound bound = FilterBound::of_rows(kDims).lifted(sq_length);  // the least ceiling
  const double base = bound.base(scalar_negated_product(x.data(), x.data(), kDims));
  const double radius = bound.radius(scalar_negated_product(x.data(), c.data(), kDims), base);
  EXPECT_GE(radius, std::sqrt(sq_distance(x.data(), c.data(), kDims)));
}

// The filters run, and leave little to be refined, also where centroids are of many lengths.
TEST(InnerProductNoOracle, FiltersAndBoundsServe) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(303);
  constexpr std::int64_t kRows = 1000, kClusters = 100;
  const Matrix x = clusters_of_many_lengths(kRows, kClusters, 48, random);
  for (const Path& path : kernel_paths(true)) {
    if (path.filter.empty() || path.filter == "low_dim" || path.filter.starts_with("narrow")) continue;
    Params params = of_products(kClusters, 8);
    params.execution = on(path, 2);
    params.empty_clusters = EmptyClusters::split;
    const Result got = fit(x.view(), params);
    const IterationStats& last = got.iterations[6];
    EXPECT_EQ(last.filter.filter, path.filter.substr(0, path.filter.find('_'))) << path;
    EXPECT_LT(last.filter.refined, kRows * kClusters / 10) << path;
    if (path.filter.ends_with("_bounds")) {
      EXPECT_LT(last.filter.scored, kRows * kClusters * 9 / 10) << path;
    }
  }
}

TEST(InnerProductNoOracle, LowDimAndNarrowTakeNoProducts) {
  Random random(304);
  const Matrix x = random_rows(Kind::normal, 100, 8, random);
  for (const std::string filter : {"low_dim", "narrow"})
    for (const cpu::Isa* isa : kernel_isas()) {
      if (filter == "narrow" && !isa->kernels->sketch) continue;
      Params params = of_products(5, 1);
      params.execution = on({std::string(isa->name), filter});
      EXPECT_EQ(fit(x.view(), params).iterations[0].filter.filter, "fp32") << filter;
    }
}

TEST(LiftNoOracle, HeightsMakeAllCentroidsEquallyLong) {
  Workers workers(2, {});
  Lift lift;
  const auto raise = [&](std::initializer_list<float> lengths) {
    Matrix centroids(std::ssize(lengths), 1, lengths);
    lift.raise(centroids.centroids(), workers);
    for (std::int64_t c = 0; c < centroids.rows; ++c) {
      EXPECT_GE(lift.sq_height(c), 0);
      EXPECT_EQ(lift.sq_height(c) + centroids.row(c)[0] * centroids.row(c)[0], lift.sq_ceiling());
    }
  };
  raise({1, 4, 0});
  const double before = lift.sq_ceiling();
  EXPECT_GE(before, 16);
  raise({1, 3.75f, 0});  // room enough
  EXPECT_EQ(lift.sq_ceiling(), before);
  raise({1, 5, 0});  // too long
  EXPECT_GE(lift.sq_ceiling(), 25);
  raise({1, 2, 0});  // far too short
  EXPECT_LE(lift.sq_ceiling(), 5);
  EXPECT_EQ(Lift().sq_height(3), 0);
}

// Centroid 1 stays and is lifted, as another one grows: its distance to every row grows with it.
TEST(LiftNoOracle, BoundsDriftWithTheHeights) {
  Workers workers(1, {});
  Lift lift;
  const Matrix before(2, 1, {8, 3}), after(2, 1, {80, 3});
  lift.raise(before.centroids(), workers);
  const double low = std::sqrt(lift.sq_height(1)), first = std::sqrt(lift.sq_height(0));
  cpu::LowerBounds bounds(1, 1, before.centroids(), 8, 0x1p10, workers, lift);
  lift.raise(after.centroids(), workers);
  const double high = std::sqrt(lift.sq_height(1)), second = std::sqrt(lift.sq_height(0));
  bounds.move_to(after.centroids(), {}, workers, lift);
  const double drift = bounds.drift(0) / static_cast<double>(bounds.inverse_unit());
  EXPECT_GE(drift, high - low);
  EXPECT_GE(drift, std::hypot(72, second - first));
  EXPECT_LE(drift, std::hypot(72, high - low) + 1);
  EXPECT_NEAR(sq_between_heights(2, 2 * (1 + 0x1p-40)), 0x1p-81, 0x1p-110);
}

// Whatever decides labels: rows that lie far from each other.
TEST(InnerProductNoOracle, InitialisationsGoByDistances) {
  Random random(244);
  const Matrix x = random_rows(Kind::normal, 300, 5, random);
  for (const InitMethod method :
       {InitMethod::random, InitMethod::kmeans_plus_plus, InitMethod::kmeans_parallel, InitMethod::afk_mc2}) {
    SCOPED_TRACE(::testing::Message() << "method " << static_cast<int>(method));
    Params params = params_of(40, 0, -1);  // no iteration: the initial centroids
    params.init_method = method;
    const Result expected = fit_on_shards(x.view(), {300}, params)[0];
    for (const Ends& ends : {Ends{300}, Ends{100, 300}})
      EXPECT_TRUE(same_bits(fit_on_shards(x.view(), ends, params, inner_product())[0].centroids, expected.centroids));
  }
}

TEST(InnerProductNoOracle, WhatContradictsIsRefused) {
  const Matrix x(2, 1, {1, 2});
  Params params = of_products(1, 1);
  params.spherical = true;
  expect_contains(message_of<std::invalid_argument>([&] { fit(x.view(), params); }),
                  {"metric", "spherical", "inner_product", "cosine"});
  params.metric = MetricType::euclidean;
  expect_contains(message_of<std::invalid_argument>([&] { fit(x.view(), params); }), {"metric", "euclidean", "cosine"});
}

}  // namespace
}  // namespace fastkmeans::testing
