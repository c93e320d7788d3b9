// SPDX-License-Identifier: Apache-2.0
#include "cpu/filter.hpp"

#include <algorithm>

namespace fastkmeans::cpu {
namespace {

template <class Points, class Selection>
class AllPanels {
 public:
  AllPanels(const AssignTask& task, const typename Points::Shared& shared)
      : tile_(task, shared), panels_(shared.panels.count) {}

  bool assign(std::int64_t first, std::int64_t count, int worker, AssignCounts& counts) {
    tile_.load(first, count, counts.check);
    tile_.seed(worker, counts.effort);
    NoBounds none;
    if (tile_.taken() > 0 && !tile_.scan(tile_.all(), 0, panels_, none, worker, counts.effort)) return false;
    tile_.answer(counts);
    return true;
  }

 private:
  FilterTile<Points, Selection> tile_;
  std::int64_t panels_;
};

template <class Points>
class BoundedPanels {
 public:
  BoundedPanels(const AssignTask& task, const typename Points::Shared& shared, LowerBounds& bounds)
      : tile_(task, shared),
        workers_(task.context.workers),
        panels_(bounds.group_panels()),
        mover_panels_(bounds.mover_panels()),
        panels_per_group_(bounds.panels_per_group()),
        groups_(bounds.groups().count()),
        known_(bounds.known()),
        bounds_(bounds, shared.bound, task.context.kernels, whole_groups(task.tile_rows, shared.row_group())) {}

  bool assign(std::int64_t first, std::int64_t count, int worker, AssignCounts& counts) {
    tile_.load(first, count, counts.check);
    tile_.seed(worker, counts.effort);
    bounds_.begin(first, count);
    if (!scan_movers(worker, counts.effort)) return false;
    for (std::int64_t group = 0; group < groups_; ++group) {
      if (group % kGroupsPerCheckpoint == 0) workers_.checkpoint(worker);
      const std::int64_t chosen = known_ ? bounds_.choose(group, tile_.radii()) : count;
      bounds_.lower_to_movers(group);  // mutant: movers_lower
      if (chosen == 0) continue;
      if (!known_ || static_cast<double>(chosen) > kDense * static_cast<double>(count)) {
        const auto points = tile_.all();
        if (!scan(group, points, worker, counts.effort)) return false;
        bounds_.learn_all(group, points.view.sq_norms(), points.view.errors());
      } else {
        const auto points = tile_.gather(bounds_.chosen(), chosen);
        if (!scan(group, points, worker, counts.effort)) return false;
        bounds_.learn_chosen(group, chosen, points.view.sq_norms(), points.view.errors());
      }
    }
    tile_.answer(counts);
    return true;
  }

 private:
  // Where more of a tile's rows than this need a group of centroids, all are scanned: gathering costs as much.
  static constexpr double kDense = 0.7;
  // Microseconds where no row needs any of them.
  static constexpr std::int64_t kGroupsPerCheckpoint = 64;

  bool scan_movers(int worker, Effort& effort) {
    const auto points = tile_.all();
    for (std::int64_t panel = 0; panel < mover_panels_; ++panel) {
      bounds_.begin_group();
      if (!tile_.scan(points, panels_ + panel, panels_ + panel + 1, bounds_, worker, effort)) return false;
      bounds_.learn_movers(panel, points.view.sq_norms(), points.view.errors());
    }
    return true;
  }

  template <class SomePoints>
  bool scan(std::int64_t group, const SomePoints& points, int worker, Effort& effort) {
    const std::int64_t begin = group * panels_per_group_, end = std::min(begin + panels_per_group_, panels_);
    bounds_.begin_group();
    return tile_.scan(points, begin, end, bounds_, worker, effort);
  }

  FilterTile<Points, AllRows> tile_;
  Workers& workers_;
  std::int64_t panels_, mover_panels_, panels_per_group_, groups_;
  bool known_;
  TileBounds bounds_;
};

// Of a tile: its rows, and its points.
template <class Shared>
std::int64_t scratch_bytes(const AssignTask& task, const Shared& shared) {
  const std::int64_t capacity = whole_groups(task.tile_rows, shared.row_group());
  return 2 * capacity * shared.centroids.ld * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

template <class Points, class Selection>
AssignCounts assign_all(const AssignTask& task, const typename Points::Shared& shared) {
  return assign_tiles<AllPanels<Points, Selection>>(task, shared.centroids.k, scratch_bytes(task, shared), shared);
}

template <class Points>
AssignCounts assign_bounded(const AssignTask& task, const typename Points::Shared& shared, LowerBounds& bounds) {
  return assign_tiles<BoundedPanels<Points>>(task, shared.centroids.k, scratch_bytes(task, shared), shared, bounds);
}

template AssignCounts assign_all<CentredPoints, AllRows>(const AssignTask&, const CentredPoints::Shared&);
template AssignCounts assign_all<CentredPoints, OtherRows>(const AssignTask&, const CentredPoints::Shared&);
template AssignCounts assign_all<CentredPoints, TinyRows>(const AssignTask&, const CentredPoints::Shared&);
template AssignCounts assign_all<SketchedPoints, AllRows>(const AssignTask&, const SketchedPoints::Shared&);
template AssignCounts assign_bounded<CentredPoints>(const AssignTask&, const CentredPoints::Shared&, LowerBounds&);
template AssignCounts assign_bounded<SketchedPoints>(const AssignTask&, const SketchedPoints::Shared&, LowerBounds&);

}  // namespace fastkmeans::cpu
