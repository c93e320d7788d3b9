// SPDX-License-Identifier: Apache-2.0
// D as the rules state it, dimension by dimension, and which pairs are scaled (docs/algorithm.md section 1).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numeric/centroids_view.hpp"
#include "numeric/distance.hpp"
#include "numeric/lanes.hpp"

namespace fastkmeans {

// `factor` is 1, or kTinyScale for scaled pairs.
inline float scalar_distance(const float* x, const float* c, std::int64_t d, float factor) {
  return sum_of_squares<float>(d, [=](std::int64_t j) { return x[j] * factor - c[j] * factor; });
}

inline float largest_magnitude(const float* values, std::int64_t count) {
  float largest = 0;
  for (std::int64_t j = 0; j < count; ++j) largest = std::max(largest, std::abs(values[j]));
  return largest;
}

// Whether all are so small that rows as small are scaled.
inline bool is_tiny(CentroidsView centroids) {
  return largest_magnitude(centroids.values, centroids.k * centroids.d) < kTinyBelow;
}

// Whether a distance can be taken of the row (d).
inline bool is_valid(const float* row, std::int64_t d) {
  return std::all_of(row, row + d, [limit = magnitude_limit(d)](float v) {
    return std::abs(v) < limit;  // false for NaN
  });
}

// The nearest centroid of a row (d), ties to the lowest index, and D as stored. tiny: is_tiny of all
// centroids.
struct Nearest {
  std::int32_t label;
  float distance;
};
template <class Checkpoint>
Nearest scalar_nearest(const float* row, CentroidsView centroids, bool tiny, const Checkpoint& checkpoint) {
  const bool scaled = tiny && is_tiny({row, 1, centroids.d});
  Nearest nearest = {0, 0};
  for (std::int64_t c = 0; c < centroids.k; ++c) {
    checkpoint();
    const float distance = scalar_distance(row, centroids.row(c), centroids.d, scaled ? kTinyScale : 1.0f);
    if (c == 0 || distance < nearest.distance) nearest = {static_cast<std::int32_t>(c), distance};
  }
  return {nearest.label, store_distance(nearest.distance, scaled)};
}

}  // namespace fastkmeans
