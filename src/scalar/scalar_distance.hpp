// SPDX-License-Identifier: Apache-2.0
// D as the rules state it, dimension by dimension, and which pairs are scaled (docs/algorithm.md section 1).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numeric/centroids_view.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans {

// `factor` is 1, or kTinyScale for scaled pairs.
inline float scalar_distance(const float* x, const float* c, std::int64_t d, float factor) {
  float lane[kLanes] = {};
  for (std::int64_t j = 0; j < d; ++j) {
    const float t = x[j] * factor - c[j] * factor;
    lane[j % kLanes] = std::fma(t, t, lane[j % kLanes]);
  }
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

inline float largest_magnitude(const float* values, std::int64_t count) {
  float largest = 0;
  for (std::int64_t j = 0; j < count; ++j) largest = std::max(largest, std::abs(values[j]));
  return largest;
}

// Whether a distance can be taken of the row (d).
inline bool is_valid(const float* row, std::int64_t d) {
  return std::all_of(row, row + d, [limit = magnitude_limit(d)](float v) {
    return std::abs(v) < limit;  // false for NaN
  });
}

// The nearest centroid of a row (d), ties to the lowest index, and D as stored. tiny: largest_magnitude of all
// centroids is below kTinyBelow.
struct Nearest {
  std::int32_t label;
  float distance;
};
template <class Checkpoint>
Nearest scalar_nearest(const float* row, CentroidsView centroids, bool tiny, const Checkpoint& checkpoint) {
  const bool scaled = tiny && largest_magnitude(row, centroids.d) < kTinyBelow;
  Nearest nearest = {0, 0};
  for (std::int64_t c = 0; c < centroids.k; ++c) {
    checkpoint();
    const float distance = scalar_distance(row, centroids.row(c), centroids.d, scaled ? kTinyScale : 1.0f);
    if (c == 0 || distance < nearest.distance) nearest = {static_cast<std::int32_t>(c), distance};
  }
  return {nearest.label, store_distance(nearest.distance, scaled)};
}

}  // namespace fastkmeans
