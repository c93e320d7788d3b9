// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "layouts.hpp"

namespace fastkmeans::testing {
namespace {

void expect_element(float got, float expected, const cpu::Isa& isa, DType dtype) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got)) << isa.name << " dtype " << static_cast<int>(dtype);
  } else {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(expected))
        << isa.name << " dtype " << static_cast<int>(dtype);
  }
}

// All rows but the first, by every kernel, against element().
void expect_loaded(const MatrixView& x) {
  const std::int64_t ld = cpu::padded(x.cols), first = x.rows > 1 ? 1 : 0, count = x.rows - first;
  for (const cpu::Isa* isa : kernel_isas()) {
    std::vector<float> out(static_cast<std::size_t>(count * ld), 7.0f);
    isa->kernels->load_rows(x, first, count, out.data(), ld);
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < ld; ++j)
        expect_element(out[static_cast<std::size_t>(i * ld + j)], j < x.cols ? element(x, first + i, j) : 0.0f, *isa,
                       x.dtype);
  }
}

TEST(LoadRowsNoOracle, ElementsByHand) {
  auto one = [](auto value, DType dtype) { return read_element(reinterpret_cast<const char*>(&value), dtype); };
  EXPECT_EQ(one(std::uint16_t{0x3c00}, DType::f16), 1.0f);
  EXPECT_EQ(one(std::uint16_t{0x0001}, DType::f16), 0x1p-24f);
  EXPECT_EQ(one(std::uint16_t{0x83ff}, DType::f16), -0x1.ff8p-15f);
  EXPECT_EQ(one(std::uint16_t{0x7bff}, DType::f16), 65504.0f);
  EXPECT_EQ(one(std::uint16_t{0xfc00}, DType::f16), -INFINITY);
  EXPECT_TRUE(std::isnan(one(std::uint16_t{0x7c01}, DType::f16)));
  EXPECT_TRUE(std::signbit(one(std::uint16_t{0x8000}, DType::f16)));
  EXPECT_EQ(one(std::uint16_t{0xbf80}, DType::bf16), -1.0f);
  EXPECT_EQ(one(1.0 + 0x1p-24, DType::f64), 1.0f);  // to even
  EXPECT_EQ(one(1.0 + 0x1.8p-23, DType::f64), 1.0f + 0x1p-22f);
  EXPECT_EQ(one(1e300, DType::f64), INFINITY);
  EXPECT_EQ(one(std::int8_t{-128}, DType::i8), -128.0f);
  EXPECT_EQ(one(std::uint8_t{255}, DType::u8), 255.0f);
  EXPECT_EQ(one(std::int16_t{-32768}, DType::i16), -32768.0f);
  EXPECT_EQ(one(std::uint16_t{65535}, DType::u16), 65535.0f);
  EXPECT_EQ(one(std::int32_t{16777217}, DType::i32), 16777216.0f);
  EXPECT_EQ(one(std::uint32_t{4294967295u}, DType::u32), 0x1p32f);
  EXPECT_EQ(one(std::int64_t{-1} << 63, DType::i64), -0x1p63f);
  EXPECT_EQ(one(~std::uint64_t{0}, DType::u64), 0x1p64f);
}

// The value of a half from its definition: sign, 5 bits of exponent, 10 of mantissa.
TEST(LoadRowsNoOracle, EveryHalfAndEveryBfloat) {
  std::vector<std::uint16_t> all(1 << 16);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  for (const std::uint16_t bits : all) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float expected = exponent == 31 ? (mantissa ? NAN : INFINITY)
                     : exponent     ? std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25)
                                    : std::ldexp(static_cast<float>(mantissa), -24);
    if (bits >> 15) expected = -expected;
    const float got = half_to_float(bits);
    ASSERT_TRUE(std::isnan(expected) ? std::isnan(got)
                                     : std::bit_cast<std::uint32_t>(got) == std::bit_cast<std::uint32_t>(expected))
        << bits;
  }
  for (const DType dtype : {DType::f16, DType::bf16}) {
    expect_loaded(MatrixView(all.data(), 256, 256, dtype));
    expect_loaded(MatrixView(all.data(), 2, 1 << 15, dtype));
  }
}

TEST(LoadRowsNoOracle, EveryTypeAndLayout) {
  Random random(7);
  std::vector<char> bytes(1 << 16);
  for (char& byte : bytes) byte = static_cast<char>(draw(random, -128, 127));
  for (const DType dtype : kDTypes) {
    const auto item = static_cast<std::int64_t>(item_size(dtype));
    for (const auto& [rows, cols] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {5, 3}, {9, 16}, {14, 33}, {3, 130}}) {
      const char* middle = bytes.data() + bytes.size() / 2;
      const std::int64_t wide = (cols + 3) * item, tall = (rows + 2) * item;
      expect_loaded({middle, rows, cols, dtype, cols * item, item});      // C order
      expect_loaded({middle + 1, rows, cols, dtype, cols * item, item});  // unaligned
      expect_loaded({middle, rows, cols, dtype, wide + 1, item});         // gaps, unaligned rows
      expect_loaded({middle, rows, cols, dtype, -wide, item});            // rows backwards
      expect_loaded({middle, rows, cols, dtype, wide, -item});            // columns backwards
      expect_loaded({middle, rows, cols, dtype, item, tall});             // Fortran order
      expect_loaded({middle + 1, rows, cols, dtype, -item, -tall});       // the same, backwards, unaligned
      expect_loaded({middle, rows, cols, dtype, 2 * wide, 2 * item});     // every second
      expect_loaded({middle, rows, cols, dtype, 0, item});                // one row again and again
      expect_loaded({middle, rows, cols, dtype, item, 0});                // one column again and again
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
