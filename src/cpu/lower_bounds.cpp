// SPDX-License-Identifier: Apache-2.0
#include "cpu/lower_bounds.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {

namespace {

// Movers are scored by all rows, so they are few; their numbers are tried in steps of 2.
constexpr std::int64_t kMostMovers = 8;  // a part of k

}  // namespace

LowerBounds::LowerBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
                         double typical_distance, Workers& workers, const Lift& lift)
    : rows_(rows),
      tile_rows_(tile_rows),
      last_tile_((rows - 1) / tile_rows),
      stride_(padded(tile_rows)),
      last_stride_(padded(rows - last_tile_ * tile_rows)),  // mutant: last_tile_stride
      panel_width_(panel_width),
      inverse_unit_(inverse_bound_unit(typical_distance)),
      centroids_(centroids.k * centroids.d),
      lift_(lift) {
  const double copied = static_cast<double>(centroids_.size());
  workers.for_blocks(centroids.k, kCentroidsPerTask, copied, [&](std::int64_t first, std::int64_t count, int) {
    std::copy_n(centroids.row(first), count * centroids.d, &centroids_[first * centroids.d]);
  });
  const std::int64_t panels = (centroids.k + panel_width - 1) / panel_width;
  // Tiles are filled up to whole vectors: where they are short, fewer groups keep the promise. Tiles of one row still
  // may have kFewBytes / 2 / kPadding = 2.
  const std::int64_t most = most_groups(centroids.d) * tile_rows / stride_;  // mutant: bounds_a_tile
  const std::int64_t panels_per_group = (panels + most - 1) / most;
  groups_ = Groups(centroids.values, centroids.k, centroids.d, panel_width, panels_per_group * panel_width, workers);
  drift_.assign(static_cast<std::size_t>(groups_.count()), 0);
  first_mover_.assign(drift_.size() + 1, 0);
  values_.resize(groups_.count() * (last_tile_ * stride_ + last_stride_));
}

std::vector<std::int32_t> LowerBounds::places() const {
  std::vector<std::int32_t> places = groups_.order;
  if (movers_.empty()) return places;
  places.resize(static_cast<std::size_t>(group_panels() * panel_width_), -1);
  places.insert(places.end(), movers_.begin(), movers_.end());
  return places;
}

void LowerBounds::move_to(CentroidsView centroids, const std::vector<SampledRow>& sample, Workers& workers,
                          const Lift& lift) {
  std::vector<float> moves(groups_.order.size());
  const double operations = 4.0 * static_cast<double>(centroids.k) * static_cast<double>(centroids.d);
  workers.for_blocks(centroids.k, kPadding, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c) {
      float* before = centroids_.data() + c * centroids.d;
      // mutant: heights_move
      const double risen = sq_between_heights(lift_.sq_height(c), lift.sq_height(c));
      const double moved = std::sqrt(sq_distance(centroids.row(c), before, centroids.d) + risen);
      // fp64 sums of squares and a root, rounded up; beyond the range of fp32 nobody asks how far.
      moves[static_cast<std::size_t>(c)] =
          round_up(std::min(moved * (1 + kFp64Slack) * static_cast<double>(inverse_unit_), 0x1p100));
      std::copy_n(centroids.row(c), centroids.d, before);  // mutant: lower_bound_moves_from_last
    }
  });
  lift_ = lift;
  const Movers chosen = cheapest(candidates(moves, !sample.empty(), workers), sample, workers);
  drift_ = chosen.drift;
  movers_.clear();
  for (std::int64_t place = 0; place < std::ssize(groups_.order); ++place) {
    const std::int32_t c = groups_.order[static_cast<std::size_t>(place)];
    if (place % groups_.members == 0)
      first_mover_[static_cast<std::size_t>(place / groups_.members)] = static_cast<std::int32_t>(movers_.size());
    if (moves[static_cast<std::size_t>(c)] > chosen.most) movers_.push_back(c);
  }
  first_mover_.back() = static_cast<std::int32_t>(movers_.size());
  workers.for_each(groups_.count(), static_cast<double>(values_.size()), [&](std::int64_t group, int) {
    if (drift(group) > kMostDrift) rebase(group);  // mutant: lower_bound_drift_fits
  });
}

std::vector<LowerBounds::Movers> LowerBounds::candidates(const std::vector<float>& moves, bool any,
                                                         Workers& workers) const {
  const std::int64_t most = any ? std::ssize(moves) / kMostMovers : 0;
  std::vector<float> farthest = moves;
  std::nth_element(farthest.begin(), farthest.begin() + most, farthest.end(), std::greater<>());
  std::sort(farthest.begin(), farthest.begin() + most, std::greater<>());
  std::vector<Movers> candidates;
  for (std::int64_t count = 0; count <= most; count = std::max(panel_width_, 2 * count))
    candidates.push_back({.most = farthest[static_cast<std::size_t>(count)], .count = count, .drift = drift_});
  const double operations = 4.0 * static_cast<double>(candidates.size() * moves.size());
  workers.for_each(std::ssize(candidates), operations, [&](std::int64_t m, int) {
    Movers& movers = candidates[static_cast<std::size_t>(m)];
    for (std::int64_t group = 0; group < groups_.count(); ++group) {
      float largest = 0;
      for (std::int64_t i = 0; i < members(group); ++i) {
        const std::int32_t c = groups_.order[static_cast<std::size_t>(group * groups_.members + i)];
        const float moved = moves[static_cast<std::size_t>(c)];
        if (moved <= movers.most) largest = std::max(largest, moved);  // mutant: lower_bound_farthest_move
      }
      std::int32_t& drift = movers.drift[static_cast<std::size_t>(group)];
      drift = drift_after(drift, largest);
    }
  });
  return candidates;
}

LowerBounds::Movers LowerBounds::cheapest(std::vector<Movers> candidates, const std::vector<SampledRow>& sample,
                                          Workers& workers) {
  // Scores that the sampled rows need.
  std::vector<std::int64_t> scores(sample.size() * candidates.size());
  const auto bounds = static_cast<double>(scores.size()) * static_cast<double>(groups_.count());
  workers.for_each(std::ssize(sample), bounds, [&](std::int64_t i, int) {
    const SampledRow& row = sample[static_cast<std::size_t>(i)];
    const std::int64_t in_tile = row.row % tile_rows_;
    std::int64_t* mine = &scores[static_cast<std::size_t>(i) * candidates.size()];
    for (std::int64_t group = 0; group < groups_.count(); ++group) {
      const StoredBound bound = values(row.row - in_tile, group)[in_tile];
      for (std::size_t m = 0; m < candidates.size(); ++m)
        if (!excludes(bound, candidates[m].drift[static_cast<std::size_t>(group)], row.radius * inverse_unit_))
          mine[m] += members(group);
    }
  });
  std::size_t best = 0;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::size_t m = 0; m < candidates.size(); ++m) {
    std::int64_t cost = candidates[m].count * std::ssize(sample);
    for (std::size_t i = 0; i < sample.size(); ++i) cost += scores[i * candidates.size() + m];
    if (cost < least) least = cost, best = m;  // mutant: cheapest_movers
  }
  return std::move(candidates[best]);
}

void LowerBounds::rebase(std::int64_t group) {
  for (std::int64_t first = 0; first < rows_; first += tile_rows_) {
    StoredBound* bounds = values(first, group);
    for (std::int64_t i = 0; i < std::min(tile_rows_, rows_ - first); ++i) bounds[i] = rebased(bounds[i], drift(group));
  }
  drift_[static_cast<std::size_t>(group)] = 0;
}

TileBounds::TileBounds(LowerBounds& bounds, const FilterBound& filter, const Kernels& kernels, std::int64_t capacity)
    : bounds_(bounds),
      filter_(filter),
      kernels_(kernels),
      chosen_(static_cast<std::size_t>(capacity + kPadding)),  // kernels write whole vectors
      best_(chosen_.size()),
      group_best_(chosen_.size()),
      lower_(chosen_.size()),
      movers_(static_cast<std::size_t>(bounds.mover_panels()) * chosen_.size()) {}

std::int64_t TileBounds::choose(std::int64_t group, const float* radii) {
  return kernels_.choose(bounds_.values(first_, group), bounds_.drift(group), bounds_.inverse_unit(), radii, rows_,
                         chosen_.data());
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

void TileBounds::lower(std::int32_t drift, std::int64_t count, const float* sq_norms, const float* errors,
                       StoredBound* out) const {
  kernels_.lower_bounds(group_best_.data(), sq_norms, errors, filter_.inverse_underflow(), filter_.inverse_factor(),
                        bounds_.inverse_unit(), drift, count, out);
}

void TileBounds::learn_all(std::int64_t group, const float* sq_norms, const float* errors) {
  lower(bounds_.drift(group), rows_, sq_norms, errors, bounds_.values(first_, group));
}

void TileBounds::learn_chosen(std::int64_t group, std::int64_t count, const float* sq_norms, const float* errors) {
  lower(bounds_.drift(group), count, sq_norms, errors, lower_.data());
  StoredBound* values = bounds_.values(first_, group);
  // mutant: bounds_scattered
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) values[chosen_[i]] = lower_[i];
}

void TileBounds::learn_movers(std::int64_t panel, const float* sq_norms, const float* errors) {
  lower(0, rows_, sq_norms, errors, of_movers(panel));
}

void TileBounds::lower_to_movers(std::int64_t group) {
  const std::int64_t begin = bounds_.movers_of(group), end = bounds_.movers_of(group + 1);
  if (begin == end) return;
  const std::int32_t drift = bounds_.drift(group);
  StoredBound* values = bounds_.values(first_, group);
  // Panels also hold movers of other groups: their best scores are not below those of the group's own.
  for (std::int64_t panel = begin / bounds_.panel_width(); panel <= (end - 1) / bounds_.panel_width(); ++panel) {
    const StoredBound* movers = of_movers(panel);
    for (std::int64_t i = 0; i < rows_; ++i) values[i] = lowered(values[i], drift, movers[i]);
  }
}

}  // namespace fastkmeans::cpu
