// SPDX-License-Identifier: Apache-2.0
// Which rows narrow sketches are learned from and tried on, how wide these may be, and what quantisation takes
// (docs/filter.md section 6.8): the same on all hardware.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "plan/plan.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {

// What the rows of a survey on the CPU may take, and on all hardware those that are tried.
inline constexpr std::int64_t kSurveyBytes = kMostScratch / 4;
// A part of the rows' distance that no row learned from stands at: those are a whole number of times as many, unless
// rows are very long.
inline constexpr double kTriedShift = 0.53;

// Row i of `count` spread evenly over n rows, `shift` of their distance further.
inline std::int64_t spread_row(std::int64_t n, std::int64_t count, std::int64_t i, double shift = 0) {
  const double at = static_cast<double>(n) * (static_cast<double>(i) + shift) / static_cast<double>(count);
  return std::min(n - 1, static_cast<std::int64_t>(at));
}

// Of n rows of so many elements at most so many, of which three copies fit `bytes`; one in any case.
inline std::int64_t survey_rows(std::int64_t n, std::int64_t elements, std::int64_t most, std::int64_t bytes) {
  return std::min({n, most, std::max<std::int64_t>(1, bytes / (12 * elements))});
}

// The widths to try, multiples of `step` up to `most`, and half as many directions at most as there are rows to learn
// them from.
inline std::vector<std::int64_t> narrow_sizes(std::int64_t most, std::int64_t learned, std::int64_t step) {
  const std::int64_t of_rows = (learned / 2 + step) / step * step;
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = step; size <= std::min(std::max(step, most), of_rows); size += step) sizes.push_back(size);
  return sizes;
}

// Quantisation's share of a row's length, for normal elements after the rotation: a largest element of 3.2 deviations
// over `levels`, and the root of 1/12 of a step.
constexpr double typical_quantisation(int levels) { return 3.2 / levels / 3.4641; }

}  // namespace fastkmeans
