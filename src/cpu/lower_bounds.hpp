// SPDX-License-Identifier: Apache-2.0
// What an assignment learned about the next: lower bounds on the distances of each row to each group of centroids, good
// until the centroids have drifted too far. Yinyang k-means (Ding et al., ICML 2015), with the groups' best scores in
// place of distances, and with movers: centroids that moved so far that all rows are scored against them, and the drift
// of their group is that of the others (docs/filter.md section 6.5).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "numeric/centroids_view.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"
#include "sketch/groups.hpp"
#include "sketch/lift.hpp"
#include "sketch/lower_bound.hpp"

namespace fastkmeans::cpu {

// A row that movers are chosen by.
struct SampledRow {
  std::int64_t row;
  float radius;  // about its distance to the nearest centroid
};

class LowerBounds {
 public:
  // Of `rows` rows in tiles of `tile_rows`; a group is a panel, or several where the bounds would need more than
  // kMostBytes a row. typical_distance: of a row to its centroid; 0: unknown.
  LowerBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
              double typical_distance, Workers& workers, const Lift& lift = {});

  // Of a row of d dimensions.
  static std::int64_t most_groups(std::int64_t d) { return std::clamp(4 * d, kFewBytes, kMostBytes) / kBytes; }

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
  std::int64_t bytes() const { return values_.size() * kBytes; }

  // The centroids moved here. Those that moved farthest become movers, as many as make the next assignment of the
  // sampled rows the cheapest.
  void move_to(CentroidsView centroids, const std::vector<SampledRow>& sample, Workers& workers, const Lift& lift = {});

  // The centroids as panels hold them: the groups, filled up to whole panels by -1, then the movers, in the same order.
  std::vector<std::int32_t> places() const;
  std::int64_t group_panels() const { return (std::ssize(groups_.order) + panel_width_ - 1) / panel_width_; }
  std::int64_t mover_panels() const { return (std::ssize(movers_) + panel_width_ - 1) / panel_width_; }
  // The movers of a group are [movers_of(group), movers_of(group + 1)).
  std::int64_t movers_of(std::int64_t group) const { return first_mover_[static_cast<std::size_t>(group)]; }
  std::int64_t panel_width() const { return panel_width_; }

  // The bounds of the rows of the tile that begins with row `first`: values(first, group)[i] is that of row first + i.
  StoredBound* values(std::int64_t first, std::int64_t group) {
    const std::int64_t tile = first / tile_rows_;
    return values_.data() + tile * groups_.count() * stride_ + group * (tile == last_tile_ ? last_stride_ : stride_);
  }
  std::int32_t drift(std::int64_t group) const { return drift_[static_cast<std::size_t>(group)]; }
  float inverse_unit() const { return inverse_unit_; }

 private:
  // The bounds of a row: as many as 8192 centroids in panels of 16 have, and never more than the row itself in fp32 or
  // kFewBytes. The rows of a tile count up to the next multiple of kPadding.
  static constexpr std::int64_t kMostBytes = 1024, kFewBytes = 64;
  static constexpr std::int64_t kBytes = sizeof(StoredBound);

  // What the next assignment meets where all centroids that moved farther than `most` are movers.
  struct Movers {
    float most;
    std::int64_t count;
    std::vector<std::int32_t> drift;  // (groups)
  };

  std::int64_t members(std::int64_t group) const {
    return std::min(groups_.members, static_cast<std::int64_t>(groups_.order.size()) - group * groups_.members);
  }
  // None, and if any are wanted some more and more.
  std::vector<Movers> candidates(const std::vector<float>& moves, bool any, Workers& workers) const;
  // By the scores that the sampled rows then need.
  Movers cheapest(std::vector<Movers> candidates, const std::vector<SampledRow>& sample, Workers& workers);
  void rebase(std::int64_t group);

  std::int64_t rows_, tile_rows_, last_tile_, stride_, last_stride_, panel_width_;
  float inverse_unit_;
  bool known_ = false;
  Groups groups_;
  Buffer<float> centroids_;          // (k, d) where they were
  Lift lift_;                        // and how high
  std::vector<std::int32_t> drift_;  // (groups) of those that are not movers, summed up: see lower_bound.hpp
  std::vector<std::int32_t> movers_, first_mover_;  // (movers), (groups + 1)
  Buffer<StoredBound> values_;                      // (tiles, groups, stride): the rows of a tile, and up to a vector
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
  // Likewise for a panel of movers, all rows of the tile.
  void learn_movers(std::int64_t panel, const float* sq_norms, const float* errors);
  // Lowers the bounds of the group to what is known of its movers; whoever is chosen and scanned learns more.
  void lower_to_movers(std::int64_t group);

 private:
  void lower(std::int32_t drift, std::int64_t count, const float* sq_norms, const float* errors,
             StoredBound* out) const;
  StoredBound* of_movers(std::int64_t panel) { return movers_.data() + panel * std::ssize(best_); }

  LowerBounds& bounds_;
  const FilterBound& filter_;
  const Kernels& kernels_;
  std::int64_t first_ = 0, rows_ = 0;
  std::vector<std::int32_t> chosen_;
  std::vector<float> best_, group_best_;  // of the scanned rows
  std::vector<StoredBound> lower_;        // likewise
  std::vector<StoredBound> movers_;       // (panels of movers, rows)
};

}  // namespace fastkmeans::cpu
