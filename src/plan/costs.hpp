// SPDX-License-Identifier: Apache-2.0
// What the steps of an assignment cost on one kind of hardware; plan/tuning/ has the figures.
#pragma once

namespace fastkmeans {

// Nanoseconds of one core; only their ratios matter.
struct FilterCosts {
  double element;  // of a pair scored, for each of its elements
  double pair;     // and for the pair itself
};

struct Costs {
  FilterCosts fp32, low_dim, int8;    // int8.element = 0: there is none
  double row, low_dim_row;            // what a row costs beside its scores: loading, its bound, its distance
  double distance, distance_element;  // D of a pair
  double far_distance_element;        // where the centroids fill more than a core's caches
  double sketch_element;              // making the sketch of a row
  double bound;                       // keeping a lower bound: a row and a group that was scored
  double gather_byte;                 // moving a chosen row
};

}  // namespace fastkmeans
