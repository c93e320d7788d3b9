// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>
#include <stdexcept>

#include "runtime/os.hpp"

namespace fastkmeans {
namespace {

// A sketch must promise this much before it is tried: below, what the model leaves out decides.
constexpr double kWorthwhile = 0.9;
// Distances a row that a sketch may cost over those of the fp32 filter, as a share of what it saves.
constexpr double kShareForRefining = 0.8;
// The proof of the sketch's bound counts on it: scores of int8 are below 2^30 and 2^14 squares below 2^55
// (algorithm.md).
constexpr std::int64_t kLargestSketch = 16384;
constexpr double kFewestGroups = 4;
// Assignments that share the cost of the rows' sketches, if more than one will follow.
constexpr double kUses = 5;
constexpr std::int64_t kMostNarrow = 64;  // the tile of columns must stay in L1 and L2
// Bounds that cost no more than this of what scoring costs are kept from the start.
constexpr double kCheapBounds = 0.1;
// The share of pairs that bounds leave to be scored grows with the share of rows that changed their cluster, as
// measured on token embeddings (docs/performance.md): 0.3 where 3 % changed, 0.5 where 6 % did, 0.7 where 12 % did.
double scored_share(double changed) { return std::min(1.0, 0.2 + 4 * changed); }

double scoring(const FilterCosts& costs, std::int64_t k, std::int64_t elements) {
  return static_cast<double>(k) * (costs.pair + costs.element * static_cast<double>(elements));
}

}  // namespace

std::string_view name_of(Filter filter, bool gave_up) {
  switch (filter) {
    case Filter::int8: return gave_up ? "int8+fp32" : "int8";
    case Filter::narrow: return gave_up ? "narrow+fp32" : "narrow";
    case Filter::fp32: break;
  }
  return "fp32";
}

Planner::Planner(const Costs& costs, const std::string& wanted) : costs_(costs) {
  const std::string name = wanted.empty() ? os::environment("FASTKMEANS_FILTER") : wanted;
  if (name.empty()) return;
  forced_ = true;
  wanted_.bounds = name.ends_with("_bounds");
  const std::string filter = wanted_.bounds ? name.substr(0, name.size() - 7) : name;
  if (filter == "int8")
    wanted_.filter = Filter::int8;
  else if (filter == "narrow" && !wanted_.bounds)
    wanted_.filter = Filter::narrow;
  else if (filter != "fp32")
    throw std::runtime_error("the filter (FASTKMEANS_FILTER) is '" + name +
                             "'; it must be one of fp32, narrow, int8, fp32_bounds, int8_bounds");
  if (wanted_.filter == Filter::int8 && costs_.int8.element == 0)
    throw std::runtime_error("the filter '" + name + "' (FASTKMEANS_FILTER) is not available on this machine");
}

Plan Planner::plan(const Work& work) {
  ++calls_;
  if (work.first) changed_ = 1;
  // Also when forced: the sketches' integers would not fit, and rows that were multiplied have no bounds or sketches.
  if (work.tiny || (wanted_.filter == Filter::int8 && work.size > kLargestSketch) ||
      (wanted_.filter == Filter::narrow && work.d > kMostNarrow))
    return {};
  if (forced_) return wanted_;
  Plan plan;
  const double fp32 = scoring(costs_.fp32, work.k, work.d);
  double int8 = scoring(costs_.int8, work.k, work.size);
  if (!work.sketched) int8 += costs_.sketch_element * static_cast<double>(work.size) / (work.again ? kUses : 1);
  const double distance = costs_.distance + costs_.distance_element * static_cast<double>(work.d);
  double cost = fp32 + costs_.row;
  int8 += costs_.row;
  const double narrow = scoring(costs_.narrow, work.k, work.d) + costs_.narrow_row;
  const bool rested = calls_ > from_sketches_.until;
  if (work.d <= kMostNarrow && narrow < cost && rested) {
    plan.filter = Filter::narrow;
    plan.most_refined = kShareForRefining * (cost - narrow) / distance;
    cost = narrow;
  }
  if (work.size > 0 && work.size <= kLargestSketch && int8 < kWorthwhile * cost && rested) {
    plan.filter = Filter::int8;
    plan.most_refined =
        kShareForRefining * (cost - int8) / (costs_.distance + costs_.distance_element * static_cast<double>(work.d));
    cost = int8;
  }
  if (plan.filter == Filter::narrow) return plan;
  const double bytes = static_cast<double>(plan.filter == Filter::int8 ? work.size : 4 * work.d);
  const double groups = static_cast<double>(work.k) / static_cast<double>(work.panel_width);
  const double keeping = groups * costs_.bound, gathering = groups * costs_.gather_byte * bytes;
  const double scored = scored_share(changed_);
  const double with = scored * (cost + keeping + gathering);
  plan.bounds = groups >= kFewestGroups && calls_ > from_bounds_.until &&
                (keeping < kCheapBounds * cost || with < kWorthwhile * cost);
  most_scored_ = cost / (cost + keeping + gathering);
  return plan;
}

void Planner::report(double changed, double scored, bool gave_up) {
  changed_ = changed;
  if (gave_up) from_sketches_.begin(calls_);
  if (scored < 1 && scored > most_scored_) from_bounds_.begin(calls_);
}

}  // namespace fastkmeans
