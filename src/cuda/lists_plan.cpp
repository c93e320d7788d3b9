// SPDX-License-Identifier: Apache-2.0
#include "cuda/lists_plan.hpp"

#include "cuda/narrow_costs.hpp"

namespace fastkmeans::cuda {
namespace {

// Seconds of iterations with and without lists (H200, d = 128 and 1024, k = 16,384 to 32,768: blobs, tokens, iid normal;
// docs/performance-gpu.md): a distance takes 2.5e-3 ns an element with what the list costs, scores of rows that are
// gathered 1.2 times their time, the rest of an iteration as much as four distances.
constexpr double kListElement = 2.5e-3, kGathered = 1.2, kRest = 4;
// While nearly all rows must be scanned whole, lists are made in vain: tokens expect 0.98, iid normal 1, blobs 0.6.
constexpr double kMostWork = 0.8;
// Lists that lose a little often win a few iterations later, and to make them anew takes longer: blobs at most 1.3.
constexpr double kMostLoss = 1.6;

}  // namespace

ListsPlan::ListsPlan(const Problem& problem, const DeviceLimits& limits, bool forced)
    : scan_(scan_cost(sketch_size(problem.d), problem, limits)),
      distance_(kListElement * static_cast<double>(problem.d)),
      forced_(forced) {}

bool ListsPlan::begin() { return rests_ == 0 || --rests_ == 0; }  // mutant: lists_rest

bool ListsPlan::pays(double work, double refined, bool carried) const {
  if (work > kMostWork) return false;  // mutant: lists_in_vain
  // An assignment that makes lists has no threshold yet, and refines many times what the next one does.
  if (!carried) return true;  // mutant: lists_first
  return kGathered * work * scan_ + refined * distance_ <= kMostLoss * (scan_ + kRest * distance_);
}

void ListsPlan::moved(double work, double refined, bool carried) {
  if (forced_ || pays(work, refined, carried)) return;
  rests_ = next_rest_ + 1;
  next_rest_ *= 2;  // mutant: lists_rest_longer
}

}  // namespace fastkmeans::cuda
