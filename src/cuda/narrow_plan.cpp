// SPDX-License-Identifier: Apache-2.0
#include "cuda/narrow_plan.hpp"

#include "cuda/error.hpp"

namespace fastkmeans::cuda {

void NarrowPlan::look(const Problem& problem, const DeviceLimits& limits, bool means,
                      const std::function<std::vector<NarrowWidth>()>& survey) {
  width_.reset();  // mutant: narrow_looks_anew
  looks_again_ = false;
  if (rests_ || !worth_a_survey(problem, limits, forced_)) return;  // mutant: narrow_rests_on_cuda
  looks_again_ = problem.tiny;
  if (problem.tiny) return;  // mutant: narrow_of_tiny
  try {
    const std::vector<NarrowWidth> widths = survey();
    if (const NarrowWidth* const width = choose_width(problem, limits, forced_, widths)) width_ = *width;
    looks_again_ = !width_ && !means;  // mutant: narrow_looks_again
  } catch (const OutOfMemory&) {
    rest();  // mutant: narrow_out_of_memory
  }
}

bool NarrowPlan::gives_up(const Problem& problem, const DeviceLimits& limits, double refined) {
  // mutant: narrow_gives_up
  if (!width_ || !forced_.empty() || refined <= most_refined(problem, limits)) return false;
  rest();
  return true;
}

void NarrowPlan::rest() {
  width_.reset();
  looks_again_ = false;  // mutant: narrow_rest_forgets
  rests_ = true;
}

}  // namespace fastkmeans::cuda
