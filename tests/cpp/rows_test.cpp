// SPDX-License-Identifier: Apache-2.0
// Tiles of rows, the centre of a few rows, and centroids that are copies.
#include "cpu/rows.hpp"

#include <algorithm>
#include <limits>

#include "cpu/copies.hpp"
#include "numeric/distance.hpp"
#include "sketch/centre.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Where they lie only if nothing is to be done to them and as many elements are there as the reader takes.
TEST(RowTileNoOracle, InPlaceWhereTheyCanBeReadThere) {
  Random random(140);
  Workers workers(1, {});
  for (const cpu::Isa* isa : kernel_isas())
    for (const std::int64_t d : {1, 16, 20, 32}) {
      const Matrix x = random_rows(Kind::normal, 50, d, random);
      const std::vector<double> wide(x.values.begin(), x.values.end());
      const std::int64_t ld = cpu::padded(d);
      const MatrixView doubles(wide.data(), 50, d, DType::f64);
      for (const MatrixView& view : {x.view(), doubles})
        for (const std::int64_t width : {d, ld}) {
          const cpu::Context context = {view, euclidean(), *isa->kernels, workers};
          cpu::RowTile tile(context, 8, width);
          EXPECT_EQ(tile.ld(), ld);
          for (const auto& [first, count] : {std::pair{0, 8}, {7, 3}, {42, 8}}) {
            const auto expect_rows = [&, first = first, count = count](bool in_place) {
              for (std::int64_t i = 0; i < count; ++i) {
                EXPECT_EQ(tile.row(i) == x.row(first + i), in_place) << isa->name << " d " << d;
                EXPECT_TRUE(std::equal(x.row(first + i), x.row(first + i) + d, tile.row(i)));
                for (std::int64_t j = d; j < width; ++j) EXPECT_EQ(tile.row(i)[j], 0.0f);
              }
            };
            tile.load(first, count);
            expect_rows(view.dtype == DType::f32 && width == d);
            tile.load_copy(first, count);
            expect_rows(false);
            EXPECT_EQ(tile.row(2), tile.row(0) + 2 * ld);
            tile.scale(1);
            for (std::int64_t j = 0; j < d; ++j) {
              EXPECT_EQ(tile.row(1)[j], x.row(first + 1)[j] * kTinyScale);
              EXPECT_EQ(tile.row(0)[j], x.row(first)[j]);
            }
          }
        }
    }
}

TEST(RowTileNoOracle, TheMetricTransformsGoodRows) {
  Matrix x(3, 16, std::vector<float>(48, 2.0f));
  x.row(1)[15] = 0x1p56f;  // as large as no row may be
  Workers workers(1, {});
  for (const cpu::Isa* isa : kernel_isas()) {
    const cpu::Context context = {x.view(), spherical(), *isa->kernels, workers};
    cpu::RowTile tile(context, 3, 16);
    tile.load(0, 3);
    for (std::int64_t j = 0; j < 16; ++j) {
      EXPECT_EQ(tile.row(0)[j], 0.25f) << isa->name;
      EXPECT_EQ(tile.row(1)[j], j == 15 ? 0x1p56f : 2.0f) << isa->name;
      EXPECT_EQ(x.row(0)[j], 2.0f) << "the caller's rows stay as they are";
    }
  }
}

TEST(CentreNoOracle, MedianOfEachColumn) {
  Workers workers(2, {});
  EXPECT_EQ(central_row({}, 0, 3, workers), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(central_row({5, -1}, 1, 2, workers), (std::vector<float>{5, -1}));
  EXPECT_EQ(central_row({1, 7, 1e30f, 9, 2, kNaN, 3, 8, kNaN}, 3, 3, workers), (std::vector<float>{3, 7, 0}))
      << "1e30 and NaN are no values";
  constexpr std::int64_t d = 1000;  // many blocks of columns
  std::vector<float> rows(5 * d);
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < d; ++j) rows[i * d + j] = static_cast<float>(j) + static_cast<float>((i * 2) % 5);
  const std::vector<float> centre = central_row(rows, 5, d, workers);
  for (std::size_t j = 0; j < d; ++j) ASSERT_EQ(centre[j], static_cast<float>(j + 2));
}

TEST(CentreNoOracle, OneRowIn32) {
  EXPECT_EQ(centre_rows(0, 5), 0);
  EXPECT_EQ(centre_rows(1, 5), 1);
  EXPECT_EQ(centre_rows(63, 5), 1);
  EXPECT_EQ(centre_rows(160, 5), 5);
  EXPECT_EQ(centre_rows(1'000'000, 5), 128);
  EXPECT_EQ(centre_rows(1'000'000, 1 << 19), 1);  // 3 MiB
}

TEST(CopiesNoOracle, OfALowerRow) {
  Random random(141);
  for (const std::int64_t k : {1, 2, 20, 300, 5000, 40'000}) {
    constexpr std::int64_t d = 3, ld = 16;
    std::vector<float> rows(static_cast<std::size_t>(k * ld));
    const std::int64_t different = std::max<std::int64_t>(1, k / 3);
    std::vector<std::uint8_t> seen(static_cast<std::size_t>(different)), expected;
    for (std::int64_t c = 0; c < k; ++c) {
      const std::int64_t value = draw(random, 0, different - 1);
      rows[static_cast<std::size_t>(c * ld + 1)] = static_cast<float>(value);
      expected.push_back(seen[static_cast<std::size_t>(value)]);
      seen[static_cast<std::size_t>(value)] = 1;
    }
    for (const int threads : {1, 3}) {
      Workers workers(threads, {});
      EXPECT_EQ(cpu::find_copies(rows.data(), k, d, ld, workers), expected) << k << ' ' << threads;
    }
  }
}

// -0 equals 0, and has the same hash; the bits differ.
TEST(CopiesNoOracle, ByTheirBits) {
  std::vector<float> rows = {0.0f, -0.0f, 1.0f, 0.0f, 1.0f};
  std::vector<std::uint8_t> expected = {0, 0, 0, 1, 1};
  Workers workers(1, {});
  EXPECT_EQ(cpu::find_copies(rows.data(), 5, 1, 1, workers), expected);
  for (float other = 2; other < 60; ++other) rows.push_back(other), expected.push_back(0);
  EXPECT_EQ(cpu::find_copies(rows.data(), std::ssize(rows), 1, 1, workers), expected) << "by hash";
}

}  // namespace
}  // namespace fastkmeans::testing
