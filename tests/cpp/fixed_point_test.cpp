// SPDX-License-Identifier: Apache-2.0
#include "numeric/fixed_point.hpp"

#include <algorithm>
#include <limits>

#include "numeric/metric.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

FixedPoint scale_of(const Matrix& x) { return testing::scale_of(x.view()); }

void add(const FixedPoint& scale, const float* row, std::int64_t sign, Sums& sums) {
  add_row(scale, row, sign, sums.hi_row(0), sums.lo_row(0));
}

TEST(FixedPointNoOracle, FractionalBitsFitAnyNumberOfRows) {
  for (const std::int64_t n : {1L, 2L, 3L, 4095L, 4096L, 1'000'000L, (1L << 31) - 1}) {
    const FixedPoint scale({1.0f}, 1.0f, n);
    EXPECT_LE(scale.b, 50);
    EXPECT_LT(static_cast<double>(n) * std::ldexp(1.0, scale.b), 0x1p62);
    EXPECT_TRUE(scale.b == 50 || static_cast<double>(n) * std::ldexp(1.0, scale.b) >= 0x1p61) << n;
  }
}

TEST(FixedPointNoOracle, GrainsByHand) {
  const FixedPoint scale({1.0f, 0.75f, 0x1p-140f, 0.0f}, 0.75f, 3);  // b = min(50, 62 - 2)
  EXPECT_EQ(scale.b, 50);
  EXPECT_EQ(scale.grain[0], 0x1p-49);  // 1 < 2^1
  EXPECT_EQ(scale.grain[1], 0x1p-50);  // 0.75 < 2^0
  EXPECT_EQ(scale.grain[2], 0x1p-189);
  EXPECT_EQ(scale.inverse[0], 0x1p49);
  EXPECT_FALSE(scale.two_limbs());
}

TEST(FixedPointNoOracle, SecondLimbOnlyWhereTheGrainIsCoarse) {
  EXPECT_FALSE(FixedPoint({1.0f}, 0x1p-23f, 3).two_limbs());  // g = 2^-49 = 2^-26 nu
  EXPECT_TRUE(FixedPoint({1.0f}, 0x1.fffffep-24f, 3).two_limbs());
  const FixedPoint scale({1.0f, 0x1p-24f}, 0x1p-24f, 3);
  ASSERT_TRUE(scale.two_limbs());
  EXPECT_EQ(scale.lo_inverse[0], 0x1p99);
  EXPECT_EQ(scale.lo_inverse[1], 0.0);
}

TEST(FixedPointNoOracle, HalfAGrainRoundsToEven) {
  const FixedPoint scale({1.0f}, 1.0f, 3);
  const std::pair<float, std::int64_t> cases[] = {{0.5f, 0},   {1.5f, 2},   {2.5f, 2}, {-0.5f, 0},
                                                  {-1.5f, -2}, {-2.5f, -2}, {0.75f, 1}};
  for (const auto& [grains, expected] : cases) {
    const float value = grains * 0x1p-49f;
    for (const std::int64_t sign : {1, -1}) {
      std::uint64_t hi = 0;
      add_row(scale, &value, sign, &hi, nullptr);
      EXPECT_EQ(static_cast<std::int64_t>(hi), sign * expected) << grains;
      for (const cpu::Isa* isa : kernel_isas()) {
        std::uint64_t kernel_hi = 0;
        isa->kernels->add_row(&value, 1, sign, scale.inverse.data(), scale.grain.data(), nullptr, &kernel_hi, nullptr);
        EXPECT_EQ(static_cast<std::int64_t>(kernel_hi), sign * expected) << isa->name << ' ' << grains;
      }
    }
  }
}

TEST(FixedPointNoOracle, AnyOrderAndTakingOutUndoes) {
  Random random(3);
  for (const Kind kind : kKinds) {
    Matrix x = random_rows(kind, 90, 7, random);
    const FixedPoint scale = scale_of(x);
    std::vector<std::int64_t> order(90);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
    Sums forward(1, 7, scale.two_limbs(), false), shuffled(1, 7, scale.two_limbs(), false);
    for (const std::int64_t i : order) add(scale, x.row(i), 1, forward);
    std::shuffle(order.begin(), order.end(), random);
    for (const std::int64_t i : order) add(scale, x.row(i), 1, shuffled);
    EXPECT_EQ(forward.hi, shuffled.hi);
    EXPECT_EQ(forward.lo, shuffled.lo);
    for (const std::int64_t i : order) add(scale, x.row(i), -1, forward);
    EXPECT_EQ(forward.hi, std::vector<std::uint64_t>(7));
    EXPECT_EQ(forward.lo, std::vector<std::uint64_t>(scale.two_limbs() ? 7 : 0));
  }
}

TEST(FixedPointNoOracle, ARowTakenOutFirstWrapsAndComesBack) {
  const Matrix x(2, 2, {1.0f, -3.0f, -1.0f, 5.0f});
  const FixedPoint scale = scale_of(x);
  Sums sums(1, 2, scale.two_limbs(), false);
  add(scale, x.row(0), -1, sums);
  EXPECT_GT(sums.hi[0], std::uint64_t{1} << 63);
  add(scale, x.row(1), 1, sums);
  float mean[2];
  euclidean().update(scale, sums.hi_row(0), sums.lo_row(0), 2, nullptr, mean);
  EXPECT_EQ(mean[0], -1.0f);
  EXPECT_EQ(mean[1], 4.0f);
}

TEST(FixedPointNoOracle, LargestValuesOfTheMostRowsDoNotOverflow) {
  const std::int64_t n = (std::int64_t{1} << 31) - 1;
  const float value = std::nextafter(1.0f, 0.0f);
  const FixedPoint scale({value}, value, n);
  std::uint64_t one = 0;
  add_row(scale, &value, 1, &one, nullptr);
  float mean = 0;
  std::uint64_t sum = one * static_cast<std::uint64_t>(n);  // n such rows
  ASSERT_LT(sum, std::uint64_t{1} << 62);
  euclidean().update(scale, &sum, nullptr, n, nullptr, &mean);
  EXPECT_EQ(mean, value);
  sum = std::uint64_t{0} - sum;
  euclidean().update(scale, &sum, nullptr, n, nullptr, &mean);
  EXPECT_EQ(mean, -value);
}

// With one large row, a mean of small ones is kept to 24 bits by the second limb, though the first cannot hold them.
TEST(FixedPointNoOracle, SecondLimbKeepsSmallRows) {
  const Matrix x(3, 1, {0x1p50f, 0x1.234568p-20f, 0x1.234568p-20f});
  const FixedPoint scale = scale_of(x);
  ASSERT_TRUE(scale.two_limbs());
  Sums sums(1, 1, true, false);
  add(scale, x.row(1), 1, sums);
  add(scale, x.row(2), 1, sums);
  float mean = 0;
  euclidean().update(scale, sums.hi_row(0), sums.lo_row(0), 2, nullptr, &mean);
  EXPECT_EQ(mean, 0x1.234568p-20f);
}

TEST(FixedPointNoOracle, MeanIsRoundedFromFp64) {
  const Matrix x(3, 1, {1.0f, 1.0f, 0.0f});
  const FixedPoint scale = scale_of(x);
  Sums sums(1, 1, scale.two_limbs(), false);
  for (int i = 0; i < 3; ++i) add(scale, x.row(i), 1, sums);
  float mean = 0;
  euclidean().update(scale, sums.hi_row(0), sums.lo_row(0), 3, nullptr, &mean);
  EXPECT_EQ(mean, static_cast<float>(2.0 / 3.0));
}

TEST(FixedPoint, KernelsAddTheSameIntegers) {
  Random random(4);
  for (const Kind kind : kKinds)
    for (const std::int64_t d : {1, 5, 8, 16, 33}) {
      const Matrix x = random_rows(kind, 40, d, random);
      const FixedPoint scale = scale_of(x);
      for (const cpu::Isa* isa : kernel_isas()) {
        Sums plain(1, d, scale.two_limbs(), false), fast(1, d, scale.two_limbs(), false);
        for (std::int64_t i = 0; i < x.rows; ++i) {
          const std::int64_t sign = i % 3 ? 1 : -1;
          add(scale, x.row(i), sign, plain);
          isa->kernels->add_row(x.row(i), d, sign, scale.inverse.data(), scale.grain.data(),
                                scale.two_limbs() ? scale.lo_inverse.data() : nullptr, fast.hi_row(0), fast.lo_row(0));
        }
        EXPECT_EQ(plain.hi, fast.hi) << isa->name;
        EXPECT_EQ(plain.lo, fast.lo) << isa->name;
      }
    }
}

}  // namespace
}  // namespace fastkmeans::testing
