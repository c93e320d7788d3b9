// SPDX-License-Identifier: Apache-2.0
// Params::weights: as integers, and what a fit makes of them.
#include "source/weights.hpp"

#include <cmath>
#include <limits>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

IntegerWeights integers_of(const std::vector<double>& weights) {
  Workers workers(2, {});
  return integer_weights(weights, workers);
}

constexpr std::int64_t kMost = std::int64_t{1} << 40;

TEST(CallersWeightsNoOracle, IntegersAreKept) {
  for (const double large : {0.0, 3.0, 0x1p40 - 4}) {
    const IntegerWeights got = integers_of({1, large, 0, 3});
    EXPECT_EQ(got.values, (std::vector<std::int64_t>{1, static_cast<std::int64_t>(large), 0, 3})) << large;
    EXPECT_EQ(got.exponent, 0);
  }
  EXPECT_TRUE(integers_of({}).values.empty());
}

// By the rule, worked out by hand.
TEST(CallersWeightsNoOracle, OthersAreScaledAndRounded) {
  // A sum of 2^40 + 1: e = 40, T = 2^32 (rounded up) + 1 + 1, T 2^8 is too much, so p = 7 and s = -1.
  IntegerWeights got = integers_of({0x1p40 - 3, 0, 2, 2});
  EXPECT_EQ(got.exponent, -1);
  EXPECT_EQ(got.values, (std::vector<std::int64_t>{(kMost >> 1) - 2, 0, 1, 1}));  // 2^39 - 1.5 to even
  // e = 0, T = 2^31 + 2^30: p = 8, T 2^8 = 2^39 + 2^38.
  got = integers_of({0.5, 0.25});
  EXPECT_EQ(got.exponent, 40);
  EXPECT_EQ(got.values, (std::vector<std::int64_t>{kMost >> 1, kMost >> 2}));
  // T = 2^32: 2^40 leaves no room for two rows.
  got = integers_of({0.5, 0.5, 0});
  EXPECT_EQ(got.exponent, 39);
  EXPECT_EQ(got.values, (std::vector<std::int64_t>{kMost >> 2, kMost >> 2, 0}));
  // Powers of two change the exponent alone, to the ends of fp64.
  for (const int power : {-1000, -1022, 900, 1023}) {
    got = integers_of({std::ldexp(0.5, power), std::ldexp(0.25, power)});
    EXPECT_EQ(got.exponent, 40 - power);
    EXPECT_EQ(got.values, (std::vector<std::int64_t>{kMost >> 1, kMost >> 2}));
  }
  // Light rows count once.
  got = integers_of({1e300, 1e-300, 0, std::numeric_limits<double>::denorm_min()});
  EXPECT_EQ(got.values[1], 1);
  EXPECT_EQ(got.values[2], 0);
  EXPECT_EQ(got.values[3], 1);
}

TEST(CallersWeightsNoOracle, TheSumIsNearItsLimit) {
  Random random(300);
  for (const std::int64_t n : {1, 2, 3, 1000, 70'000, 200'000})
    for (const double power : {0.5, 3.0, 40.0}) {
      std::vector<double> weights(static_cast<std::size_t>(n));
      for (double& weight : weights) weight = std::pow(static_cast<double>(draw(random, 1, 1'000'000)) / 1e6, power);
      const IntegerWeights got = integers_of(weights);
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const double exact = std::ldexp(weights[i], got.exponent);
        ASSERT_EQ(got.values[i], std::max<std::int64_t>(1, std::llrint(exact)));
        sum += got.values[i];
      }
      EXPECT_LE(sum, kMost);
      EXPECT_GT(sum, kMost / 2 - 2 * n - 2) << n << ' ' << power;
    }
}

TEST(CallersWeightsNoOracle, WrongOnesAreRefused) {
  const auto said = [](const std::vector<double>& weights) {
    return message_of<std::invalid_argument>([&] { integers_of(weights); });
  };
  EXPECT_EQ(said({1, 2, -0.25}), "weights[2] is -0.25; it must be finite and at least 0");
  std::vector<double> weights(200'000, 1.0);
  weights[70'000] = std::numeric_limits<double>::quiet_NaN();
  weights[199'999] = -1;
  expect_contains(said(weights), {"weights[70000] is nan"});
  expect_contains(said({std::numeric_limits<double>::infinity()}), {"weights[0] is inf"});
  EXPECT_EQ(said({0, -0.0}), "weights are all 0; at least one must be above 0");
}

TEST(CallersWeightsNoOracle, InertiaIsInTheCallersWeights) {
  Random random(301);
  const Matrix x = random_rows(Kind::normal, 80, 6, random);
  std::vector<double> weights(80);
  for (double& weight : weights) weight = static_cast<double>(draw(random, 0, 3));
  Params params;
  params.k = 7;
  params.niter = 5;
  params.weights = weights;
  const Result expected = fit(x.view(), params);
  // A power of two times integers, beyond 2^40 or no integers at all.
  for (const int power : {-3, 60, -900}) {
    std::vector<double> scaled = weights;
    for (double& weight : scaled) weight = std::ldexp(weight, power);
    params.weights = scaled;
    std::vector<double> seen;
    params.callback = [&seen](const IterationStats& stats) {
      seen.push_back(stats.inertia);
      return false;
    };
    const Result got = fit(x.view(), params);
    EXPECT_EQ(got.inertia, std::ldexp(expected.inertia, power));
    ASSERT_EQ(got.iterations.size(), seen.size());
    for (std::size_t i = 0; i < seen.size(); ++i) {
      EXPECT_EQ(got.iterations[i].inertia, std::ldexp(expected.iterations[i].inertia, power));
      EXPECT_EQ(got.iterations[i].inertia, seen[i]);
    }
  }
}

TEST(CallersWeightsNoOracle, RowsOfWeightZeroAreNotTrainedOn) {
  Random random(302);
  const Matrix x = random_rows(Kind::normal, 80, 6, random);
  std::vector<double> weights(80, 0.1);
  std::fill_n(weights.begin() + 50, 30, 0.0);
  Params params;
  params.k = 7;
  params.weights = weights;
  const Result got = fit(x.view(), params);
  EXPECT_EQ(got.n_used, 50);
  EXPECT_EQ(got.labels, predict(x.view(), {got.centroids.data(), 7, 6}).labels);
  params.k = 51;
  expect_contains(message_of<std::invalid_argument>([&] { fit(x.view(), params); }),
                  {"Number of training points of weight > 0 (50) is less than k (51)"});
  params.weights = params.weights.first(79);
  expect_contains(message_of<std::invalid_argument>([&] { fit(x.view(), params); }),
                  {"the length of weights is 79; it must be that of the data, 80"});
}

// Others have no bits to compare with but the oracle's.
TEST(CallersWeights, EqualTheOracleOnEveryPath) {
  Random random(303);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, 150, 6, random);
    std::vector<double> weights(150);
    for (double& weight : weights) weight = static_cast<double>(draw(random, 0, 100)) / 7;
    Params params;
    params.k = 11;
    params.niter = 6;
    params.weights = weights;
    params.max_points_per_centroid = 9;
    params.execution = on("scalar");
    const Result expected = fit(x.view(), params);
    for (const Path& path : fit_paths(true)) {
      params.execution = on(path, 2);
      SCOPED_TRACE(::testing::Message() << path << " kind " << static_cast<int>(kind));
      expect_same(fit(x.view(), params), expected);
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
