// SPDX-License-Identifier: Apache-2.0
// Watches whether more distances a row are computed than the plan allows, and which tiles are done.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace fastkmeans::cpu {

// For each tile whether it is meant; empty: none.
using TileSet = std::vector<std::uint8_t>;

class GiveUp {
 public:
  // most_refined: distances a row; 0: no limit. only: the tiles to do; null: all.
  GiveUp(std::int64_t rows, std::int64_t tile_rows, double most_refined, const TileSet* only)
      : tile_rows_(tile_rows),
        most_refined_(most_refined),
        only_(only),
        done_(static_cast<std::size_t>((rows + tile_rows - 1) / tile_rows)) {}  // mutant: tiles_left

  // Whether the tile that begins with this row is not to be begun here.
  // mutant: refused_tiles
  bool refuses(std::int64_t first) const { return only_ ? !(*only_)[tile(first)] : given_up_.load(); }
  // A tile was worked on. Only what is finished is done: a tile that was refused, for whatever reason, is not.
  void note(std::int64_t first, std::int64_t rows, std::int64_t refined, bool finished) {
    if (finished) done_[tile(first)] = 1;  // mutant: tile_done
    const auto all = static_cast<double>(refined_ += refined), begun = static_cast<double>(rows_ += rows);
    if (most_refined_ > 0 && all > most_refined_ * begun) given_up_ = true;  // mutant: given_up
  }
  // The tiles that were not done, or empty if all were.
  TileSet undone() const {
    TileSet undone;
    if (std::find(done_.begin(), done_.end(), 0) == done_.end()) return undone;  // mutant: all_done
    for (const std::uint8_t done : done_) undone.push_back(!done);
    return undone;
  }

 private:
  std::size_t tile(std::int64_t first) const { return static_cast<std::size_t>(first / tile_rows_); }

  std::int64_t tile_rows_;
  double most_refined_;
  const TileSet* only_;
  TileSet done_;  // each written by the one thread that has the tile
  std::atomic<std::int64_t> rows_{0}, refined_{0};
  std::atomic<bool> given_up_{false};
};

}  // namespace fastkmeans::cpu
