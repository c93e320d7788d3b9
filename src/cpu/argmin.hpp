// SPDX-License-Identifier: Apache-2.0
// The running argmin of a tile's rows: the centroid of least loss so far, D or L, and what a score must reach to be
// less. Ties go to the lowest index. Row i of the tile is slot i.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/layout.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cpu {

class Argmin {
 public:
  Argmin(std::int64_t capacity, const FilterBound& bound)
      : bound_(bound),
        labels_(static_cast<std::size_t>(capacity + kPadding)),  // kernels read whole vectors
        distances_(labels_.size()),
        thresholds_(labels_.size()),
        radii_(labels_.size()),
        bases_(labels_.size(), bound.base()) {}

  // The row takes no part.
  void exclude(std::int64_t slot) { settle(slot, kNobody, 0); }
  // The answer is known: nothing is looked for.
  void settle(std::int64_t slot, std::int32_t label, float distance) {
    const auto s = static_cast<std::size_t>(slot);
    labels_[s] = label;
    distances_[s] = distance;
    // A comparison with NaN is false; infinity would not do, since a start, and so a score, may be +infinity.
    thresholds_[s] = radii_[s] = std::numeric_limits<float>::quiet_NaN();  // mutant: none_passes
  }
  // What FilterBound::radius wants of the row, if it is not the same for all.
  void set_base(std::int64_t slot, double base) { bases_[static_cast<std::size_t>(slot)] = base; }
  // Nothing is known yet: every score passes but the -infinity of centroids left out.
  void start(std::int64_t slot) {
    const auto s = static_cast<std::size_t>(slot);
    labels_[s] = kNobody;
    distances_[s] = radii_[s] = std::numeric_limits<float>::infinity();
    thresholds_[s] = std::numeric_limits<float>::lowest();
  }
  // c is at this distance.
  void start(std::int64_t slot, std::int32_t c, float distance, const FilterBound::Point& point) {
    const auto s = static_cast<std::size_t>(slot);
    labels_[s] = c;
    distances_[s] = distance;
    const double radius = bound_.radius(distance, bases_[s]);
    thresholds_[s] = bound_.threshold(point, radius);
    radii_[s] = round_up(radius);  // mutant: lower_bound_radius_up
  }
  // So is c, and it may be nearer than whoever was the nearest.
  void offer(std::int64_t slot, std::int32_t c, float distance, const FilterBound::Point& point) {
    const auto s = static_cast<std::size_t>(slot);
    if (distance < distances_[s])
      start(slot, c, distance, point);
    else if (distance == distances_[s] && c < labels_[s])  // mutant: tie_rule
      labels_[s] = c;
  }
  // From `size` on there are no rows: kernels that take whole groups of rows find nothing.
  void fill_up(std::int64_t size, std::int64_t whole) {
    std::fill(thresholds_.begin() + size, thresholds_.begin() + whole, std::numeric_limits<float>::quiet_NaN());
  }

  bool has_label(std::int64_t slot) const { return label(slot) >= 0; }
  std::int32_t label(std::int64_t slot) const { return labels_[static_cast<std::size_t>(slot)]; }
  float distance(std::int64_t slot) const { return distances_[static_cast<std::size_t>(slot)]; }
  float threshold(std::int64_t slot) const { return thresholds_[static_cast<std::size_t>(slot)]; }
  const float* thresholds() const { return thresholds_.data(); }
  // As Kernels::choose compares them with lower bounds.
  const float* radii() const { return radii_.data(); }

 private:
  static constexpr std::int32_t kNobody = -1;

  const FilterBound& bound_;
  std::vector<std::int32_t> labels_;
  std::vector<float> distances_, thresholds_, radii_;
  std::vector<double> bases_;
};

}  // namespace fastkmeans::cpu
