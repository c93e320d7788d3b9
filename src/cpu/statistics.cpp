// SPDX-License-Identifier: Apache-2.0
#include "cpu/statistics.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

// What a worker found in its tiles.
struct Found {
  std::vector<std::uint32_t> column_bits;
  std::uint32_t least_row_bits = ~0u;
  std::int64_t zero_rows = 0;
  RowCheck check;
};

}  // namespace

Statistics statistics_of(const Context& context, const Source& source) {
  const Kernels& kernels = context.kernels;
  const std::int64_t n = context.x.rows, d = context.x.cols, rows = tile_rows(d);
  std::vector<Found> parts(static_cast<std::size_t>(context.workers.count()));
  std::vector<RowTile> tiles(parts.size(), RowTile(context, rows, d));
  const auto read_tile = [&](std::int64_t first, std::int64_t count, int worker) {
    Found& found = parts[static_cast<std::size_t>(worker)];
    RowTile& tile = tiles[static_cast<std::size_t>(worker)];
    found.column_bits.resize(static_cast<std::size_t>(d));
    tile.load(first, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* row = tile.row(i);
      const std::uint32_t largest = kernels.largest_bits(row, d);
      if (largest >= magnitude_limit_bits(d)) {
        found.check.note(first + i);
        continue;
      }
      if (source.weight(first + i) == 0) continue;
      found.zero_rows += largest == 0;
      // mutant: zero_rows_have_no_largest
      if (largest > 0) found.least_row_bits = std::min(found.least_row_bits, largest);
      kernels.raise_bits(row, d, found.column_bits.data());
    }
  };
  const double operations = 2.0 * static_cast<double>(n) * static_cast<double>(d);
  context.workers.for_blocks(n, rows, operations, read_tile, (rows + 1) * padded(d) * 4);

  Statistics result;
  std::vector<std::uint32_t> column_bits(static_cast<std::size_t>(d));
  std::uint32_t least = ~0u;
  for (const Found& found : parts) {
    result.check.merge(found.check);
    result.zero_rows += found.zero_rows;  // mutant: zero_rows_of_all_workers
    least = std::min(least, found.least_row_bits);
    for (std::size_t j = 0; j < found.column_bits.size(); ++j)
      column_bits[j] = std::max(column_bits[j], found.column_bits[j]);  // mutant: column_max_of_all_workers
  }
  result.least_row_max = least == ~0u ? 0.0f : std::bit_cast<float>(least);
  result.column_max.resize(column_bits.size());
  std::transform(column_bits.begin(), column_bits.end(), result.column_max.begin(),
                 [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
  return result;
}

}  // namespace fastkmeans::cpu
