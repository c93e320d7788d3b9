// SPDX-License-Identifier: Apache-2.0
#include "sketch/centre.hpp"

#include "numeric/distance.hpp"

namespace fastkmeans {
namespace {

// Values whose ranks are counted faster than they are sorted, whose branches nobody can predict.
constexpr std::ptrdiff_t kFew = 32;

// values: (count), count > 0; in any order afterwards.
float upper_median(float* values, std::ptrdiff_t count) {
  if (count > kFew) {
    std::nth_element(values, values + count / 2, values + count);
    return values[count / 2];
  }
  for (std::ptrdiff_t i = 0;; ++i) {
    std::ptrdiff_t below = 0, equal = 0;
    for (std::ptrdiff_t other = 0; other < count; ++other) {
      below += values[other] < values[i];
      equal += values[other] == values[i];
    }
    if (below <= count / 2 && count / 2 < below + equal) return values[i];  // mutant: upper_median
  }
}

}  // namespace

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
      centre[static_cast<std::size_t>(j)] = upper_median(column.data(), valid);
    }
  });
  return centre;
}

}  // namespace fastkmeans
