// SPDX-License-Identifier: Apache-2.0
#include "cpu/prepare.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "distance.hpp"
#include "element.hpp"
#include "row_hash.hpp"

namespace fastkmeans::cpu {
std::vector<float> central_row(const MatrixView& x, const Kernels& kernels, Workers& workers) {
  const std::int64_t count = std::clamp<std::int64_t>(x.rows / 8, 1, kCentreRows);
  std::vector<float> centre(static_cast<std::size_t>(x.cols));
  constexpr std::int64_t kColumns = 64;
  const double operations = 10.0 * static_cast<double>(count * x.cols);
  workers.for_blocks(x.cols, kColumns, operations, [&](std::int64_t first, std::int64_t columns, int) {
    const MatrixView part(element_address(x, 0, first), x.rows, columns, x.dtype, x.row_stride, x.col_stride);
    const std::int64_t ld = padded(columns);
    std::vector<float> rows(static_cast<std::size_t>(count * ld)), column(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) kernels.load_rows(part, x.rows * i / count, 1, rows.data() + i * ld, ld);
    for (std::int64_t j = 0; j < columns; ++j) {
      std::ptrdiff_t valid = 0;  // bad rows are not refused yet
      for (std::int64_t i = 0; i < count; ++i) {
        const float value = rows[static_cast<std::size_t>(i * ld + j)];
        if (magnitude_bits(value) < magnitude_limit_bits(x.cols)) column[static_cast<std::size_t>(valid++)] = value;
      }
      if (valid == 0) continue;
      std::nth_element(column.begin(), column.begin() + valid / 2, column.begin() + valid);
      centre[static_cast<std::size_t>(first + j)] = column[static_cast<std::size_t>(valid / 2)];
    }
  });
  return centre;
}

void PreparedCentroids::prepare(CentroidsView centroids, const std::vector<float>& centre, float scale_factor,
                                const FilterBound& bound, const Kernels& kernels, Workers& workers) {
  const std::int64_t width = kernels.panel_width;
  k = centroids.k;
  d = centroids.d;
  ld = padded(d);
  panels = (k + width - 1) / width;
  factor = scale_factor;
  mu.assign(static_cast<std::size_t>(ld), 0.0f);
  std::copy(centre.begin(), centre.end(), mu.begin());
  rows.resize(k * ld);
  packed.resize(panels * width * d);
  starts.assign(static_cast<std::size_t>(panels * width), -std::numeric_limits<float>::infinity());
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(k));

  workers.for_each(panels, 4.0 * static_cast<double>(k) * static_cast<double>(d), [&](std::int64_t panel, int) {
    std::vector<float> centred(static_cast<std::size_t>(ld));
    float* out = packed.data() + panel * width * d;
    for (std::int64_t v = 0; v < width; ++v) {
      const std::int64_t c = panel * width + v;
      if (c >= k) {
        for (std::int64_t j = 0; j < d; ++j) out[j * width + v] = 0;
        continue;
      }
      float* row = rows.data() + c * ld;
      for (std::int64_t j = 0; j < d; ++j) row[j] = centroids.row(c)[j] * factor;
      std::fill(row + d, row + ld, 0.0f);
      hashes[static_cast<std::size_t>(c)] = row_hash(row, d);
      starts[static_cast<std::size_t>(c)] = bound.start(kernels.centre(row, mu.data(), ld, centred.data()));
      for (std::int64_t j = 0; j < d; ++j) out[j * width + v] = centred[static_cast<std::size_t>(j)];
    }
  });

  // Ties go to the lowest index, so a copy of a lower centroid never wins; left in, each would have to be refined.
  std::unordered_map<std::uint64_t, std::int64_t> first;
  first.reserve(static_cast<std::size_t>(k));
  for (std::int64_t c = 0; c < k; ++c) {
    workers.checkpoint(0);
    const auto [seen, added] = first.emplace(hashes[static_cast<std::size_t>(c)], c);
    if (!added && std::memcmp(row(seen->second), row(c), static_cast<std::size_t>(ld) * sizeof(float)) == 0)
      starts[static_cast<std::size_t>(c)] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace fastkmeans::cpu
