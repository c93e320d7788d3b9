// SPDX-License-Identifier: Apache-2.0
// Which filter an assignment uses, and whether bounds are carried from one to the next: a pure function of the problem,
// of what the last assignments came to, and of what the steps cost. It decides speed and memory, never a bit of the
// result.
#pragma once

#include <cstdint>
#include <optional>

#include "plan/costs.hpp"
#include "plan/filter.hpp"
#include "plan/history.hpp"

namespace fastkmeans {

struct Problem {
  std::int64_t d, k;
  std::int64_t size;             // elements of a sketch; 0: there is none
  std::int64_t panel_width;      // centroids a lower bound speaks for
  bool first;                    // no labels are known
  bool more;                     // more iterations will follow
  bool sketched;                 // the rows' sketches are there already
  bool tiny;                     // rows are multiplied by 2^64: fp32 alone
  std::optional<Choice> forced;  // whatever the costs
};

// Nanoseconds that scoring a row with all centroids would take; infinite: the filter cannot take these rows.
struct RowCosts {
  double fp32, low_dim, int8;
};

struct Plan {
  Filter filter = Filter::fp32;
  bool bounds = false;      // keep lower bounds
  double most_refined = 0;  // distances a row beyond which fp32 is faster after all; 0: no limit
  double most_scored = 1;   // share of the pairs beyond which bounds cost more than they save
  RowCosts expected = {};   // what it was chosen by
};

Plan make_plan(const Problem& problem, const History& history, const Costs& costs);

}  // namespace fastkmeans
