// SPDX-License-Identifier: Apache-2.0
// Which filter an assignment uses, and whether bounds are carried from one to the next: from what the last one needed
// and what the steps cost on this hardware. It decides speed and memory, never a bit of the result.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fastkmeans {

// narrow: fp32 for rows of few dimensions, with all done in the lanes and no labels used.
enum class Filter { fp32, narrow, int8 };
// gave_up: it was begun, and fp32 finished.
std::string_view name_of(Filter filter, bool gave_up = false);

// Nanoseconds of one core; only their ratios matter.
struct FilterCosts {
  double element;  // of a pair scored, for each of its elements
  double pair;     // and for the pair itself
};
struct Costs {
  FilterCosts fp32, narrow, int8;     // int8.element = 0: there is none
  double row, narrow_row;             // what a row costs beside its scores: loading, its bound, its distance
  double distance, distance_element;  // D of a pair
  double sketch_element;              // making the sketch of a row
  double bound;                       // keeping a drift bound: a row and a group that was scored
  double gather_byte;                 // moving a chosen row
};

struct Work {
  std::int64_t d, k;
  std::int64_t size;         // elements of a sketch; 0: there is none
  std::int64_t panel_width;  // centroids a drift bound speaks for
  bool first;                // no labels are known
  bool again;                // more iterations will follow
  bool sketched;             // the rows' sketches are there already
  bool tiny;                 // rows are multiplied by 2^64: fp32 alone
};

struct Plan {
  Filter filter = Filter::fp32;
  bool bounds = false;      // keep drift bounds
  double most_refined = 0;  // distances a row beyond which fp32 is faster after all; 0: no limit
};

class Planner {
 public:
  // wanted: "" (FASTKMEANS_FILTER, and that empty: the planner's choice), fp32, narrow, int8, fp32_bounds, int8_bounds.
  // std::runtime_error: unknown, or this hardware has no int8.
  Planner(const Costs& costs, const std::string& wanted);

  Plan plan(const Work& work);

  // What came of it. changed: share of the rows whose label changed; scored: share of the pairs that were scored,
  // though there were bounds (1: there were none); gave_up: the plan's limit was reached.
  void report(double changed, double scored, bool gave_up);

 private:
  Costs costs_;
  bool forced_ = false;
  Plan wanted_;
  // Attempts that failed are repeated after longer and longer rests: as the centroids settle, bounds exclude more.
  struct Rest {
    int until = 0, length;
    void begin(int now) {
      until = now + length;
      length *= 2;
    }
  };

  double changed_ = 1;
  double most_scored_ = 1;  // with bounds; beyond, they cost more than they save
  int calls_ = 0;
  Rest from_sketches_{0, 1}, from_bounds_{0, 4};
};

}  // namespace fastkmeans
