// SPDX-License-Identifier: Apache-2.0
// D and L as the rules state them, dimension by dimension, and which pairs are scaled (docs/algorithm.md sections 1 and
// 8).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numeric/centroids_view.hpp"
#include "numeric/distance.hpp"
#include "numeric/lanes.hpp"
#include "numeric/metric.hpp"

namespace fastkmeans {

// `factor` is 1, or kTinyScale for scaled pairs.
inline float scalar_distance(const float* x, const float* c, std::int64_t d, float factor) {
  return sum_of_squares<float>(d, [=](std::int64_t j) { return x[j] * factor - c[j] * factor; });
}

inline float scalar_negated_product(const float* x, const float* c, std::int64_t d) {
  return sum_in_lanes<float>(d, [=](std::int64_t j, float lane) { return std::fma(-x[j], c[j], lane); });
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

// A centroid, and its loss as stored.
struct Nearest {
  std::int32_t label;
  float distance;
};

// The centroid of least loss(c), ties to the lowest index.
template <class OfCentroid, class Checkpoint>
Nearest scalar_least(CentroidsView centroids, const OfCentroid& loss, const Checkpoint& checkpoint) {
  Nearest nearest = {0, 0};
  for (std::int64_t c = 0; c < centroids.k; ++c) {
    checkpoint();
    const float its = loss(centroids.row(c));
    if (c == 0 || its < nearest.distance) nearest = {static_cast<std::int32_t>(c), its};
  }
  return nearest;
}

// The nearest of a row (d) by D. tiny: is_tiny of all centroids.
template <class Checkpoint>
Nearest scalar_nearest(const float* row, CentroidsView centroids, bool tiny, const Checkpoint& checkpoint) {
  const bool scaled = tiny && is_tiny({row, 1, centroids.d});
  const float factor = scaled ? kTinyScale : 1.0f;
  const auto distance = [=, d = centroids.d](const float* c) { return scalar_distance(row, c, d, factor); };
  const Nearest nearest = scalar_least(centroids, distance, checkpoint);
  return {nearest.label, store_distance(nearest.distance, scaled)};
}

// The label of a row (d) as the metric takes it, and its loss.
template <class Checkpoint>
Nearest scalar_label(const float* row, CentroidsView centroids, const Metric& metric, bool tiny,
                     const Checkpoint& checkpoint) {
  if (metric.loss() == Loss::distance) return scalar_nearest(row, centroids, tiny, checkpoint);
  return scalar_least(
      centroids, [row, d = centroids.d](const float* c) { return scalar_negated_product(row, c, d); }, checkpoint);
}

}  // namespace fastkmeans
