// SPDX-License-Identifier: Apache-2.0
#include "cpu/sketcher.hpp"

namespace fastkmeans::cpu {

Sketcher::Sketcher(std::int64_t d, const SketchKernels& kernels)
    : rotation_(d, kernels.granule), kernels_(kernels), rounding_(rotation_.rounding() + kSketchRounding) {
  view_.size = rotation_.size;
  view_.rounds = static_cast<int>(rotation_.rounds.size());
  view_.block_count = static_cast<int>(rotation_.rounds[0].blocks.size());
  for (std::size_t r = 0; r < rotation_.rounds.size(); ++r) {
    view_.factors[r] = rotation_.rounds[r].factors.data();
    view_.blocks[r] = rotation_.rounds[r].blocks.data();
  }
}

}  // namespace fastkmeans::cpu
