// SPDX-License-Identifier: Apache-2.0
// What scans and narrow sketches (narrow.hpp) cost on a CUDA device, and whether these pay: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/tuning.hpp"

namespace fastkmeans::cuda {

// Sketches of `size` elements, as a survey of a few rows found them.
struct NarrowWidth {
  std::int64_t size;
  float typical_tail;
  double survivors = 0;  // centroids that they leave a row
  double run_over = 0;   // the share of rows that they leave more than there is room for
};

// Nanoseconds of the scores of a row whose sketch has so many elements.
double scan_cost(std::int64_t size, const Problem& problem, const DeviceLimits& limits);
// Whether narrow sketches could save so much that to look for them in vain costs only a small part of what is spent
// anyway; or they are forced.
bool worth_a_survey(const Problem& problem, const DeviceLimits& limits, const std::string& forced);
// The cheapest of these, or null if sketches of all dimensions are expected to be faster.
const NarrowWidth* choose_width(const Problem& problem, const DeviceLimits& limits, const std::string& forced,
                                const std::vector<NarrowWidth>& widths);
// Distances a row beyond which sketches of size problem.narrow have been a mistake.
double most_refined(const Problem& problem, const DeviceLimits& limits);

}  // namespace fastkmeans::cuda
