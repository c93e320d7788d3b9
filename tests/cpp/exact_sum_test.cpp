// SPDX-License-Identifier: Apache-2.0
#include "numeric/exact_sum.hpp"

#include <algorithm>
#include <array>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// The same sum bit by bit, in units of 2^-277: the last bit of a scaled denormal.
class SlowSum {
 public:
  void add(float stored) {
    int exponent = 0;
    const double fraction = std::frexp(true_distance(stored), &exponent);  // in [1/2, 1): a 24-bit integer after 2^24
    auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 24));
    int place = exponent - 24 + kUnit;
    for (; place < 0; ++place) mantissa >>= 1;  // denormals: only zeros go
    for (; mantissa; mantissa >>= 1, ++place)
      if (mantissa & 1) flip(place);
  }

  double value() const {
    int top = kBits - 1;
    while (top >= 0 && !bits_[static_cast<std::size_t>(top)]) --top;
    const int last = std::max(top - 52, 0);
    std::uint64_t kept = 0;
    for (int i = top; i >= last; --i) kept = kept << 1 | bits_[static_cast<std::size_t>(i)];
    const bool half = last > 0 && bits_[static_cast<std::size_t>(last - 1)];
    const bool more = last > 1 && std::any_of(bits_.begin(), bits_.begin() + last - 1, [](char bit) { return bit; });
    if (half && (more || (kept & 1))) ++kept;
    return std::ldexp(static_cast<double>(kept), last - kUnit);
  }

 private:
  static constexpr int kUnit = 277, kBits = 450;

  void flip(int place) {
    while (bits_[static_cast<std::size_t>(place)]) bits_[static_cast<std::size_t>(place++)] = 0;
    bits_[static_cast<std::size_t>(place)] = 1;
  }

  std::array<char, kBits> bits_{};
};

double sum_of(const std::vector<float>& values) {
  ExactSum sum;
  for (const float value : values) sum.add(value);
  return sum.value();
}

double slow_sum_of(const std::vector<float>& values) {
  SlowSum sum;
  for (const float value : values) sum.add(value);
  return sum.value();
}

TEST(ExactSumNoOracle, Nothing) {
  EXPECT_EQ(sum_of({}), 0.0);
  EXPECT_EQ(sum_of({0.0f, -0.0f}), 0.0);
}

TEST(ExactSumNoOracle, OneValueIsItself) {
  for (const float value : {0x1p-149f, 0x1.fffffcp-127f, 0x1p-126f, 1.0f, 0x1.fffffep127f, 3.14159f}) {
    EXPECT_EQ(sum_of({value}), static_cast<double>(value));
    EXPECT_EQ(sum_of({-value}), static_cast<double>(value) * 0x1p-128);
  }
}

TEST(ExactSumNoOracle, HalfWayGoesToEven) {
  EXPECT_EQ(sum_of({1.0f, 0x1p-53f}), 1.0);
  EXPECT_EQ(sum_of({1.0f, 0x1p-52f, 0x1p-53f}), 1.0 + 0x1p-51);
  EXPECT_EQ(sum_of({1.0f, 0x1p-53f, 0x1p-149f}), 1.0 + 0x1p-52);   // just above half, far below
  EXPECT_EQ(sum_of({1.0f, 0x1p-53f, -0x1p-149f}), 1.0 + 0x1p-52);  // the last bit of the scaled set
  EXPECT_EQ(sum_of({0x1p127f, 0x1p74f}), 0x1p127);
  EXPECT_EQ(sum_of({0x1p127f, 0x1p74f, -0x1p-100f}), 0x1p127 + 0x1p75);
}

TEST(ExactSumNoOracle, RoundingUpCarriesToTheNextPowerOfTwo) {
  EXPECT_EQ(sum_of({0x1.fffffep0f, 0x1.fffffep-24f, 0x1.fffffep-48f}), 2.0);
}

TEST(ExactSumNoOracle, AgreesWithTheSlowSum) {
  Random random(1);
  for (int repeat = 0; repeat < 400; ++repeat) {
    const auto widest = static_cast<std::uint32_t>(draw(random, 1, 254));
    std::vector<float> values(static_cast<std::size_t>(draw(random, 1, 60)));
    for (float& value : values) {
      const auto exponent = static_cast<std::uint32_t>(draw(random, 0, widest));
      const auto mantissa = static_cast<std::uint32_t>(draw(random, 0, 1) ? draw(random, 0, 0x7fffff) : 0);
      value = std::bit_cast<float>(exponent << 23 | mantissa | (draw(random, 0, 3) ? 0u : 0x80000000u));
    }
    EXPECT_EQ(sum_of(values), slow_sum_of(values)) << "repeat " << repeat;
  }
}

TEST(ExactSumNoOracle, AMillionRowsInPartsAndAnyOrderHeavy) {
  Random random(2);
  std::vector<float> values(1'000'000);
  for (float& value : values) value = std::bit_cast<float>(static_cast<std::uint32_t>(draw(random, 0, 0x7f7fffff)));
  values.insert(values.end(), 1000, 0x1.fffffep127f);  // far beyond what an fp32 sum could hold
  const double expected = slow_sum_of(values);
  EXPECT_EQ(sum_of(values), expected);
  std::shuffle(values.begin(), values.end(), random);
  std::array<ExactSum, 7> parts;
  for (std::size_t i = 0; i < values.size(); ++i) parts[i % 7].add(values[i]);
  for (std::size_t i = 1; i < parts.size(); ++i) parts[0].add(parts[i]);
  EXPECT_EQ(parts[0].value(), expected);
}

}  // namespace
}  // namespace fastkmeans::testing
