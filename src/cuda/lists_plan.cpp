// SPDX-License-Identifier: Apache-2.0
#include "cuda/lists_plan.hpp"

#include "cuda/narrow_costs.hpp"

namespace fastkmeans::cuda {
namespace {

// From iterations with and without lists (H200, d = 128, k = 16,384 to 32,768: blobs, tokens, iid normal;
// docs/performance-gpu.md): a distance takes 2.9e-3 ns an element with what the list costs, scores of rows that are
// gathered 1.2 times their time, the rest of an iteration as much as four distances.
constexpr double kListElement = 2.9e-3, kGathered = 1.2, kRest = 4;
// Lists that lose a little often win a few iterations later, and to make them anew takes as long as several iterations.
constexpr double kMostLoss = 1.3;

}  // namespace

ListsPlan::ListsPlan(const Problem& problem, const DeviceLimits& limits, bool forced)
    : scan_(scan_cost(sketch_size(problem.d), problem, limits)),
      distance_(kListElement * static_cast<double>(problem.d)),
      forced_(forced) {}

bool ListsPlan::begin() { return rests_ == 0 || --rests_ == 0; }  // mutant: lists_rest

void ListsPlan::carried(double scored, double refined) {
  const bool pays = kGathered * scored * scan_ + refined * distance_ <= kMostLoss * (scan_ + kRest * distance_);
  if (forced_ || (scored <= kMostScored && pays)) return;  // mutant: lists_in_vain
  rests_ = next_rest_ + 1;
  next_rest_ *= 2;  // mutant: lists_rest_longer
}

}  // namespace fastkmeans::cuda
