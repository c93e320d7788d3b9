// SPDX-License-Identifier: Apache-2.0
#include "cpu/prepare.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "numeric/distance.hpp"
#include "numeric/row_hash.hpp"
#include "source/element.hpp"

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

Sketcher::Sketcher(std::int64_t d, const SketchKernels& kernels)
    : rotation_(d, kernels.granule), kernels_(&kernels), rounding_(rotation_.rounding() + 3 * kUnitRoundoff) {
  view_.size = rotation_.size;
  view_.rounds = static_cast<int>(rotation_.rounds.size());
  view_.block_count = static_cast<int>(rotation_.rounds[0].blocks.size());
  for (std::size_t r = 0; r < rotation_.rounds.size(); ++r) {
    view_.factors[r] = rotation_.rounds[r].factors.data();
    view_.blocks[r] = rotation_.rounds[r].blocks.data();
  }
}

SketchSize Sketcher::bound(const RowSketch& row) const {
  // fp32 sums of `size` squares: each passes at most size + 8 roundings, and denormals take less than 2^-130.
  const double sums = 1 + (static_cast<double>(size()) + 8) * kUnitRoundoff;
  const double length = std::sqrt(row.sq_length * sums + 0x1p-130);
  const double error = std::sqrt(row.sq_error * sums + 0x1p-130);
  const double scale = row.scale;
  return {scale * scale * row.sq_sum, error + (rounding_ + kCentring) * length + Rotation::kUnderflow};
}

void PreparedCentroids::prepare(CentroidsView centroids, const std::vector<float>& centre, float scale_factor,
                                const FilterBound& bound, Layout layout, const Sketcher* with,
                                const std::vector<std::int32_t>& wanted_order, const Kernels& kernels,
                                Workers& workers) {
  const std::int64_t width = kernels.panel_width;
  k = centroids.k;
  d = centroids.d;
  ld = padded(d);
  panels = (k + width - 1) / width;
  factor = scale_factor;
  sketcher = layout == Layout::sketches ? with : nullptr;
  const std::int64_t size = sketcher ? sketcher->size() : 0;
  mu.assign(static_cast<std::size_t>(ld), 0.0f);
  std::copy(centre.begin(), centre.end(), mu.begin());
  rows.resize(k * ld);
  if (sketcher)
    sketches.resize(panels * width * size);
  else
    packed.resize(panels * width * d);
  starts.assign(static_cast<std::size_t>(panels * width), -std::numeric_limits<float>::infinity());
  scales.assign(sketcher ? starts.size() : 0, 0.0f);
  has_copy.assign(static_cast<std::size_t>(panels), 0);
  order.resize(starts.size());
  std::iota(order.begin(), order.end(), 0);
  std::copy(wanted_order.begin(), wanted_order.end(), order.begin());
  std::fill(order.begin() + k, order.end(), static_cast<std::int32_t>(k));
  slot_of.resize(static_cast<std::size_t>(k));
  for (std::int32_t slot = 0; slot < k; ++slot)
    slot_of[static_cast<std::size_t>(order[static_cast<std::size_t>(slot)])] = slot;
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(k));

  workers.for_each(panels, 4.0 * static_cast<double>(k) * static_cast<double>(d), [&](std::int64_t panel, int) {
    std::vector<float> work(static_cast<std::size_t>(std::max(ld, size)));
    std::vector<std::int8_t> q(static_cast<std::size_t>(size));
    for (std::int64_t v = 0; v < width; ++v) {
      const auto slot = static_cast<std::size_t>(panel * width + v);
      const std::int64_t c = order[slot];
      float* row = c < k ? rows.data() + c * ld : nullptr;
      if (row) {
        for (std::int64_t j = 0; j < d; ++j) row[j] = centroids.row(c)[j] * factor;
        std::fill(row + d, row + ld, 0.0f);
        hashes[static_cast<std::size_t>(c)] = row_hash(row, d);
      }
      if (sketcher) {
        std::uint8_t* out = sketches.data() + panel * width * size + v * 4;
        if (row) {
          const RowSketch sketch = sketcher->sketch(row, mu.data(), ld, work.data(), q.data());
          starts[slot] = bound.start(sketcher->bound(sketch));
          scales[slot] = sketch.scale;
        } else {
          std::fill(q.begin(), q.end(), std::int8_t{0});
        }
        for (std::int64_t j = 0; j < size; j += 4, out += width * 4)
          for (std::int64_t e = 0; e < 4; ++e)
            out[e] = static_cast<std::uint8_t>(q[static_cast<std::size_t>(j + e)] + kernels.sketch->panel_offset);
      } else {
        const std::int64_t step = layout == Layout::rows ? 1 : width;
        float* out = packed.data() + panel * width * d + (layout == Layout::rows ? v * d : v);
        if (row) {
          const double sq_norm = kernels.centre(row, mu.data(), ld, work.data());
          starts[slot] = bound.start({sq_norm, kCentring * std::sqrt(sq_norm)});
        } else {
          std::fill(work.begin(), work.end(), 0.0f);
        }
        for (std::int64_t j = 0; j < d; ++j) out[j * step] = work[static_cast<std::size_t>(j)];
      }
    }
  });

  // Ties go to the lowest index, so a copy of a lower centroid never wins; left in, each would have to be refined.
  std::unordered_map<std::uint64_t, std::int64_t> first;
  first.reserve(static_cast<std::size_t>(k));
  for (std::int64_t c = 0; c < k; ++c) {
    workers.checkpoint(0);
    const auto [seen, added] = first.emplace(hashes[static_cast<std::size_t>(c)], c);
    if (added || std::memcmp(row(seen->second), row(c), static_cast<std::size_t>(ld) * sizeof(float)) != 0) continue;
    const std::int32_t slot = slot_of[static_cast<std::size_t>(c)];
    starts[static_cast<std::size_t>(slot)] = -std::numeric_limits<float>::infinity();
    has_copy[static_cast<std::size_t>(slot / width)] = 1;
  }
}

}  // namespace fastkmeans::cpu
