// SPDX-License-Identifier: Apache-2.0
#include "cuda/narrow_costs.hpp"

#include <algorithm>

namespace fastkmeans::cuda {
namespace {

// Rows of fewer elements are scanned so fast that there is little to save.
constexpr std::int64_t kFewestForNarrow = 384;
// Nanoseconds, by which widths are chosen: a score of few elements, and one more of them; an element of longer ones, by
// the scan on Hopper (H200) and by the other (H100); a centroid that a scan finds (H200), and an element of D to it
// (H200); an element of a row's projection (H200). docs/performance-gpu.md has the profiles.
constexpr double kShortScore = 1.44e-4, kShortElement = 4.4e-7, kWgmmaElement = 1.25e-6, kMmaElement = 3.4e-6,
                 kFound = 0.45, kDistanceElement = 1.2e-3, kProjectedElement = 7.5e-5;
// Centroids that sketches of all dimensions leave a row where rows have structure at all: 1.7 in the first iteration,
// 1.3 in the third (tokens of 384 and 768 dimensions; 96 directions and noise).
constexpr double kLeftByAll = 1.5;
// A fit has so many assignments, where more than one will follow.
constexpr double kUses = 10;
// To learn directions and to try them takes 17 ms (H200, d = 768 and 1024; 8 of them on the host, with 16 threads): 5 %
// of this.
constexpr double kWorthASurvey = 3.4e8;
// Narrow sketches must promise this much before they are used: below, what the model leaves out decides.
constexpr double kWorthwhile = 0.9;

double full_scan(const Problem& problem, const DeviceLimits& limits) {
  return scan_cost(sketch_size(problem.d), problem, limits);
}
// Of each centroid that a scan leaves.
double left_cost(const Problem& problem) { return kFound + kDistanceElement * static_cast<double>(problem.d); }
double full_cost(const Problem& problem, const DeviceLimits& limits) {
  return full_scan(problem, limits) + kLeftByAll * left_cost(problem);
}
// mutant: one_use
double uses(const Problem& problem) { return problem.iterates ? kUses : 1; }

// And of all that narrow sketches ask for.
double narrow_cost(const NarrowWidth& width, const Problem& problem, const DeviceLimits& limits) {
  const double scan = scan_cost(width.size, problem, limits), full = full_scan(problem, limits);
  const double projection = kProjectedElement * static_cast<double>(problem.d * width.size) / uses(problem);
  // Rows whose lists run over are scanned twice more, and then with both digits of all dimensions: three times.
  // mutant: running_over_costs
  return projection + scan + width.survivors * left_cost(problem) + width.run_over * (2 * scan + 3 * full);
}

}  // namespace

double scan_cost(std::int64_t size, const Problem& problem, const DeviceLimits& limits) {
  const auto elements = static_cast<double>(size);
  const double element = wgmma_takes(size, limits) ? kWgmmaElement : kMmaElement;
  return static_cast<double>(problem.k) * std::max(kShortScore + kShortElement * elements, element * elements);
}

bool worth_a_survey(const Problem& problem, const DeviceLimits& limits, const std::string& forced) {
  // mutant: products_without_narrow
  if (sketch_size(problem.d) > kLongestSketch || problem.products) return false;
  if (!forced.empty()) return forced == kNarrow;
  return problem.d >= kFewestForNarrow &&
         // mutant: survey_counts_uses
         static_cast<double>(problem.n) * full_scan(problem, limits) * uses(problem) >= kWorthASurvey;
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
  return std::max(0.0, saved) / left_cost(problem);
}

}  // namespace fastkmeans::cuda
