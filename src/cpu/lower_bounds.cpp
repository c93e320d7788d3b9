// SPDX-License-Identifier: Apache-2.0
#include "cpu/lower_bounds.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {

LowerBounds::LowerBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
                         Workers& workers)
    : tile_rows_(tile_rows),
      last_tile_((rows - 1) / tile_rows),
      stride_(padded(tile_rows)),
      last_stride_(padded(rows - last_tile_ * tile_rows)),  // mutant: last_tile_stride
      panel_width_(panel_width),
      centroids_(centroids.values, centroids.values + centroids.k * centroids.d) {
  const std::int64_t panels = (centroids.k + panel_width - 1) / panel_width;
  // Tiles are filled up to whole vectors: where they are short, fewer groups keep the promise. Tiles of one row still
  // may have kFewBytes / 4 / kPadding = 1.
  const std::int64_t bytes = std::clamp(4 * centroids.d, kFewBytes, kMostBytes);
  const std::int64_t most_groups = bytes * tile_rows / stride_ / 4;  // mutant: bounds_a_tile
  const std::int64_t panels_per_group = (panels + most_groups - 1) / most_groups;
  groups_ = Groups(centroids.values, centroids.k, centroids.d, panel_width, panels_per_group * panel_width, workers);
  drift_.assign(static_cast<std::size_t>(groups_.count()), 0.0f);
  values_.resize(groups_.count() * (last_tile_ * stride_ + last_stride_));
}

void LowerBounds::move_to(CentroidsView centroids, Workers& workers) {
  const double operations = 4.0 * static_cast<double>(centroids.k) * static_cast<double>(centroids.d);
  workers.for_each(groups_.count(), operations, [&](std::int64_t group, int) {
    double most = 0;
    const std::int64_t begin = group * groups_.members, end = std::min(centroids.k, begin + groups_.members);
    for (std::int64_t place = begin; place < end; ++place) {
      const std::int32_t c = groups_.order[static_cast<std::size_t>(place)];
      float* before = centroids_.data() + c * centroids.d;
      most = std::max(most, sq_distance(centroids.row(c), before, centroids.d));  // mutant: lower_bound_farthest_move
      std::copy_n(centroids.row(c), centroids.d, before);                         // mutant: lower_bound_moves_from_last
    }
    // fp64 sums of squares and a root, then the sum with what was there: all rounded up.
    float& drift = drift_[static_cast<std::size_t>(group)];
    // mutant: lower_bound_moves_add_up
    drift = round_up((static_cast<double>(drift) + std::sqrt(most)) * (1 + kFp64Slack));
  });
}

TileBounds::TileBounds(LowerBounds& bounds, const FilterBound& filter, const Kernels& kernels, std::int64_t capacity)
    : bounds_(bounds),
      filter_(filter),
      kernels_(kernels),
      chosen_(static_cast<std::size_t>(capacity + kPadding)),  // kernels write whole vectors
      best_(chosen_.size()),
      group_best_(chosen_.size()),
      lower_(chosen_.size()) {}

std::int64_t TileBounds::choose(std::int64_t group, const float* radii) {
  return kernels_.choose(bounds_.values(first_, group), bounds_.drift(group), radii, rows_, chosen_.data());
}

void TileBounds::begin_group() {
  std::fill(group_best_.begin(), group_best_.end(), -std::numeric_limits<float>::infinity());
}

void TileBounds::add_panel(std::int64_t rows, bool has_copy) {
  // mutant: copies_have_no_bound
  if (has_copy) std::fill(best_.begin(), best_.end(), std::numeric_limits<float>::infinity());
  // mutant: group_best
  for (std::size_t i = 0; i < static_cast<std::size_t>(rows); ++i) group_best_[i] = std::max(group_best_[i], best_[i]);
}

void TileBounds::lower(std::int64_t group, std::int64_t count, const float* sq_norms, const float* errors,
                       float* out) const {
  kernels_.lower_bounds(group_best_.data(), sq_norms, errors, filter_.inverse_underflow(), filter_.inverse_factor(),
                        bounds_.drift(group), count, out);
}

void TileBounds::learn_all(std::int64_t group, const float* sq_norms, const float* errors) {
  lower(group, rows_, sq_norms, errors, bounds_.values(first_, group));
}

void TileBounds::learn_chosen(std::int64_t group, std::int64_t count, const float* sq_norms, const float* errors) {
  lower(group, count, sq_norms, errors, lower_.data());
  float* values = bounds_.values(first_, group);
  // mutant: bounds_scattered
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) values[chosen_[i]] = lower_[i];
}

}  // namespace fastkmeans::cpu
