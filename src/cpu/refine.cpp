// SPDX-License-Identifier: Apache-2.0
#include "cpu/refine.hpp"

#include <bit>

namespace fastkmeans::cpu {

std::int64_t Refine::panel(std::int64_t slot, std::uint32_t passed, std::int64_t first, const float* scores,
                           const FilterBound::Point& known) const {
  if (argmin.has_label(slot))  // its D is known
    if (const std::int64_t own = centroids.place_of[static_cast<std::size_t>(argmin.label(slot))] - first;
        own >= 0 && own < kernels.panel_width)
      passed &= ~(std::uint32_t{1} << own);
  std::int64_t computed = 0;
  while (passed) {
    int best = std::countr_zero(passed);
    for (std::uint32_t rest = passed & (passed - 1); rest; rest &= rest - 1)
      if (const int v = std::countr_zero(rest); scores[v] > scores[best]) best = v;
    if (scores[best] < argmin.threshold(slot)) break;  // mutant: drop_below
    passed &= ~(std::uint32_t{1} << best);             // mutant: refine_all
    const std::int32_t c = centroids.order[static_cast<std::size_t>(first + best)];
    argmin.offer(slot, c, loss(slot, c), known);
    ++computed;
  }
  return computed;
}

}  // namespace fastkmeans::cpu
