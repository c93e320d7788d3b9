// SPDX-License-Identifier: Apache-2.0
// The bound of scores from tensor cores (docs/filter.md section 6.6), whose sums lose what they may; and which scores
// reach a threshold.
#include <cmath>
#include <limits>
#include <vector>

#include "scalar/scalar_distance.hpp"
#include "sketch/bound.hpp"
#include "sketch/reach.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

TEST(TensorBoundNoOracle, ElevenBits) {
  for (const float v : {1.0f, -1.5f, 0x1.ffcp55f, 0.0f, -0x1.004p-60f}) EXPECT_EQ(tensor_core_value(v), v);
  EXPECT_EQ(tensor_core_value(1 + 0x1p-11f), 1 + 0x1p-10f);
  EXPECT_EQ(tensor_core_value(-1 - 0x1.ffp-12f), -1.0f);
  EXPECT_EQ(tensor_core_value(0x1.fffffep0f), 2.0f);
  EXPECT_EQ(tensor_core_value(0x1.fffffep-61f), 0.0f);
}

TEST(TensorBoundNoOracle, EveryStepToTheSafeSide) {
  const float third = 1.0f / 3;
  for (const float sign : {1.0f, -1.0f}) {
    EXPECT_GT(static_cast<double>(add_up(sign, sign * 0x1p-40f)), sign * (1 + 0x1p-41));
    EXPECT_LT(static_cast<double>(subtract_down(sign, -sign * 0x1p-40f)), sign * (1 + 0x1p-41) + 0x1p-40);
    EXPECT_GE(static_cast<double>(multiply_up(sign * third, third)), sign * static_cast<double>(third) * third);
    EXPECT_LE(static_cast<double>(multiply_down(sign * third, third)), sign * static_cast<double>(third) * third);
  }
  EXPECT_EQ(multiply_add_up(1.0f, 1.0f, 0x1p-30f), 1 + 0x1p-23f);
  EXPECT_EQ(root_up(1 + 0x1p-23f), 1 + 0x1p-23f);
  EXPECT_EQ(multiply_up(0x1p-149f, 0x1p-10f), 0x1p-149f);
}

struct Sums {
  std::vector<float> values;               // as they are multiplied
  double squares = 0, kept = 0, lost = 0;  // of all, of what is multiplied, of what is lost
  float sq_norm = 0, sq_error = 0;         // the last two in fp32
};

Sums sums_of(const float* row, const std::vector<float>& centre) {
  Sums sums;
  for (std::size_t j = 0; j < centre.size(); ++j) {
    const float a = row[j] - centre[j], v = tensor_core_value(a), lost = a - v;
    sums.values.push_back(v);
    sums.squares += static_cast<double>(a) * a;
    sums.kept += static_cast<double>(v) * v;
    sums.lost += static_cast<double>(lost) * lost;
    sums.sq_norm += v * v;
    sums.sq_error += lost * lost;
  }
  return sums;
}

// No centroid as near as the distance says is below the threshold, though its score lost all that it may; and what is
// farther by some thousandths is.
TEST(TensorBoundNoOracle, NoNearCentroidIsDropped) {
  Random random(271);
  for (int repeat = 0; repeat < 20'000; ++repeat) {
    const std::int64_t d = draw(random, 1, 64), size = d <= 8 ? 8 : d <= 16 ? 16 : d <= 32 ? 32 : 64;
    const auto scale = std::ldexp(1.0f, static_cast<int>(draw(random, -70, 40)));
    const float apart = std::ldexp(1.0f, -static_cast<int>(draw(random, 0, 12)));
    const bool outlier = draw(random, 0, 3) == 0;
    std::vector<float> row, centroid, centre;
    for (std::int64_t j = 0; j < d; ++j) {
      const auto unit = [&] { return static_cast<float>(draw(random, -1'000'000, 1'000'000)) * 1e-6f; };
      const float around = outlier && j == 0 ? 1000 : 1;
      row.push_back(scale * around * unit());
      centroid.push_back(row.back() + scale * apart * unit());
      centre.push_back(0.1f * scale * unit());
    }
    const FilterBound bound = FilterBound::of_tensor_cores(d, size);
    const Sums x = sums_of(row.data(), centre), c = sums_of(centroid.data(), centre);
    const float start = bound.start({.sq_norm = c.kept, .error = std::sqrt(c.lost) + kCentring * std::sqrt(c.squares)});
    double score = start, terms = std::abs(static_cast<double>(start));
    for (std::size_t j = 0; j < centre.size(); ++j) {
      const double term = static_cast<double>(x.values[j]) * static_cast<double>(c.values[j]);
      score += term;
      terms += std::abs(term);
    }
    const double least = score - 40 * kUnitRoundoff * static_cast<double>(size) / 8 * terms;
    const float distance = scalar_distance(row.data(), centroid.data(), d, 1.0f);
    const FilterBound::Rounded rounded(bound, size);
    EXPECT_GE(least, static_cast<double>(rounded.threshold(distance, x.sq_norm, x.sq_error)))
        << "d " << d << " scale " << scale << " apart " << apart;
    // It tells apart what differs by 2^-9 of the lengths and of the distance, where they are not too small.
    if (scale < 0x1p-20f) continue;
    const double length = std::sqrt(x.squares) + std::sqrt(c.squares);
    const double margin = 0x1p-9 * (std::sqrt(static_cast<double>(distance)) * length + static_cast<double>(distance)) +
                          0x1p-11 * c.squares;
    const auto nearer = static_cast<float>(std::max(0.0, static_cast<double>(distance) - 2 * margin));
    if (nearer > 0) {
      EXPECT_LT(score, static_cast<double>(rounded.threshold(nearer, x.sq_norm, x.sq_error)));
    }
  }
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float next(float v) { return std::nextafter(v, kInfinity); }
float before(float v) { return std::nextafter(v, -kInfinity); }

// 1 from the threshold on and 0 below, with nothing between.
TEST(ReachNoOracle, EveryScoreOrNone) {
  Random random(272);
  std::vector<float> thresholds = {
      1, -1, 2, -2, 0x1p-100f, -0x1p-100f, 0x1.fffffep125f, -0x1.fffffep125f, next(1), before(1), next(-1), before(-1)};
  for (int repeat = 0; repeat < 2'000; ++repeat) {
    const auto mantissa = static_cast<float>(draw(random, 1 << 23, (1 << 24) - 1));
    thresholds.push_back(
        std::ldexp(draw(random, 0, 1) ? mantissa : -mantissa, static_cast<int>(draw(random, -123, 101))));
  }
  for (const float threshold : thresholds) {
    const Reach reach(threshold);
    for (const float score : {threshold, next(threshold), 2 * std::abs(threshold), 0x1p127f})
      EXPECT_EQ(reach.by(score), 1.0f) << score << " reaches " << threshold;
    for (const float score :
         {before(threshold), before(before(threshold)), -2 * std::abs(threshold), -0x1p127f, -kInfinity})
      EXPECT_EQ(reach.by(score), 0.0f) << score << " does not reach " << threshold;
    EXPECT_EQ(reach.by(0), threshold > 0 ? 0.0f : 1.0f) << threshold;
  }
}

TEST(ReachNoOracle, ThresholdsOfNoUse) {
  const float lowest = std::numeric_limits<float>::lowest(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const float threshold : {lowest, -kInfinity, 0x1p126f, kInfinity, nan}) {
    const Reach reach(threshold);
    for (const float score : {lowest, -1.0f, 0.0f, 0x1p127f}) EXPECT_EQ(reach.by(score), 1.0f) << threshold;
    EXPECT_EQ(reach.by(-kInfinity), 0.0f);  // a centroid that is none
  }
  for (const float threshold : {0.0f, -0.0f, 0x1p-149f, -0x1p-101f}) {  // they may be lower
    EXPECT_EQ(Reach(threshold).by(std::max(threshold, 0.0f)), 1.0f);
    EXPECT_EQ(Reach(threshold).by(threshold), 1.0f);
    EXPECT_EQ(Reach(threshold).by(-0x1p-99f), 0.0f);
  }
  EXPECT_EQ(Reach(1).by(nan), 0.0f);
}

// One or two are known from their sum, and more are never taken for so few.
TEST(ReachNoOracle, CodesOfOneOrTwo) {
  Random random(273);
  for (const int k : {1, 2, 3, 7, 8, 100, Codes::kMost}) {
    const Codes codes(k);
    const auto any = [&] { return static_cast<int>(draw(random, 0, k - 1)); };
    EXPECT_EQ(codes.other(0, 0), -1) << "none";
    for (int repeat = 0; repeat < 300; ++repeat) {
      const int a = repeat ? any() : k - 1, b = repeat ? any() : k - 2, c = any();
      EXPECT_TRUE(codes.alone(codes.of(a), a));
      EXPECT_EQ(codes.other(codes.of(a), a), -1);
      if (b < 0) continue;
      for (const int of_none : {c, 0, k - 1}) {  // of rows that are bad: anything that there is
        EXPECT_GE(codes.other(codes.of(a) + codes.of(b), of_none), -1);
        EXPECT_LT(codes.other(codes.of(a) + codes.of(b), of_none), k);
      }
      if (a == b) continue;
      const float two = codes.of(a) + codes.of(b);
      EXPECT_FALSE(codes.alone(codes.of(b), a));
      EXPECT_FALSE(codes.alone(two, a));
      EXPECT_EQ(codes.other(two, a), b);
      EXPECT_EQ(codes.other(two, b), a);
      float many = two;
      for (int more = 3; more <= 20; ++more) {
        many += codes.of(c);
        EXPECT_EQ(codes.other(many, a), -1) << "k " << k << ": " << more;
        EXPECT_FALSE(codes.alone(many, a));
      }
      EXPECT_EQ(codes.other(two + codes.of(0), a), -1) << "k " << k;  // the least that three may be
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
