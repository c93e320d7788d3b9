// SPDX-License-Identifier: Apache-2.0
#include "numeric/distance.hpp"

#include "cpu/simd.hpp"  // this file has the baseline's flags: on x86-64 exact_fma is the emulation
#include "scalar/scalar_distance.hpp"
#include "sketch/bound.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

std::vector<float> pad(const float* row, std::int64_t d) {
  std::vector<float> out(static_cast<std::size_t>(cpu::padded(d)));
  std::copy_n(row, d, out.begin());
  return out;
}

// D by every kernel must be this very number.
void expect_distance(const std::vector<float>& x, const std::vector<float>& c, float expected) {
  const auto d = static_cast<std::int64_t>(x.size());
  for (const cpu::Isa* isa : kernel_isas())
    EXPECT_EQ(isa->kernels->distance(pad(x.data(), d).data(), pad(c.data(), d).data(), cpu::padded(d)), expected)
        << isa->name;
}

// Row of d zeros with some elements set.
std::vector<float> sparse(std::size_t d, std::initializer_list<std::pair<std::size_t, float>> elements) {
  std::vector<float> row(d);
  for (const auto& [j, value] : elements) row[j] = value;
  return row;
}

TEST(DistanceNoOracle, OrderOfOperationsByHand) {
  const std::vector<float> zero(64);
  // The tree adds lane 16 to lane 0 first, then lane 8: each half ulp is lost by itself.
  expect_distance(sparse(64, {{0, 1.0f}, {16, 0x1p-12f}, {8, 0x1p-12f}}), zero, 1.0f);
  // Lanes 8 and 24 meet before they meet lane 0.
  expect_distance(sparse(64, {{0, 1.0f}, {24, 0x1p-12f}, {8, 0x1p-12f}}), zero, 1.0f + 0x1p-23f);
  // Dimension 32 is lane 0 again, before the tree.
  expect_distance(sparse(64, {{0, 1.0f}, {32, 0x1p-12f}, {16, 0x1p-12f}}), zero, 1.0f);
  expect_distance(sparse(64, {{0, 0x1p-12f}, {16, 0x1p-12f}, {32, 1.0f}}), zero, 1.0f);
  expect_distance(sparse(64, {{16, 0x1p-12f}, {48, 0x1p-12f}, {0, 1.0f}}), zero, 1.0f + 0x1p-23f);
  // fma: the square 1 + 2^-11 + 2^-24 is not rounded before 2^-26 is added.
  expect_distance(sparse(64, {{0, 0x1p-13f}, {32, 1.0f + 0x1p-12f}}), zero, 1.0f + 0x1p-11f + 0x1p-23f);
}

TEST(DistanceNoOracle, DifferencesFirst) {
  expect_distance({16777216.0f, 3.0f}, {16777215.0f, 3.0f}, 1.0f);
  expect_distance({0x1p55f}, {-0x1p55f}, 0x1p112f);
  expect_distance({0x1p-75f}, {0.0f}, 0.0f);  // half the least denormal: to even
  expect_distance({0x1.8p-75f}, {0.0f}, 0x1p-149f);
  expect_distance({-0.0f}, {0.0f}, 0.0f);
}

// What a stored D says of the true distance, from above and from below.
TEST(DistanceNoOracle, RadiiHoldTheTruth) {
  Random random(12);
  for (const std::int64_t d : {1, 2, 31, 33, 100})
    for (int exponent = -80; exponent <= 40; exponent += 2) {
      const FilterBound bound = FilterBound::of_rows(d);
      Matrix pair(2, d);
      long double square = 0;
      for (std::int64_t j = 0; j < d; ++j) {
        // Near 2^-74.7, whose square is rounded up to the least denormal.
        pair.row(0)[j] = std::ldexp(static_cast<float>(draw(random, 80, 160)), exponent - 7);
        const auto t = static_cast<long double>(pair.row(0)[j]) - static_cast<long double>(pair.row(1)[j]);
        square += t * t;
      }
      const float stored = scalar_distance(pair.row(0), pair.row(1), d, 1.0f);
      EXPECT_LE(std::sqrt(square), static_cast<long double>(bound.radius(stored))) << d << " " << exponent;
      EXPECT_GE(std::sqrt(square), static_cast<long double>(bound.least_radius(stored))) << d << " " << exponent;
      if (exponent > -60) {
        EXPECT_GE(bound.least_radius(stored), 0.9999 * bound.radius(stored));
      }
    }
}

TEST(DistanceNoOracle, StoredDistances) {
  EXPECT_EQ(true_distance(store_distance(3.0f, false)), 3.0);
  EXPECT_EQ(true_distance(store_distance(3.0f, true)), 3.0 * 0x1p-128);
  EXPECT_EQ(true_distance(store_distance(0.0f, true)), 0.0);
}

TEST(DistanceNoOracle, MagnitudeLimitKeepsDFinite) {
  for (const std::int64_t d : {1L, 8192L, 8193L, 32768L, 32769L, 1L << 20}) {
    const double most = 2.0 * static_cast<double>(magnitude_limit(d));
    EXPECT_LE(static_cast<double>(d) * most * most, 0x1p127) << d;
  }
  EXPECT_EQ(magnitude_limit(8192), 0x1p56f);
  EXPECT_EQ(magnitude_limit(8193), 0x1p55f);
}

TEST(Distance, EveryKernelEqualsScalar) {
  Random random(5);
  std::vector<std::int64_t> sizes = {384, 1000, 2050, 8192};
  for (std::int64_t d = 1; d <= 130; ++d) sizes.push_back(d);
  for (const std::int64_t d : sizes)
    for (const Kind kind : kKinds) {
      Matrix x = random_rows(kind, 2, d, random);
      if (draw(random, 0, 1)) x.row(0)[draw(random, 0, d - 1)] = -0.0f;
      if (draw(random, 0, 1)) x.row(1)[draw(random, 0, d - 1)] = draw(random, 0, 1) ? 0x1.fffffep55f : 0x1p-149f;
      const float distance = scalar_distance(x.row(0), x.row(1), d, 1.0f);
      const float product = scalar_negated_product(x.row(0), x.row(1), d);
      for (const cpu::Isa* isa : kernel_isas()) {
        const auto bits_of = [&](const auto& kernel) {
          return std::bit_cast<std::uint32_t>(kernel(pad(x.row(0), d).data(), pad(x.row(1), d).data(), cpu::padded(d)));
        };
        ASSERT_EQ(bits_of(isa->kernels->distance), std::bit_cast<std::uint32_t>(distance)) << isa->name << " d " << d;
        ASSERT_EQ(bits_of(isa->kernels->negated_product), std::bit_cast<std::uint32_t>(product))
            << isa->name << " d " << d;
      }
    }
}

float fma_once(float a, float b, float s) {
  float out[cpu::kWidth];
  cpu::store(out, cpu::exact_fma(cpu::broadcast(a), cpu::broadcast(b), cpu::broadcast(s)));
  return out[cpu::kWidth - 1];
}

float square_add_once(float t, float s) { return fma_once(t, t, s); }

// As terms of inner products are: sums of either sign, which cancel, or are just off a tie.
TEST(ExactFmaNoOracle, EqualsFmaForTermsOfEitherSign) {
  Random random(7);
  const auto number = [&](std::int64_t low, std::int64_t high) {
    const auto exponent = static_cast<std::uint32_t>(draw(random, low, high));
    const auto mantissa = static_cast<std::uint32_t>(draw(random, 0, 0x7fffff));
    const auto sign = static_cast<std::uint32_t>(draw(random, 0, 1));
    return std::bit_cast<float>(sign << 31 | exponent << 23 | (draw(random, 0, 1) ? mantissa : mantissa & 3));
  };
  for (int repeat = 0; repeat < 200'000; ++repeat) {
    const float a = number(40, 180), b = number(40, 180);
    float s = number(0, 240);
    if (draw(random, 0, 1)) {  // half an ulp of s is about a b; or a b is s, but for some last bits
      const int away = draw(random, 0, 1) ? 24 : 0;
      s = static_cast<float>(std::ldexp(static_cast<double>(a) * static_cast<double>(b), away));
      for (std::int64_t steps = draw(random, 0, 2); steps > 0; --steps) s = std::nextafter(s, 0.0f);
      if (draw(random, 0, 1)) s = -s;
    }
    const float expected = std::fma(a, b, s);
    if (!std::isfinite(s) || !std::isfinite(expected)) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(fma_once(a, b, s)), std::bit_cast<std::uint32_t>(expected))
        << std::hexfloat << a << ' ' << b << ' ' << s;
  }
}

TEST(SquareAddNoOracle, EqualsFmaWhereRoundingIsHard) {
  Random random(6);
  auto mantissa = [&] { return static_cast<std::uint32_t>(draw(random, 0, 0x7fffff)); };
  for (int repeat = 0; repeat < 400'000; ++repeat) {
    const auto exponent = static_cast<std::uint32_t>(draw(random, 0, 180));
    float s = std::bit_cast<float>(exponent << 23 | (draw(random, 0, 1) ? mantissa() : mantissa() & 3));
    float t = 0;
    switch (draw(random, 0, 4)) {
      case 0:  // anything of a like size, down to results below the least normal number
        t = std::bit_cast<float>(static_cast<std::uint32_t>(draw(random, 30, 180)) << 23 | mantissa());
        break;
      case 1: {  // the square close to half an ulp of s, from both sides
        const float half_ulp = (std::nextafter(s, 0x1p127f) - s) / 2;
        t = static_cast<float>(
            std::sqrt(static_cast<double>(half_ulp) * static_cast<double>(2 * draw(random, 0, 9) + 1)));
        t = std::nextafter(t, draw(random, 0, 1) ? 0.0f : 0x1p60f);
        break;
      }
      case 2:  // few bits: exact ties
        t = std::ldexp(static_cast<float>(draw(random, 1, 4097)), static_cast<int>(draw(random, -90, 40)));
        break;
      case 3: {  // the sum as little below a tie as can be: fp64 alone rounds it up to the tie
        const auto root = static_cast<std::uint64_t>(draw(random, 1 << 23, (1 << 24) - 1)), square = root * root;
        const std::uint64_t ulp = square >> 47 ? 1u << 24 : 1u << 23;
        const std::uint64_t missing = (ulp + ulp / 2 - square % ulp) % ulp;
        t = static_cast<float>(root);
        s = std::nextafter(static_cast<float>(missing), 0.0f);
        break;
      }
      default:  // the square far below s
        t = s * 0x1p-30f;
    }
    if (draw(random, 0, 1)) t = -t;
    ASSERT_EQ(square_add_once(t, s), std::fma(t, t, s)) << std::hexfloat << t << ' ' << s;
  }
}

// fp64 rounds these sums to a tie of fp32; what it lost decides, towards 0 and away from it.
TEST(ExactFmaNoOracle, BelowZeroByHand) {
  const float t = 8863563.0f;
  EXPECT_EQ(fma_once(-t, t, -std::nextafter(7.0f, 0.0f)), -0x1.1dcf42p+46f);
  EXPECT_EQ(fma_once(-t, t, -7.0f), -0x1.1dcf44p+46f);  // the tie: to even
  EXPECT_EQ(fma_once(-t, t, -std::nextafter(7.0f, 8.0f)), -0x1.1dcf44p+46f);
  EXPECT_EQ(fma_once(0x1p-24f, -1.0f, -1.0f), -1.0f);
  EXPECT_EQ(fma_once(0x1p-149f, -0x1p-20f, -(1.0f + 0x1p-23f)), -(1.0f + 0x1p-23f));
}

TEST(SquareAddNoOracle, ByHand) {
  EXPECT_EQ(square_add_once(0x1p-12f, 1.0f), 1.0f);                                    // tie to even, down
  EXPECT_EQ(square_add_once(0x1p-12f, 1.0f + 0x1p-23f), 1.0f + 0x1p-22f);              // tie to even, up
  EXPECT_EQ(square_add_once(0x1.000002p-12f, 1.0f), 1.0f + 0x1p-23f);                  // just above a tie
  EXPECT_EQ(square_add_once(1.0f + 0x1p-12f, 0x1p-149f), 1.0f + 0x1p-11f + 0x1p-23f);  // sticky bit 125 places below
  EXPECT_EQ(square_add_once(1.0f + 0x1p-12f, 0.0f), 1.0f + 0x1p-11f);
  EXPECT_EQ(square_add_once(0x1p-75f, 0x1p-149f), 0x1p-148f);  // 1.5 denormal units: to even
  // The square lacks 7 to a tie, s is a little less than 7: fp64 rounds the sum up to the tie, and then to even, up.
  EXPECT_EQ(square_add_once(8863563.0f, std::nextafter(7.0f, 0.0f)), 0x1.1dcf42p+46f);
  EXPECT_EQ(square_add_once(0.0f, 0.0f), 0.0f);
}

}  // namespace
}  // namespace fastkmeans::testing
