// SPDX-License-Identifier: Apache-2.0
#include "cuda/narrow_costs.hpp"

#include <algorithm>

namespace fastkmeans::cuda {
namespace {

// Rows of fewer elements are scanned so fast that there is little to save.
constexpr std::int64_t kFewestForNarrow = 512;
// Nanoseconds of an H200, by which widths are chosen: a score, whatever its length, and an element of it, by the scan
// on Hopper and by the other (rates of docs/performance-gpu.md); an element of D, and of a row's projection (from bytes
// and operations: not measured).
constexpr double kScore = 2e-4, kWgmmaElement = 1.5e-6, kMmaElement = 3.4e-6, kDistanceElement = 1.3e-3,
                 kProjectedElement = 7e-5;
// A fit has so many assignments, where more than one will follow.
constexpr double kUses = 10;
// To learn directions and to try them is estimated at 10 ms, most of it on the host: 5 % of this.
constexpr double kWorthASurvey = 2e8;
// Narrow sketches must promise this much before they are used: below, what the model leaves out decides.
constexpr double kWorthwhile = 0.9;

double full_cost(const Problem& problem, const DeviceLimits& limits) {
  return scan_cost(sketch_size(problem.d), problem, limits);
}
double distance_cost(const Problem& problem) { return kDistanceElement * static_cast<double>(problem.d); }
// mutant: one_use
double uses(const Problem& problem) { return problem.iterates ? kUses : 1; }

// And of all that narrow sketches ask for.
double narrow_cost(const NarrowWidth& width, const Problem& problem, const DeviceLimits& limits) {
  const double scan = scan_cost(width.size, problem, limits), full = full_cost(problem, limits);
  const double projection = kProjectedElement * static_cast<double>(problem.d * width.size) / uses(problem);
  // Rows whose lists run over are scanned twice more, and then with both digits of all dimensions: three times.
  // mutant: running_over_costs
  return projection + scan + width.survivors * distance_cost(problem) + width.run_over * (2 * scan + 3 * full);
}

}  // namespace

double scan_cost(std::int64_t size, const Problem& problem, const DeviceLimits& limits) {
  const double element = wgmma_takes(size, limits) ? kWgmmaElement : kMmaElement;
  return static_cast<double>(problem.k) * std::max(kScore, element * static_cast<double>(size));
}

bool worth_a_survey(const Problem& problem, const DeviceLimits& limits, const std::string& forced) {
  // mutant: products_without_narrow
  if (sketch_size(problem.d) > kLongestSketch || problem.products) return false;
  if (!forced.empty()) return forced == kNarrow;
  return problem.d >= kFewestForNarrow &&
         // mutant: survey_counts_uses
         static_cast<double>(problem.n) * full_cost(problem, limits) * uses(problem) >= kWorthASurvey;
}

const NarrowWidth* choose_width(const Problem& problem, const DeviceLimits& limits, const std::string& forced,
                                const std::vector<NarrowWidth>& widths) {
  const auto least = std::min_element(widths.begin(), widths.end(), [&](const NarrowWidth& a, const NarrowWidth& b) {
    return narrow_cost(a, problem, limits) < narrow_cost(b, problem, limits);
  });
  if (least == widths.end()) return nullptr;
  // mutant: worthwhile
  const bool pays = narrow_cost(*least, problem, limits) < kWorthwhile * full_cost(problem, limits);
  return pays || forced == kNarrow ? &*least : nullptr;
}

double most_refined(const Problem& problem, const DeviceLimits& limits) {
  // mutant: saved_by_narrow
  const double saved = full_cost(problem, limits) - scan_cost(problem.narrow, problem, limits);
  return std::max(0.0, saved) / distance_cost(problem);
}

}  // namespace fastkmeans::cuda
