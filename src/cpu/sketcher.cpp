// SPDX-License-Identifier: Apache-2.0
#include "cpu/sketcher.hpp"

#include <cmath>

namespace fastkmeans::cpu {

Sketcher::Sketcher(std::int64_t d, const SketchKernels& kernels)
    : rotation_(d, kernels.granule), kernels_(kernels), rounding_(rotation_.rounding() + 3 * kUnitRoundoff) {
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
  return {.sq_norm = scale * scale * row.sq_sum,
          .error = error + (rounding_ + kCentring) * length + Rotation::kUnderflow};  // mutant: sketch_error
}

}  // namespace fastkmeans::cpu
