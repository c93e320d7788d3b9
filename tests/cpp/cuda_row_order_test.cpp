// SPDX-License-Identifier: Apache-2.0
// Rows in the order of the tiles that their clusters stand in, alone and in a fit; and D four elements at a time, which
// the fits have too, or not.
#include <numeric>

#include "cuda_fits.hpp"
#include "low_rank.hpp"

#ifdef FASTKMEANS_CUDA
#include "cuda/row_order.hpp"
#include "cuda/sketches.hpp"
#include "cuda/statistics.hpp"

namespace fastkmeans::testing {
namespace {

TEST(CudaRowOrderNoOracle, WhereItPays) {
  EXPECT_TRUE(cuda::RowOrder::pays(1 << 17, 8));
  EXPECT_FALSE(cuda::RowOrder::pays((1 << 17) - 1, 8));
  EXPECT_FALSE(cuda::RowOrder::pays(1 << 17, 7));
  EXPECT_TRUE(cuda::RowOrder::pays(1 << 20, 12288));
  EXPECT_FALSE(cuda::RowOrder::pays(1 << 20, 12289));  // counts beyond a block's shared memory
}

TEST(CudaRowOrderNoOracle, WhereItPaysForDistances) {
  EXPECT_TRUE(cuda::RowOrder::pays_for_distances(16'384, 1024));
  EXPECT_FALSE(cuda::RowOrder::pays_for_distances(12'288, 1024)) << "centroids fit the second cache";
  EXPECT_FALSE(cuda::RowOrder::pays_for_distances(131'072, 511)) << "rows are short";
}

using CudaRowOrder = CudaFits;

TEST_F(CudaRowOrder, EachRowOnceByTiles) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  Random random(401);
  for (const std::int64_t n : {1, 31, 4095, 4096, 4097, 100'000})
    for (const std::int64_t tiles : {1, 2, 33, 12288}) {
      SCOPED_TRACE(std::to_string(n) + " rows, " + std::to_string(tiles) + " tiles");
      const std::int64_t k = tiles * cuda::kTile - 5;
      std::vector<std::int32_t> labels(static_cast<std::size_t>(n)), places(static_cast<std::size_t>(k));
      std::vector<std::uint8_t> states(static_cast<std::size_t>(n));
      std::iota(places.begin(), places.end(), 0);
      std::shuffle(places.begin(), places.end(), random);
      for (auto& label : labels) label = static_cast<std::int32_t>(draw(random, 0, k - 1));
      for (std::size_t i = 0; i < states.size(); ++i)
        if (i % 100 == 7) {
          states[i] = cuda::kBadRow;
          labels[i] = -1;  // nobody may look it up
        }
      const auto on_device = [&](const auto& values) {
        return cuda::uploaded(device, values.data(), std::ssize(values));
      };
      const auto label_buffer = on_device(labels), place_buffer = on_device(places);
      const auto state_buffer = on_device(states);
      cuda::Batch batch = {};
      batch.count = static_cast<int>(n);
      batch.states = state_buffer.data();
      batch.previous = label_buffer.data();
      cuda::RowOrder order(device, n + 3, tiles);
      for (int again = 0; again < 2; ++again) {
        std::vector<std::int32_t> rows = cuda::downloaded(device, order.by_tile(batch, place_buffer.data()), n);
        std::vector<int> of_rows;
        for (const std::int32_t i : rows) {
          ASSERT_TRUE(i >= 0 && i < n);
          const auto at = static_cast<std::size_t>(i);
          of_rows.push_back(states[at] ? 0 : places[static_cast<std::size_t>(labels[at])] / cuda::kTile);
        }
        EXPECT_TRUE(std::is_sorted(of_rows.begin(), of_rows.end()));
        std::sort(rows.begin(), rows.end());
        for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(rows[static_cast<std::size_t>(i)], i);
      }
    }
}

// Enough rows and tiles for the order; rows that can be read four elements at a time, and others.
TEST_F(CudaRowOrder, FitsOfManyRows) {
  Random random(402);
  constexpr std::int64_t kRows = (1 << 17) + 77, kClusters = 1030;
  ASSERT_TRUE(cuda::RowOrder::pays(kRows, kClusters / cuda::kTile));
  const Matrix x = random_rows(Kind::normal, kRows, 24, random);
  for (const std::int64_t d : {24, 21, 20})
    for (const std::int64_t first : {0, 1}) {
      SCOPED_TRACE(std::to_string(d) + " columns from " + std::to_string(first));
      if (first + d > x.cols) continue;
      const MatrixView part = {x.values.data() + first, kRows, d, DType::f32, x.cols * 4, 4};
      Params params = params_of(kClusters, 3, -1);
      params.labels = true;
      params.execution = on(Path{"", ""}, 2);
      const Result expected = fit(part, params);
      params.execution = on(Path{"cuda", "int8"});
      const Result got = fit(part, params);
      expect_same(got, expected);
      for (const IterationStats& stats : got.iterations) EXPECT_EQ(stats.filter.filter, "int8");
    }
}

// So many centroids, so long, that D to the labels takes that order too.
TEST_F(CudaRowOrder, FitsOfLongRowsHeavy) {
  constexpr std::int64_t kRows = (1 << 17) + 77, kClusters = 24'600, kDims = 512;
  ASSERT_TRUE(cuda::RowOrder::pays(kRows, kClusters / cuda::kTile));
  ASSERT_TRUE(cuda::RowOrder::pays_for_distances(kClusters, kDims));
  const Matrix x = low_rank(kRows, kDims, 40, 0.1f);
  Params params = params_of(kClusters, 3, -1);
  params.labels = true;
  params.execution = on(Path{"cuda", "none"});
  const Result expected = fit(x.view(), params);
  for (const char* filter : {"int8", "narrow"}) {
    params.execution = on(Path{"cuda", filter});
    const Result got = fit(x.view(), params);
    expect_same(got, expected);
    for (const IterationStats& stats : got.iterations) EXPECT_EQ(stats.filter.filter, filter);
  }
}

}  // namespace
}  // namespace fastkmeans::testing
#endif
