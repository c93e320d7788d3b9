// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>
#include <limits>

namespace fastkmeans {
namespace {

// A sketch must promise this much before it is tried: below, what the model leaves out decides.
constexpr double kWorthwhile = 0.9;
// Distances a row that a filter may cost over those of the fp32 filter, as a share of what it saves.
constexpr double kShareForRefining = 0.8;
// The proof of the sketch's bound counts on it: scores of int8 are below 2^30 and 2^14 squares below 2^55
// (algorithm.md).
constexpr std::int64_t kLargestSketch = 16384;
constexpr double kFewestGroups = 4;
// Assignments that share the cost of the rows' sketches, if more than one will follow.
constexpr double kUses = 5;
constexpr std::int64_t kMostLowDim = 64;  // the tile of columns must stay in L1 and L2
// Bounds that cost no more than this of what scoring costs are kept from the start.
constexpr double kCheapBounds = 0.1;
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
  switch (filter) {
    case Filter::int8: return !problem.tiny && problem.size > 0 && problem.size <= kLargestSketch;
    case Filter::low_dim: return !problem.tiny && problem.d <= kMostLowDim;
    case Filter::fp32: break;
  }
  return true;
}

RowCosts row_costs(const Problem& problem, const Costs& costs) {
  RowCosts row = {scoring(costs.fp32, problem.k, problem.d) + costs.row, kImpossible, kImpossible};
  if (takes(Filter::low_dim, problem)) row.low_dim = scoring(costs.low_dim, problem.k, problem.d) + costs.low_dim_row;
  if (takes(Filter::int8, problem)) {
    row.int8 = scoring(costs.int8, problem.k, problem.size);
    if (!problem.sketched)
      row.int8 += costs.sketch_element * static_cast<double>(problem.size) / (problem.more ? kUses : 1);
    row.int8 += costs.row;
  }
  return row;
}

// The cheapest filter, and its limit on distances. Returns what a row costs with it.
double choose_filter(const Problem& problem, const History& history, const Costs& costs, Plan& plan) {
  double cost = plan.expected.fp32;
  if (history.filters_rest()) return cost;
  const double distance = costs.distance + costs.distance_element * static_cast<double>(problem.d);
  const auto choose = [&](Filter filter, double its_cost) {
    plan.filter = filter;
    plan.most_refined = kShareForRefining * (cost - its_cost) / distance;
    cost = its_cost;
  };
  if (plan.expected.low_dim < cost) choose(Filter::low_dim, plan.expected.low_dim);
  if (plan.expected.int8 < kWorthwhile * cost) choose(Filter::int8, plan.expected.int8);
  return cost;
}

// Whether lower bounds pay where a row costs `cost` without them, and from what share of pairs scored they do not.
void choose_bounds(const Problem& problem, const History& history, const Costs& costs, double cost, Plan& plan) {
  const double bytes = static_cast<double>(plan.filter == Filter::int8 ? problem.size : 4 * problem.d);
  const double groups = static_cast<double>(problem.k) / static_cast<double>(problem.panel_width);
  const double keeping = groups * costs.bound, gathering = groups * costs.gather_byte * bytes;
  const double scored = scored_share(problem.first ? 1 : history.changed());
  const double with = scored * (cost + keeping + gathering);
  plan.bounds =
      // mutant: fewest_groups
      // mutant: bounds_worthwhile
      groups >= kFewestGroups && !history.bounds_rest() && (keeping < kCheapBounds * cost || with < kWorthwhile * cost);
  plan.most_scored = cost / (cost + keeping + gathering);
}

}  // namespace

Plan make_plan(const Problem& problem, const History& history, const Costs& costs) {
  Plan plan;
  plan.expected = row_costs(problem, costs);
  if (problem.tiny) return plan;
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

}  // namespace fastkmeans
