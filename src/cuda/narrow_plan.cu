// SPDX-License-Identifier: Apache-2.0
#include "cuda/narrow_plan.hpp"
#include "cuda/statistics.hpp"

namespace fastkmeans::cuda {

void NarrowPlan::look(Device& device, Rows& store, const Problem& problem, const DeviceLimits& limits,
                      const Centroids& centroids, bool means) {
  narrow_.reset();
  looks_again_ = false;
  if (rests_ || !worth_a_survey(problem, limits, forced_)) return;
  try {
    if (!search_) search_.emplace(device, store, problem.n, problem.d);
    const std::vector<NarrowWidth> widths = search_->survey(centroids);
    if (const NarrowWidth* const width = choose_width(problem, limits, forced_, widths))
      narrow_ = {&search_->basis(), *width};
    looks_again_ = !narrow_ && !means;
  } catch (const OutOfMemory&) {
    rest();
  }
}

bool NarrowPlan::gives_up(const Problem& problem, const DeviceLimits& limits, double refined) {
  if (!narrow_ || !forced_.empty() || refined <= most_refined(problem, limits)) return false;
  rest();
  return true;
}

void NarrowPlan::rest() {
  narrow_.reset();
  looks_again_ = false;
  rests_ = true;
}

}  // namespace fastkmeans::cuda
