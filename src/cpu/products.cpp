// SPDX-License-Identifier: Apache-2.0
#include "cpu/products.hpp"

#include <algorithm>
#include <limits>

namespace fastkmeans::cpu {

Products::Products(const Kernels& kernels, std::int64_t most_rows)
    : kernels_(kernels),
      starts_(static_cast<std::size_t>(kernels.panel_width), 0.0f),
      thresholds_(static_cast<std::size_t>(most_rows), std::numeric_limits<float>::lowest()),
      scores_(static_cast<std::size_t>(most_rows * kernels.panel_width)),
      hits_(static_cast<std::size_t>(most_rows)) {}

void Products::multiply(const float* points, std::int64_t ld, std::int64_t rows, const PackedMatrix& b,
                        std::int64_t columns, float* out, std::int64_t ld_out) {
  const std::int64_t width = kernels_.panel_width;
  for (std::int64_t first = 0; first < columns; first += width) {
    const std::int64_t members = std::min(width, columns - first);
    for (std::int64_t chunk = 0; chunk < b.inner(); chunk += kChunk) {
      kernels_.scan({.points = points + chunk,
                     .ld = ld,
                     .rows = rows,
                     .d = std::min(kChunk, b.inner() - chunk),
                     .panel = b.panel(first, chunk),
                     .starts = starts_.data(),
                     .thresholds = thresholds_.data(),
                     .out = {.scores = scores_.data(), .hits = hits_.data(), .best = nullptr}});
      for (std::int64_t i = 0; i < rows; ++i) {
        const float* sum = scores_.data() + i * width;
        float* to = out + i * ld_out + first;
        if (chunk == 0)
          std::copy_n(sum, members, to);
        else
          for (std::int64_t j = 0; j < members; ++j) to[j] += sum[j];
      }
    }
  }
}

}  // namespace fastkmeans::cpu
