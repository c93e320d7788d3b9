// SPDX-License-Identifier: Apache-2.0
#include "cpu/filter.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

namespace fastkmeans::cpu {
namespace {

template <class Points, class Selection>
class AllPanels {
 public:
  template <class... Args>
  explicit AllPanels(Args&&... args) : tile_(args...) {}

  bool assign(std::int64_t first, std::int64_t count, int worker, AssignCounts& counts) {
    const std::int64_t taken = tile_.load(first, count, counts.check);
    if (taken > 0 && !scan(taken, worker, counts.effort)) return false;
    tile_.answer(counts);
    return true;
  }

 private:
  bool scan(std::int64_t taken, int worker, Effort& effort) {
    const auto view = tile_.points().view(tile_.size());
    for (std::int64_t panel = 0; panel < tile_.panels().count; ++panel) {
      effort.scored += taken * tile_.members(panel, panel + 1);  // mutant: counted_rows
      if (!tile_.may_go_on(panel, worker, effort)) return false;
      effort.refined += tile_.scan(
          view, panel, tile_.argmin().thresholds(), [](std::int32_t i) { return i; }, nullptr);
    }
    return true;
  }

  FilterTile<Points, Selection> tile_;
};

template <class Points>
class BoundedPanels {
 public:
  BoundedPanels(const AssignTask& task, const typename Points::Source& source, const typename Points::Panels& panels,
                LowerBounds& bounds, Workers& workers, std::int64_t capacity)
      : tile_(task, source, panels, workers, capacity),
        workers_(workers),
        panels_per_group_(bounds.panels_per_group()),
        groups_(bounds.groups().count()),
        known_(bounds.known()),
        bounds_(bounds, source.bound, task.kernels, capacity),
        thresholds_(static_cast<std::size_t>(capacity)) {}

  bool assign(std::int64_t first, std::int64_t count, int worker, AssignCounts& counts) {
    taken_ = tile_.load(first, count, counts.check);
    bounds_.begin(first, count);
    for (std::int64_t group = 0; group < groups_; ++group) {
      if (group % kGroupsPerCheckpoint == 0) workers_.checkpoint(worker);
      const std::int64_t chosen = known_ ? bounds_.choose(group, tile_.argmin().radii()) : count;
      if (chosen == 0) continue;
      const bool all = !known_ || static_cast<double>(chosen) > kDense * static_cast<double>(count);
      if (!(all ? scan_all(group, worker, counts.effort) : scan_chosen(group, chosen, worker, counts.effort)))
        return false;
    }
    tile_.answer(counts);
    return true;
  }

 private:
  using View = typename Points::View;
  // Where more of a tile's rows than this need a group of centroids, all are scanned: gathering costs as much.
  static constexpr double kDense = 0.7;
  // Microseconds where no row needs any of them.
  static constexpr std::int64_t kGroupsPerCheckpoint = 64;

  std::int64_t begin_of(std::int64_t group) const { return group * panels_per_group_; }
  std::int64_t end_of(std::int64_t group) const {
    return std::min(begin_of(group) + panels_per_group_, tile_.panels().count);
  }
  bool has_copy(std::int64_t group) const {
    const auto flags = tile_.panels().has_copy.begin();
    // mutant: copies_of_a_group
    return std::find(flags + begin_of(group), flags + end_of(group), 1) != flags + end_of(group);
  }

  // The panels of a group for the points in view. thresholds() is asked before each panel, since each raises some.
  template <class Thresholds, class SlotOf>
  bool scan(std::int64_t group, const View& view, const Thresholds& thresholds, const SlotOf& slot_of, int worker,
            Effort& effort) {
    for (std::int64_t panel = begin_of(group); panel < end_of(group); ++panel) {
      if (!tile_.may_go_on(panel, worker, effort)) return false;
      effort.refined += tile_.scan(view, panel, thresholds(), slot_of, bounds_.best());
      if (panel == begin_of(group))
        bounds_.begin_group(view.count);
      else
        bounds_.add_panel(view.count);
    }
    return true;
  }

  bool scan_all(std::int64_t group, int worker, Effort& effort) {
    const View view = tile_.points().view(tile_.size());
    effort.scored += taken_ * tile_.members(begin_of(group), end_of(group));  // mutant: bounded_counted_rows
    if (!scan(
            group, view, [&] { return tile_.argmin().thresholds(); }, [](std::int32_t i) { return i; }, worker, effort))
      return false;
    if (has_copy(group))  // mutant: copies_have_no_bound
      bounds_.forget_all(group);
    else
      bounds_.learn_all(group, view.sq_norms, view.errors);
    return true;
  }

  bool scan_chosen(std::int64_t group, std::int64_t count, int worker, Effort& effort) {
    const std::int32_t* chosen = bounds_.chosen();
    const View view = tile_.points().gather(chosen, count);
    std::fill(thresholds_.begin() + count, thresholds_.begin() + view.count, std::numeric_limits<float>::quiet_NaN());
    const auto thresholds = [&] {
      for (std::int64_t i = 0; i < count; ++i)
        thresholds_[static_cast<std::size_t>(i)] = tile_.argmin().threshold(chosen[i]);  // mutant: thresholds_gathered
      return thresholds_.data();
    };
    effort.scored += count * tile_.members(begin_of(group), end_of(group));
    if (!scan(
            // mutant: hits_scattered
            group, view, thresholds, [chosen](std::int32_t i) { return chosen[i]; }, worker, effort))
      return false;
    if (has_copy(group))  // mutant: chosen_copies_have_no_bound
      bounds_.forget_chosen(group, count);
    else
      bounds_.learn_chosen(group, count, view.sq_norms, view.errors);
    return true;
  }

  FilterTile<Points, AllRows> tile_;
  Workers& workers_;
  std::int64_t panels_per_group_, groups_;
  bool known_;
  std::int64_t taken_ = 0;  // rows of the tile that take part
  TileBounds bounds_;
  std::vector<float> thresholds_;  // of the chosen rows
};

// make(capacity): a tile for so many rows.
template <class Points, class Make>
AssignCounts assign_tiles_of(const AssignTask& task, const typename Points::Source& source, Workers& workers,
                             const Make& make) {
  const std::int64_t capacity = whole_groups(task.tile_rows, source.row_group());
  const double operations = 2.0 * static_cast<double>(task.x.rows) * static_cast<double>(source.centroids.k + 4) *
                            static_cast<double>(task.x.cols);
  const std::int64_t scratch_bytes = 2 * capacity * source.centroids.ld * static_cast<std::int64_t>(sizeof(float));
  return assign_tiles(task, operations, scratch_bytes, workers, [&] { return make(capacity); });
}

}  // namespace

template <class Points, class Selection>
AssignCounts assign_all(const AssignTask& task, const typename Points::Source& source,
                        const typename Points::Panels& panels, Workers& workers) {
  return assign_tiles_of<Points>(task, source, workers, [&](std::int64_t capacity) {
    return std::make_unique<AllPanels<Points, Selection>>(task, source, panels, workers, capacity);
  });
}

template <class Points>
AssignCounts assign_bounded(const AssignTask& task, const typename Points::Source& source,
                            const typename Points::Panels& panels, LowerBounds& bounds, Workers& workers) {
  return assign_tiles_of<Points>(task, source, workers, [&](std::int64_t capacity) {
    return std::make_unique<BoundedPanels<Points>>(task, source, panels, bounds, workers, capacity);
  });
}

template AssignCounts assign_all<CentredPoints, AllRows>(const AssignTask&, const CentredPoints::Source&,
                                                         const FloatPanels&, Workers&);
template AssignCounts assign_all<CentredPoints, OtherRows>(const AssignTask&, const CentredPoints::Source&,
                                                           const FloatPanels&, Workers&);
template AssignCounts assign_all<CentredPoints, TinyRows>(const AssignTask&, const CentredPoints::Source&,
                                                          const FloatPanels&, Workers&);
template AssignCounts assign_all<SketchedPoints, AllRows>(const AssignTask&, const SketchedPoints::Source&,
                                                          const SketchPanels&, Workers&);
template AssignCounts assign_bounded<CentredPoints>(const AssignTask&, const CentredPoints::Source&, const FloatPanels&,
                                                    LowerBounds&, Workers&);
template AssignCounts assign_bounded<SketchedPoints>(const AssignTask&, const SketchedPoints::Source&,
                                                     const SketchPanels&, LowerBounds&, Workers&);

}  // namespace fastkmeans::cpu
