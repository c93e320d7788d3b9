// SPDX-License-Identifier: Apache-2.0
#include "cpu/narrow.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

class NarrowTile {
 public:
  NarrowTile(const AssignTask& task) : task_(task), ld_(padded(task.x.cols)), bound_(FilterBound::narrow(task.x.cols)) {
    // From zeros: the rows beyond the last are scored too, and nobody asks for the result.
    rows_.assign(static_cast<std::size_t>(kNarrowRows * ld_), 0.0f);
    columns_.resize(kNarrowRows * task.x.cols);
  }

  void assign(std::int64_t first, std::int64_t count, AssignCounts& counts) {
    const Kernels& kernels = task_.kernels;
    const PreparedCentroids& centroids = task_.centroids;
    const std::int64_t d = task_.x.cols;
    kernels.load_rows(task_.x, first, count, rows_.data(), ld_);
    const bool all_good = kernels.largest_bits(rows_.data(), count * ld_) < magnitude_limit_bits(d);
    kernels.to_columns(rows_.data(), ld_, kNarrowRows, d, centroids.mu.data(), columns_.data(), sq_norms_.data());
    kernels.nearest_two({columns_.data(), (count + kNarrowGroup - 1) / kNarrowGroup * kNarrowGroup, d,
                         (centroids.k + kNarrowPadding - 1) / kNarrowPadding * kNarrowPadding, centroids.packed.data(),
                         centroids.starts.data(), second_.data(), who_.data()});
    for (std::int64_t i = 0; i < count; ++i)
      distances_[static_cast<std::size_t>(i)] =
          kernels.distance(row(i), centroids.row(who_[static_cast<std::size_t>(i)]), ld_);
    kernels.thresholds(distances_.data(), sq_norms_.data(), kNarrowRows, bound_, thresholds_.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto s = static_cast<std::size_t>(i);
      if (!all_good && kernels.largest_bits(row(i), ld_) >= magnitude_limit_bits(d)) {
        counts.check.note(first + i);
        who_[s] = 0;
        distances_[s] = 0;
      } else if (!(second_[s] < thresholds_[s])) {
        search(i, counts);
      }
      counts.changed += !task_.previous || task_.previous[first + i] != who_[s];
      task_.labels[first + i] = who_[s];
      task_.distances[first + i] = distances_[s];
    }
    counts.scored += count * centroids.k;
  }

 private:
  const float* row(std::int64_t i) const { return &rows_[static_cast<std::size_t>(i * ld_)]; }

  // Two scores too near to tell: all distances.
  void search(std::int64_t i, AssignCounts& counts) {
    const auto s = static_cast<std::size_t>(i);
    for (std::int32_t c = 0; c < task_.centroids.k; ++c) {
      const float d = task_.kernels.distance(row(i), task_.centroids.row(c), ld_);
      if (c == 0 || d < distances_[s]) {
        distances_[s] = d;
        who_[s] = c;
      }
    }
    counts.refined += task_.centroids.k;
  }

  const AssignTask& task_;
  std::int64_t ld_;
  FilterBound::Narrow bound_;
  std::vector<float> rows_;  // (kNarrowRows, ld)
  Buffer<float> columns_;    // (d, kNarrowRows) less the centre
  std::array<float, kNarrowRows> sq_norms_, second_, distances_, thresholds_;
  std::array<std::int32_t, kNarrowRows> who_;
};

}  // namespace

AssignCounts assign_narrow(const AssignTask& task, Workers& workers) {
  std::vector<std::unique_ptr<NarrowTile>> tiles(static_cast<std::size_t>(workers.count()));
  std::vector<AssignCounts> counts(tiles.size());
  const double operations = 2.0 * static_cast<double>(task.x.rows) * static_cast<double>(task.centroids.k + 8) *
                            static_cast<double>(task.x.cols);
  GiveUp give_up(task);
  const auto assign_tile = [&](std::int64_t first, std::int64_t count, int seat) {
    if (give_up.refuses(first)) return;
    auto& mine = tiles[static_cast<std::size_t>(seat)];
    if (!mine) mine = std::make_unique<NarrowTile>(task);
    workers.checkpoint(seat);
    AssignCounts tile;
    mine->assign(first, count, tile);
    counts[static_cast<std::size_t>(seat)].add_tile(tile, true);
    give_up.note(first, count, tile.refined, true);
  };
  workers.for_blocks(task.x.rows, task.tile_rows, operations, assign_tile,
                     kNarrowRows * (padded(task.x.cols) + task.x.cols) * 4);
  AssignCounts total = total_of(counts);
  total.undone = give_up.undone();
  return total;
}

}  // namespace fastkmeans::cpu
