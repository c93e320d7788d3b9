// SPDX-License-Identifier: Apache-2.0
// Filter and refine on a tile of rows, for either kind of points. One thread's own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/argmin.hpp"
#include "cpu/assign.hpp"
#include "cpu/points.hpp"
#include "cpu/refine.hpp"
#include "cpu/rows.hpp"
#include "numeric/distance.hpp"
#include "runtime/buffer.hpp"

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

// Points to scan: all of a tile, in their slots.
template <class View>
struct AllPoints {
  View view;
  std::int64_t count;  // those that take part
  const Argmin& argmin;

  const float* thresholds() const { return argmin.thresholds(); }
  std::int64_t slot(std::int32_t i) const { return i; }
};

// Or some, side by side.
template <class View>
struct ChosenPoints {
  View view;
  std::int64_t count;
  const Argmin& argmin;
  const std::int32_t* chosen;  // their slots
  float* gathered;             // (view.count) thresholds, NaN from count on

  const float* thresholds() const {
    for (std::int64_t i = 0; i < count; ++i) gathered[i] = argmin.threshold(chosen[i]);  // mutant: thresholds_gathered
    return gathered;
  }
  std::int64_t slot(std::int32_t i) const { return chosen[i]; }  // mutant: hits_scattered
};

// In place of TileBounds where nobody wants the best scores.
struct NoBounds {
  static float* best() { return nullptr; }
  static void add_panel(std::int64_t, bool) {}
};

template <class Points, class Selection>
class FilterTile {
 public:
  using View = typename Points::View;
  using Shared = typename Points::Shared;

  FilterTile(const AssignTask& task, const Shared& shared)
      : task_(task),
        shared_(shared),
        capacity_(whole_groups(task.tile_rows, shared.row_group())),
        rows_(task.context, task.tile_rows, shared.centroids.ld),
        points_(shared, capacity_),
        argmin_(capacity_, shared.bound),
        refine_{shared.centroids, rows_, task.context.kernels, argmin_, task.context.loss()},
        hits_(static_cast<std::size_t>(capacity_)),
        takes_part_(hits_.size()),
        scores_(capacity_ * shared.panels.width),
        gathered_thresholds_(capacity_),
        seed_scores_(capacity_) {}
  FilterTile(const FilterTile&) = delete;  // refine_ points into it
  FilterTile& operator=(const FilterTile&) = delete;

  // Reads rows and finds what is known of those that the pass answers.
  void load(std::int64_t first, std::int64_t count, RowCheck& check) {
    first_ = first;
    size_ = count;
    taken_ = 0;
    points_.begin(first);
    if constexpr (Selection::kScaled)
      rows_.load_copy(first, count);
    else
      rows_.load(first, count);
    const std::int64_t whole = whole_groups(count, shared_.row_group());
    argmin_.fill_up(count, whole);
    if (points_.described()) {
      for (std::int64_t i = 0; i < count; ++i) start(i);
      taken_ = count;
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const bool takes_part = describe(i, check);
      takes_part_[static_cast<std::size_t>(i)] = takes_part;
      taken_ += takes_part;
    }
    points_.described_all();
    for (std::int64_t i = 0; i < count; ++i)
      if (takes_part_[static_cast<std::size_t>(i)]) start(i);
    for (std::int64_t i = count; i < whole; ++i) points_.clear(i);
  }

  // Where nothing is known of the rows: D to the best of some centroids. A threshold that begins there spares them most
  // distances that they would need on the way to the nearest.
  void seed(int worker, Effort& effort) {
    if (task_.previous || taken_ == 0) return;
    const View view = points_.view(size_);
    std::copy_n(argmin_.thresholds(), view.count, seed_scores_.data());
    seeds_.assign(static_cast<std::size_t>(view.count), kNone);
    for (std::int64_t panel = 0; panel < shared_.panels.count; panel += kSeedStep) {
      if (panel / kSeedStep % task_.panels_at_a_time == 0) task_.context.workers.checkpoint(worker);
      const std::int64_t hits = points_.scan(view, panel, seed_scores_.data(),
                                             {.scores = scores_.data(), .hits = hits_.data(), .best = nullptr});
      for (std::int64_t h = 0; h < hits; ++h) {
        const float* score = &scores_[h * shared_.panels.width];
        const float* best = std::max_element(score, score + shared_.panels.width);
        const std::int64_t slot = hits_[static_cast<std::size_t>(h)].row;
        seed_scores_[slot] = *best;
        seeds_[static_cast<std::size_t>(slot)] =
            static_cast<std::int32_t>(panel * shared_.panels.width + (best - score));
      }
    }
    for (std::int64_t slot = 0; slot < size_; ++slot) {
      const std::int32_t place = seeds_[static_cast<std::size_t>(slot)];
      if (place == kNone) continue;
      const std::int32_t c = shared_.centroids.order[static_cast<std::size_t>(place)];
      argmin_.start(slot, c, refine_.loss(slot, c), points_.known(slot));
      ++effort.refined;
    }
  }

  // Rows that take part.
  std::int64_t taken() const { return taken_; }
  AllPoints<View> all() const { return {points_.view(size_), taken_, argmin_}; }
  ChosenPoints<View> gather(const std::int32_t* chosen, std::int64_t count) {
    const View view = points_.gather(chosen, count);
    float* thresholds = gathered_thresholds_.data();
    std::fill(thresholds + count, thresholds + view.count, std::numeric_limits<float>::quiet_NaN());
    return {view, count, argmin_, chosen, thresholds};
  }

  // Scores of the points against panels [begin, end), and D where they pass. bounds: a TileBounds, which learns the
  // best scores, or NoBounds. False: the tile has cost so much that it is given up.
  template <class SomePoints, class Bounds>
  bool scan(const SomePoints& points, std::int64_t begin, std::int64_t end, Bounds& bounds, int worker,
            Effort& effort) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      effort.scored += points.count * shared_.panels.members[static_cast<std::size_t>(panel)];  // mutant: counted_rows
      if (!may_go_on(panel, worker, effort)) return false;
      effort.refined += scan(points, panel, bounds.best());
      bounds.add_panel(points.view.count, shared_.panels.has_copy[static_cast<std::size_t>(panel)]);
    }
    return true;
  }

  void answer(AssignCounts& counts) const {
    for (std::int64_t i = 0; i < size_; ++i)
      if (argmin_.has_label(i))
        // mutant: scaled_marked
        task_.answer(first_ + i, argmin_.label(i), store_distance(argmin_.distance(i), Selection::kScaled), counts);
  }

  // As LowerBounds takes them.
  const float* radii() const { return argmin_.radii(); }

 private:
  // One tile may need this many times the distances that all may need on average.
  static constexpr double kTileExcess = 4;
  // One panel in so many is scanned for the seeds.
  static constexpr std::int64_t kSeedStep = 8;
  static constexpr std::int32_t kNone = -1;

  // A checkpoint now and then. False: given up.
  bool may_go_on(std::int64_t panel, int worker, const Effort& effort) {
    if (panel % task_.panels_at_a_time == 0) task_.context.workers.checkpoint(worker);
    return task_.most_refined == 0 ||
           static_cast<double>(effort.refined) <= kTileExcess * task_.most_refined * static_cast<double>(size_);
  }

  // Returns how many D were computed.
  template <class SomePoints>
  std::int64_t scan(const SomePoints& points, std::int64_t panel, float* best) {
    const std::int64_t width = shared_.panels.width;
    const std::int64_t hits = points_.scan(points.view, panel, points.thresholds(),
                                           {.scores = scores_.data(), .hits = hits_.data(), .best = best});
    std::int64_t computed = 0;
    for (std::int64_t h = 0; h < hits; ++h) {
      const Hit hit = hits_[static_cast<std::size_t>(h)];
      const std::int64_t slot = points.slot(hit.row);
      computed += refine_.panel(slot, hit.passed, panel * width, &scores_[h * width], points_.known(slot));
    }
    return computed;
  }

  // Whether the row takes part.
  bool describe(std::int64_t slot, RowCheck& check) {
    const std::uint32_t largest = task_.context.kernels.largest_bits(rows_.row(slot), rows_.ld());
    if (!Selection::takes(largest)) {
      argmin_.exclude(slot);
      points_.clear(slot);
      return false;
    }
    if (largest >= magnitude_limit_bits(task_.context.x.cols)) {
      check.note(first_ + slot);
      argmin_.settle(slot, 0, 0);
      points_.clear(slot);
      return false;
    }
    if constexpr (Selection::kScaled) rows_.scale(slot);  // mutant: tiny_rows_scaled
    points_.describe(rows_.row(slot), slot);
    return true;
  }

  // What is known of a row before the scan: the loss of the centroid it had, or nothing.
  void start(std::int64_t slot) {
    if (task_.context.metric.loss() == Loss::negated_product) {
      const float* row = rows_.row(slot);
      argmin_.set_base(slot, shared_.bound.base(task_.context.kernels.negated_product(row, row, rows_.ld())));
    }
    if (!task_.previous) return argmin_.start(slot);
    const std::int32_t c = task_.previous[first_ + slot];
    argmin_.start(slot, c, refine_.loss(slot, c), points_.known(slot));
  }

  const AssignTask& task_;
  const Shared& shared_;
  std::int64_t capacity_;                          // whole groups of rows
  std::int64_t first_ = 0, size_ = 0, taken_ = 0;  // of the tile: its first row, all of them, those that take part
  RowTile rows_;
  Points points_;
  Argmin argmin_;
  Refine refine_;
  std::vector<Hit> hits_;
  std::vector<std::uint8_t> takes_part_;
  Buffer<float> scores_;               // (capacity, panel width)
  Buffer<float> gathered_thresholds_;  // (capacity)
  Buffer<float> seed_scores_;          // (capacity) the best score so far
  std::vector<std::int32_t> seeds_;    // and whose it is: a place, or kNone
};

}  // namespace fastkmeans::cpu
