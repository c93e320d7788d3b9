// SPDX-License-Identifier: Apache-2.0
// What an assignment learned about the next: lower bounds on the distances of each row to each group of centroids, good
// until the centroids have drifted too far. Yinyang k-means (Ding et al., ICML 2015), with the groups' best scores in
// place of distances (docs/algorithm.md section 6.5).
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/prepare.hpp"
#include "shard.hpp"

namespace fastkmeans::cpu {

class DriftBounds {
 public:
  // Bounds of `rows` rows in tiles of `tile_rows`; a group is a panel, or several where the bounds would need more than
  // kMostBytes a row. The order of the centroids puts near ones into the same panel.
  DriftBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
              Workers& workers);

  // Whether these bounds are of such tiles and so many centroids.
  bool fits(std::int64_t tile_rows, CentroidsView centroids) const {
    return tile_rows == tile_rows_ && centroids.k == static_cast<std::int64_t>(order_.size());
  }
  // Whether an assignment has filled them in.
  bool known() const { return known_; }
  void set_known() { known_ = true; }

  std::int64_t groups() const { return groups_; }
  std::int64_t bytes() const { return least_.size() * 4; }
  std::int64_t panels_per_group() const { return panels_per_group_; }
  const std::vector<std::int32_t>& order() const { return order_; }

  // The centroids moved here.
  void move_to(CentroidsView centroids, Workers& workers);

  // The bounds of a tile's rows for a group: every centroid of the group is farther from row r than
  // least(tile, group)[r] - drift(group).
  float* least(std::int64_t tile, std::int64_t group) {
    return least_.data() + tile * groups_ * stride_ + group * (tile == last_tile_ ? last_stride_ : stride_);
  }
  // A radius as Kernels::choose compares it: least - drift rounds once, as do the terms of least.
  static float compared(double radius) { return round_up(radius * (1 + 0x1p-20)); }
  float drift(std::int64_t group) const { return drift_[static_cast<std::size_t>(group)]; }

 private:
  // The bounds of a row: as many as 4096 centroids in panels of 16 have, and never more than the row itself in fp32 or
  // kFewBytes. The rows of a tile count up to the next multiple of kPadding.
  static constexpr std::int64_t kMostBytes = 1024, kFewBytes = 4 * kPadding;

  std::int64_t tile_rows_, last_tile_, stride_, last_stride_, panel_width_, panels_per_group_, groups_;
  bool known_ = false;
  std::vector<std::int32_t> order_;
  std::vector<float> centroids_;  // where they were
  std::vector<float> drift_;      // (groups) the largest distance a centroid of the group has moved, summed up
  Buffer<float> least_;           // (tiles, groups, stride): the rows of a tile, and up to a whole vector
};

}  // namespace fastkmeans::cpu
