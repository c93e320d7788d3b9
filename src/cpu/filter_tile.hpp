// SPDX-License-Identifier: Apache-2.0
// Filter and refine on a tile of rows, for either kind of points. One thread's own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/argmin.hpp"
#include "cpu/assign.hpp"
#include "cpu/points.hpp"
#include "cpu/refine.hpp"
#include "cpu/rows.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {

// Which rows a pass over the shard answers. All; or, where all centroids are below kTinyBelow, two passes: rows that
// are not, then those that are, multiplied by kTinyScale as the centroids are.
struct AllRows {
  static constexpr bool kScaled = false;
  static bool takes(std::uint32_t) { return true; }
};
struct TinyRows {
  static constexpr bool kScaled = true;
  static bool takes(std::uint32_t largest) { return largest < magnitude_bits(kTinyBelow); }  // mutant: tiny_row_limit
};
struct OtherRows {
  static constexpr bool kScaled = false;
  static bool takes(std::uint32_t largest) { return !TinyRows::takes(largest); }
};

template <class Points, class Selection>
class FilterTile {
 public:
  using Panels = typename Points::Panels;
  using View = typename Points::View;

  // capacity: the rows of a tile, rounded up to whole groups.
  FilterTile(const AssignTask& task, const typename Points::Source& source, const Panels& panels, Workers& workers,
             std::int64_t capacity)
      : task_(task),
        panels_(panels),
        workers_(workers),
        row_group_(source.row_group()),
        k_(source.centroids.k),
        rows_(task.x, task.metric, task.kernels, task.tile_rows, source.centroids.ld),
        points_(source, capacity),
        argmin_(capacity, source.bound),
        refine_(source.centroids, rows_, task.kernels, argmin_),
        hits_(static_cast<std::size_t>(capacity)),
        scores_(static_cast<std::size_t>(capacity * panels.width)) {}
  FilterTile(const FilterTile&) = delete;  // refine_ points into it
  FilterTile& operator=(const FilterTile&) = delete;

  // Reads rows and finds what is known of those that the pass answers; returns how many these are.
  std::int64_t load(std::int64_t first, std::int64_t count, RowCheck& check) {
    first_ = first;
    size_ = count;
    points_.begin(first);
    if constexpr (Selection::kScaled)
      rows_.load_copy(first, count);
    else
      rows_.load(first, count);
    const std::int64_t whole = whole_groups(count, row_group_);
    argmin_.fill_up(count, whole);
    if (points_.described()) {
      for (std::int64_t i = 0; i < count; ++i) start(i);
      return count;
    }
    std::int64_t taken = 0;
    for (std::int64_t i = 0; i < count; ++i) taken += describe(i, check);
    for (std::int64_t i = count; i < whole; ++i) points_.clear(i);
    return taken;
  }

  // Called before a panel is scanned: a checkpoint now and then. False: the tile has cost so much that it is given up.
  bool may_go_on(std::int64_t panel, int worker, const Effort& effort) {
    if (panel % task_.panels_at_a_time == 0) workers_.checkpoint(worker);
    return task_.most_refined == 0 ||
           static_cast<double>(effort.refined) <= kTileExcess * task_.most_refined * static_cast<double>(size_);
  }

  // Scores of the points in view against a panel, and D where they pass. slot_of: of the i-th point in view. best:
  // (view.count) out, the best score of each point, or null. Returns how many D were computed.
  template <class SlotOf>
  std::int64_t scan(const View& view, std::int64_t panel, const float* thresholds, const SlotOf& slot_of, float* best) {
    const std::int64_t hits =
        points_.scan(view, panels_, panel, thresholds, {.scores = scores_.data(), .hits = hits_.data(), .best = best});
    std::int64_t computed = 0;
    for (std::int64_t h = 0; h < hits; ++h) {
      const Hit hit = hits_[static_cast<std::size_t>(h)];
      const std::int64_t slot = slot_of(hit.row);
      computed += refine_.panel(slot, hit.passed, panel * panels_.width,
                                &scores_[static_cast<std::size_t>(h * panels_.width)], points_.known(slot));
    }
    return computed;
  }

  void answer(AssignCounts& counts) const {
    for (std::int64_t i = 0; i < size_; ++i)
      if (argmin_.has_label(i))
        // mutant: scaled_marked
        task_.answer(first_ + i, argmin_.label(i), store_distance(argmin_.distance(i), Selection::kScaled), counts);
  }

  // Centroids in panels [begin, end): the last panel may be filled up.
  std::int64_t members(std::int64_t begin, std::int64_t end) const {
    return std::min(end * panels_.width, k_) - begin * panels_.width;  // mutant: counted_centroids
  }
  std::int64_t size() const { return size_; }
  const Panels& panels() const { return panels_; }
  Points& points() { return points_; }
  const Argmin& argmin() const { return argmin_; }

 private:
  // One tile may need this many times the distances that all may need on average.
  static constexpr double kTileExcess = 4;

  // Whether the row takes part.
  bool describe(std::int64_t slot, RowCheck& check) {
    const std::uint32_t largest = task_.kernels.largest_bits(rows_.row(slot), rows_.ld());
    if (!Selection::takes(largest)) {
      argmin_.exclude(slot);
      points_.clear(slot);
      return false;
    }
    if (largest >= magnitude_limit_bits(task_.x.cols)) {
      check.note(first_ + slot);
      argmin_.settle(slot, 0, 0);
      points_.clear(slot);
      return false;
    }
    if constexpr (Selection::kScaled) rows_.scale(slot);  // mutant: tiny_rows_scaled
    points_.describe(rows_.row(slot), slot);
    start(slot);
    return true;
  }

  // What is known of a row before the scan: D to the centroid it had, or nothing.
  void start(std::int64_t slot) {
    if (!task_.previous) return argmin_.start(slot);
    const std::int32_t c = task_.previous[first_ + slot];
    argmin_.start(slot, c, refine_.distance(slot, c), points_.known(slot));
  }

  const AssignTask& task_;
  const Panels& panels_;
  Workers& workers_;
  std::int64_t row_group_, k_, first_ = 0, size_ = 0;
  RowTile rows_;
  Points points_;
  Argmin argmin_;
  Refine refine_;
  std::vector<Hit> hits_;
  std::vector<float> scores_;  // (capacity, panel width)
};

}  // namespace fastkmeans::cpu
