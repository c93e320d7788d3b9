// SPDX-License-Identifier: Apache-2.0
#include "sketch/centre.hpp"

#include "numeric/distance.hpp"

namespace fastkmeans {

std::vector<float> central_row(const std::vector<float>& rows, std::int64_t count, std::int64_t d, Workers& workers) {
  std::vector<float> centre(static_cast<std::size_t>(d));
  constexpr std::int64_t kColumns = 64;  // a few microseconds, and whole cache lines of the rows
  const double operations = 10.0 * static_cast<double>(count) * static_cast<double>(d);
  workers.for_blocks(d, kColumns, operations, [&](std::int64_t first, std::int64_t columns, int) {
    std::vector<float> column(static_cast<std::size_t>(count));
    for (std::int64_t j = first; j < first + columns; ++j) {
      std::ptrdiff_t valid = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        const float value = rows[static_cast<std::size_t>(i * d + j)];
        if (magnitude_bits(value) < magnitude_limit_bits(d)) column[static_cast<std::size_t>(valid++)] = value;
      }
      if (valid == 0) continue;
      std::nth_element(column.begin(), column.begin() + valid / 2, column.begin() + valid);
      centre[static_cast<std::size_t>(j)] = column[static_cast<std::size_t>(valid / 2)];
    }
  });
  return centre;
}

}  // namespace fastkmeans
