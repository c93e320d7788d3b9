// SPDX-License-Identifier: Apache-2.0
// What an assignment learned about the next: lower bounds on the distances of each row to each group of centroids, good
// until the centroids have drifted too far. Yinyang k-means (Ding et al., ICML 2015), with the groups' best scores in
// place of distances (docs/filter.md section 6.5).
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "numeric/centroids_view.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"
#include "sketch/groups.hpp"

namespace fastkmeans::cpu {

class LowerBounds {
 public:
  // Of `rows` rows in tiles of `tile_rows`; a group is a panel, or several where the bounds would need more than
  // kMostBytes a row.
  LowerBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
              Workers& workers);

  // Whether these bounds are of such tiles and so many centroids.
  bool fits(std::int64_t tile_rows, CentroidsView centroids) const {
    // mutant: bounds_fit
    return tile_rows == tile_rows_ && centroids.k == static_cast<std::int64_t>(groups_.order.size());
  }
  // Whether an assignment has filled them in.
  bool known() const { return known_; }
  void set_known() { known_ = true; }

  const Groups& groups() const { return groups_; }
  std::int64_t panels_per_group() const { return groups_.members / panel_width_; }
  std::int64_t bytes() const { return values_.size() * 4; }

  // The centroids moved here.
  void move_to(CentroidsView centroids, Workers& workers);

  // The bounds of the rows of the tile that begins with row `first`: every centroid of the group is farther from row
  // first + i than values(first, group)[i] - drift(group).
  float* values(std::int64_t first, std::int64_t group) {
    const std::int64_t tile = first / tile_rows_;
    return values_.data() + tile * groups_.count() * stride_ + group * (tile == last_tile_ ? last_stride_ : stride_);
  }
  float drift(std::int64_t group) const { return drift_[static_cast<std::size_t>(group)]; }
  // A radius as Kernels::choose compares it: values - drift rounds once, as do the terms of values.
  static float compared(double radius) { return round_up(radius * (1 + 0x1p-20)); }  // mutant: lower_bound_radius_up

 private:
  // The bounds of a row: as many as 4096 centroids in panels of 16 have, and never more than the row itself in fp32 or
  // kFewBytes. The rows of a tile count up to the next multiple of kPadding.
  static constexpr std::int64_t kMostBytes = 1024, kFewBytes = 4 * kPadding;

  std::int64_t tile_rows_, last_tile_, stride_, last_stride_, panel_width_;
  bool known_ = false;
  Groups groups_;
  std::vector<float> centroids_;  // where they were
  std::vector<float> drift_;      // (groups) the largest distance a centroid of the group has moved, summed up
  Buffer<float> values_;          // (tiles, groups, stride): the rows of a tile, and up to a whole vector
};

// The bounds of one tile's rows, in the hands of the thread that scans them.
class TileBounds {
 public:
  TileBounds(LowerBounds& bounds, const FilterBound& filter, const Kernels& kernels, std::int64_t capacity);

  void begin(std::int64_t first, std::int64_t rows) {
    first_ = first;
    rows_ = rows;
  }
  // The rows whose bound does not exclude the group, in chosen(); returns how many. radii: (rows).
  std::int64_t choose(std::int64_t group, const float* radii);
  const std::int32_t* chosen() const { return chosen_.data(); }

  // Before the panels of a group are scanned.
  void begin_group();
  // Where a scan puts the best score of each of so many rows in a panel; then add_panel(). A centroid that is left out
  // as a copy was not scored, and may part from its twin: nothing is known of the group.
  float* best() { return best_.data(); }
  void add_panel(std::int64_t rows, bool has_copy);

  // The best scores of the group say how near its centroids can be to the scanned rows, whose norms and errors these
  // are: all rows of the tile, or the first `count` of chosen().
  void learn_all(std::int64_t group, const float* sq_norms, const float* errors);
  void learn_chosen(std::int64_t group, std::int64_t count, const float* sq_norms, const float* errors);

 private:
  void lower(std::int64_t group, std::int64_t count, const float* sq_norms, const float* errors, float* out) const;

  LowerBounds& bounds_;
  const FilterBound& filter_;
  const Kernels& kernels_;
  std::int64_t first_ = 0, rows_ = 0;
  std::vector<std::int32_t> chosen_;
  std::vector<float> best_, group_best_, lower_;  // of the scanned rows
};

}  // namespace fastkmeans::cpu
