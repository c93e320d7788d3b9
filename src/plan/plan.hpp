// SPDX-License-Identifier: Apache-2.0
// Which filter an assignment uses, and whether bounds are carried from one to the next: a pure function of the problem,
// of what the last assignments came to, and of what the steps cost. It decides speed and memory, never a bit of the
// result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "plan/costs.hpp"
#include "plan/filter.hpp"
#include "plan/history.hpp"

namespace fastkmeans {

// Elements of a sketch. The proof of its bound counts on it: scores of int8 are below 2^30 and 2^14 squares below 2^55
// (docs/filter.md section 6.4).
inline constexpr std::int64_t kLargestSketch = 16384;
// Rows that narrow sketches are learned from, more where that costs little, and others that they are tried on; elements
// of such a sketch, at most: the cost of learning grows with its square, and with 256 token embeddings leave 2 to 8
// centroids a row (docs/performance-cpu.md).
inline constexpr std::int64_t kLearnedFrom = 1024, kTriedOn = 128, kMostNarrow = 256;

// A trial says no more than this of how slow scores are: what slows them may slow a survey as well, which then still
// costs at most 6 % of ten assignments.
inline constexpr double kMostSlower = 3;

// Narrow sketches, as a survey of a few rows found them.
struct Narrow {
  std::int64_t size = 0;      // elements; 0: none were looked for, or there are none
  double survivors = 0;       // centroids that they leave a row
  double full_survivors = 0;  // and that sketches of all dimensions leave it
  bool sketched = false;      // the rows' narrow sketches are there already
};

struct Problem {
  std::int64_t rows;
  std::int64_t d, k;
  std::int64_t size;         // elements of a sketch; 0: there is none
  std::int64_t panel_width;  // centroids that are scored together
  std::int64_t most_groups;  // for which a row has lower bounds; a group is one or more panels
  bool first;                // no labels are known
  bool more;                 // more iterations will follow
  bool sketched;             // the rows' sketches are there already
  Narrow narrow;
  bool tiny;                     // rows are multiplied by 2^64: fp32 alone
  bool products = false;         // labels by inner products: no low_dim, no narrow
  std::optional<Choice> forced;  // whatever the costs
};

// Nanoseconds that scoring a row with all centroids would take; infinite: the filter cannot take these rows.
struct RowCosts {
  double fp32, low_dim, int8, narrow;
};

struct Plan {
  Filter filter = Filter::fp32;
  bool bounds = false;      // keep lower bounds
  double most_refined = 0;  // distances a row beyond which fp32 is faster after all; 0: no limit
  double most_scored = 1;   // share of the pairs beyond which bounds cost more than they save
  RowCosts expected = {};   // what it was chosen by

  // Who finishes where the limit on distances is passed.
  Filter next() const {
    // mutant: next_filter
    return filter == Filter::narrow && expected.int8 < expected.fp32 ? Filter::int8 : Filter::fp32;
  }
};

RowCosts row_costs(const Problem& problem, const Costs& costs);

// Whether a fit takes so long on so many threads that its costs should be measured on this machine.
bool worth_calibrating(const Problem& problem, const Costs& costs, int threads);

// Whether narrow sketches could save so much that a survey, if it finds nothing, costs only a small part of what is
// spent anyway; or they are forced. slower: scores take so many times what the costs say.
bool worth_a_survey(const Problem& problem, const Costs& costs, double slower = 1);

// Some rows of a first assignment, timed: costs are those of quiet cores, and threads that share a core, its caches and
// its matrix unit may take several times as long.
struct Trial {
  std::int64_t rows, refined;  // refined: distances of all these rows
  double nanoseconds;          // of all threads
};
// Whether a trial of so many rows costs little and may decide on a survey.
bool worth_a_trial(const Problem& problem, const Costs& costs, std::int64_t rows);
// How many times what its costs say it took, from 1 to kMostSlower.
double slower(const Problem& problem, const Costs& costs, const Trial& trial);

Plan make_plan(const Problem& problem, const History& history, const Costs& costs);

// One line.
std::string to_string(const Plan& plan);

}  // namespace fastkmeans
