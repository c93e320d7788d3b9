// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace fastkmeans {
namespace {

// A sketch must promise this much before it is tried: below, what the model leaves out decides.
constexpr double kWorthwhile = 0.9;
// Distances a row that a filter may cost over those of the fp32 filter, as a share of what it saves.
constexpr double kShareForRefining = 0.8;
constexpr double kFewestGroups = 4;
// Assignments that share the cost of the rows' sketches, if more than one will follow.
constexpr double kUses = 5;
constexpr std::int64_t kMostLowDim = 64;  // the tile of columns must stay in L1 and L2
// Bounds that cost no more than this of what scoring costs are kept from the start: tokens are spared half of the third
// iteration, and data without structure lose a fifth of one before bounds rest.
constexpr double kCheapBounds = 0.2;
// What each panel of a group has of the cost of a bound: its best score (tok128, k = 20,000 to 100,000).
constexpr double kBestShare = 0.2;
// What a survey may cost of all that is expected to be spent on scores.
constexpr double kSurveyShare = 0.04;
// Part of the rows that a trial may take, whose labels are found twice: 6 % of the first assignment.
constexpr std::int64_t kRowsPerTried = 16;
// Rows of fewer elements are scored so fast that little is left to save.
constexpr std::int64_t kFewestForNarrow = 256;
// Nanoseconds of a multiply-add in fp64 by plain loops; measured with the basis of 255 directions in 768 dimensions.
constexpr double kFp64Element = 0.5;
// With no label known, the threshold is still rising: so many times the survivors of the last threshold are refined, as
// measured on token embeddings and low rank (2 to 5, docs/performance-cpu.md).
constexpr double kOnTheWay = 4;
// A limit on distances for narrow sketches: beyond what is expected, since a survey of a few rows may be off so far.
constexpr double kSurveyError = 2;
// Centroids that fill more than a core's caches come from memory that all cores share.
constexpr double kCacheBytes = 1 << 20;
// Fits that take less, in nanoseconds, are not worth the calibration of costs.
constexpr double kLongFit = 1e9;
constexpr double kImpossible = std::numeric_limits<double>::infinity();

// The share of pairs that bounds leave to be scored grows with the share of rows that changed their cluster, as
// measured on token embeddings (docs/performance.md): 0.3 where 3 % changed, 0.5 where 6 % did, 0.7 where 12 % did.
double scored_share(double changed) { return std::min(1.0, 0.2 + 4 * changed); }

double scoring(const FilterCosts& costs, std::int64_t k, std::int64_t elements) {
  return static_cast<double>(k) * (costs.pair + costs.element * static_cast<double>(elements));
}

// Binds also when forced: the sketches' integers would not fit, and rows that were multiplied have no bounds or
// sketches.
bool takes(Filter filter, const Problem& problem) {
  if (problem.products && (filter == Filter::low_dim || filter == Filter::narrow)) return false;
  switch (filter) {
    // mutant: int8_takes
    case Filter::int8: return !problem.tiny && problem.size > 0 && problem.size <= kLargestSketch;
    // mutant: narrow_takes
    case Filter::narrow: return !problem.tiny && problem.narrow.size > 0 && problem.size <= kLargestSketch;
    case Filter::low_dim: return !problem.tiny && problem.d <= kMostLowDim;  // mutant: low_dim_takes
    case Filter::fp32: break;
  }
  return true;
}

double distance_cost(const Problem& problem, const Costs& costs) {
  const bool far = 4.0 * static_cast<double>(problem.k * problem.d) > kCacheBytes;
  return costs.distance + (far ? costs.far_distance_element : costs.distance_element) * static_cast<double>(problem.d);
}

// Distances a row where so many centroids survive its last threshold.
double survivors(const Problem& problem, double last) { return last * (problem.first ? kOnTheWay : 1); }

// What a row costs with the cheapest filter but for narrow sketches, and that in all assignments that are expected.
double row_cost(const Problem& problem, const Costs& costs) {
  const RowCosts row = row_costs(problem, costs);
  return std::min({row.fp32, row.low_dim, row.int8});
}
double row_in_all(const Problem& problem, const Costs& costs) {
  return row_cost(problem, costs) * (problem.more ? kUses : 1);
}

// The cheapest filter, and its limit on distances. Returns what a row costs with it.
double choose_filter(const Problem& problem, const History& history, const Costs& costs, Plan& plan) {
  double cost = plan.expected.fp32;
  if (history.filters_rest()) return cost;  // mutant: filters_rest
  const double distance = distance_cost(problem, costs);
  // expected: distances a row that are in its cost.
  const auto choose = [&](Filter filter, double its_cost, double expected) {
    plan.filter = filter;
    plan.most_refined = expected + kShareForRefining * (cost - its_cost) / distance;  // mutant: most_refined
    cost = its_cost;
  };
  if (plan.expected.low_dim < cost) choose(Filter::low_dim, plan.expected.low_dim, 0);
  const double full = survivors(problem, problem.narrow.full_survivors);
  // mutant: int8_worthwhile
  if (plan.expected.int8 < kWorthwhile * cost) choose(Filter::int8, plan.expected.int8, full);
  if (plan.expected.narrow < cost && !history.narrow_rests()) {  // mutant: narrow_rests
    const double expected = survivors(problem, problem.narrow.survivors);
    choose(Filter::narrow, plan.expected.narrow, kSurveyError * expected);
    // Never so many that scores in fp32 would have been faster.
    const double even = expected + kShareForRefining * (plan.expected.fp32 - cost) / distance;
    plan.most_refined = std::min(plan.most_refined, even);  // mutant: narrow_limit
  }
  return cost;
}

// Whether lower bounds pay where a row costs `cost` without them, and from what share of pairs scored they do not.
void choose_bounds(const Problem& problem, const History& history, const Costs& costs, double cost, Plan& plan) {
  const double bytes = static_cast<double>(plan.filter == Filter::narrow ? problem.narrow.size
                                           : plan.filter == Filter::int8 ? problem.size
                                                                         : 4 * problem.d);
  const double panels = static_cast<double>(problem.k) / static_cast<double>(problem.panel_width);
  const double groups = std::min(panels, static_cast<double>(problem.most_groups));
  const double keeping = costs.bound * (kBestShare * panels + (1 - kBestShare) * groups);  // mutant: shared_bounds
  const double gathering = groups * costs.gather_byte * bytes;
  const double scored = scored_share(problem.first ? 1 : history.changed());  // mutant: new_run_changes
  const double with = scored * (cost + keeping + gathering);
  plan.bounds =
      // mutant: planned_bounds
      groups >= kFewestGroups && !history.bounds_rest() && (keeping < kCheapBounds * cost || with < kWorthwhile * cost);
  plan.most_scored = cost / (cost + keeping + gathering);
}

void append(std::string& line, const char* before, double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.4g", value);
  line.append(before).append(digits);
}

}  // namespace

RowCosts row_costs(const Problem& problem, const Costs& costs) {
  RowCosts row = {scoring(costs.fp32, problem.k, problem.d) + costs.row, kImpossible, kImpossible, kImpossible};
  if (takes(Filter::low_dim, problem)) row.low_dim = scoring(costs.low_dim, problem.k, problem.d) + costs.low_dim_row;
  if (takes(Filter::int8, problem)) {
    // Sketches of all dimensions serve the first assignment alone where narrow ones do better afterwards.
    const bool narrow_may_follow = problem.first && problem.narrow.size > 0;
    row.int8 = scoring(costs.int8, problem.k, problem.size);
    if (!problem.sketched)
      row.int8 += costs.sketch_element * static_cast<double>(problem.size) /
                  (problem.more && !narrow_may_follow ? kUses : 1);  // mutant: narrow_may_follow
    row.int8 += costs.row + survivors(problem, problem.narrow.full_survivors) * distance_cost(problem, costs);
  }
  if (takes(Filter::narrow, problem)) {
    const Narrow& narrow = problem.narrow;
    const auto size = static_cast<double>(narrow.size);
    row.narrow = scoring(costs.int8, problem.k, narrow.size) + costs.row;
    if (!narrow.sketched)
      row.narrow += size * (costs.sketch_element + costs.fp32.element * static_cast<double>(problem.d)) /
                    (problem.more ? kUses : 1);
    row.narrow += survivors(problem, narrow.survivors) * distance_cost(problem, costs);
  }
  return row;
}

bool worth_calibrating(const Problem& problem, const Costs& costs, int threads) {
  return !problem.forced && static_cast<double>(problem.rows) * row_in_all(problem, costs) > kLongFit * threads;
}

bool worth_a_survey(const Problem& problem, const Costs& costs, double slower) {
  if (problem.tiny || problem.products || costs.int8.element == 0 || problem.size > kLargestSketch) return false;
  if (problem.forced) return problem.forced->filter == Filter::narrow;
  if (problem.size < kFewestForNarrow) return false;
  const auto d = static_cast<double>(problem.d), k = static_cast<double>(problem.k);
  constexpr auto kHead = static_cast<double>(kMostNarrow);
  const double learning =
      3 * static_cast<double>(kLearnedFrom) * d * kHead * costs.fp32.element + 3 * d * kHead * kHead * kFp64Element;
  const double trying = k * d * (2 * static_cast<double>(kTriedOn) + kHead) * costs.fp32.element;
  const double spent = static_cast<double>(problem.rows) * row_in_all(problem, costs);
  return learning + trying < kSurveyShare * slower * spent;  // mutant: slower_spends
}

bool worth_a_trial(const Problem& problem, const Costs& costs, std::int64_t rows) {
  return problem.first && problem.more && rows <= problem.rows / kRowsPerTried &&         // mutant: short_trials
         !worth_a_survey(problem, costs) && worth_a_survey(problem, costs, kMostSlower);  // mutant: trials_that_decide
}

double slower(const Problem& problem, const Costs& costs, const Trial& trial) {
  Problem once = problem;
  once.more = false;  // mutant: trial_pays_sketches
  const double expected = static_cast<double>(trial.rows) * row_cost(once, costs) +
                          static_cast<double>(trial.refined) * distance_cost(once, costs);  // mutant: trial_refines
  return std::clamp(trial.nanoseconds / expected, 1.0, kMostSlower);
}

Plan make_plan(const Problem& problem, const History& history, const Costs& costs) {
  Plan plan;
  plan.expected = row_costs(problem, costs);
  if (problem.tiny) return plan;  // mutant: tiny_plan
  if (problem.forced) {
    if (!takes(problem.forced->filter, problem)) return plan;
    plan.filter = problem.forced->filter;
    plan.bounds = problem.forced->bounds;
    return plan;
  }
  const double cost = choose_filter(problem, history, costs, plan);
  if (plan.filter != Filter::low_dim) choose_bounds(problem, history, costs, cost, plan);  // it has none
  return plan;
}

std::string to_string(const Plan& plan) {
  std::string line(name_of(plan.filter));
  if (plan.bounds) line += " with bounds";
  if (plan.most_refined > 0) append(line, ", distances a row at most ", plan.most_refined);
  if (plan.most_scored < 1) append(line, ", share of pairs scored at most ", plan.most_scored);
  append(line, "; ns a row: fp32 ", plan.expected.fp32);
  if (std::isfinite(plan.expected.low_dim)) append(line, ", low_dim ", plan.expected.low_dim);
  if (std::isfinite(plan.expected.int8)) append(line, ", int8 ", plan.expected.int8);
  if (std::isfinite(plan.expected.narrow)) append(line, ", narrow ", plan.expected.narrow);
  return line;
}

}  // namespace fastkmeans
