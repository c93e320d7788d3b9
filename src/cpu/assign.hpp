// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row, by filter and refine.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "cpu/drift.hpp"
#include "cpu/prepare.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// Sketches of rows and what the bound knows of them, (count) each.
struct RowSketches {
  Buffer<std::int8_t> q;  // (count, size)
  Buffer<float> scales;
  Buffer<std::int32_t> sums;
  Buffer<float> heads, reaches;  // FilterBound::Point
  bool complete = false;         // made by an earlier assignment of the same rows; these rows are good

  void resize(std::int64_t count, std::int64_t size);
};

struct AssignTask {
  const MatrixView& x;
  const PreparedCentroids& centroids;  // unscaled
  const PreparedCentroids* tiny;       // scaled, for rows below kTinyBelow; null unless all centroids are below it too
  const FilterBound& bound;
  const Kernels& kernels;
  std::int64_t tile_rows;         // rows a thread works on at a time
  std::int64_t panels_at_a_time;  // between two checkpoints
  RowSketches* kept;              // sketches of all rows of x, to be made or used; null: made for each tile anew
  DriftBounds* bounds;            // null: none are kept
  bool bounds_known;              // from an earlier assignment; else they are made here
  double most_refined;            // give up where more distances a row than this must be computed; 0: never
  const std::vector<std::uint8_t>* only;  // the tiles to do; null: all
  const std::int32_t* previous;           // as in Backend::assign
  std::int32_t* labels;
  float* distances;
};

// Of the tiles that were finished.
struct AssignCounts {
  RowCheck check;
  std::int64_t refined = 0;          // distances computed because a score passed
  std::int64_t scored = 0;           // pairs that were scored
  std::int64_t changed = 0;          // rows whose label differs from the previous one
  Effort abandoned;                  // of tiles that were not finished
  std::vector<std::uint8_t> undone;  // (tiles) whether a tile was left to others; empty: none was

  void add(const AssignCounts& other);
  // The same for a tile, finished or not.
  void add_tile(const AssignCounts& tile, bool finished);
};

// Watches whether more distances a row are computed than the plan allows, and who is done.
class GiveUp {
 public:
  explicit GiveUp(const AssignTask& task)
      : task_(task), done_(static_cast<std::size_t>((task.x.rows + task.tile_rows - 1) / task.tile_rows)) {}

  // Whether the tile that begins with this row is not to be begun here.
  bool refuses(std::int64_t first) const { return task_.only ? !(*task_.only)[tile(first)] : given_up_.load(); }
  // A tile was worked on. Only what is finished is done: a tile that was refused, for whatever reason, is not.
  void note(std::int64_t first, std::int64_t rows, std::int64_t refined, bool finished) {
    if (finished) done_[tile(first)] = 1;
    const auto all = static_cast<double>(refined_ += refined), begun = static_cast<double>(rows_ += rows);
    if (task_.most_refined > 0 && all > task_.most_refined * begun) given_up_ = true;
  }
  // (tiles), or empty if all were done.
  std::vector<std::uint8_t> undone() const {
    std::vector<std::uint8_t> undone;
    if (std::find(done_.begin(), done_.end(), 0) == done_.end()) return undone;
    for (const std::uint8_t done : done_) undone.push_back(!done);
    return undone;
  }

 private:
  std::size_t tile(std::int64_t first) const { return static_cast<std::size_t>(first / task_.tile_rows); }

  const AssignTask& task_;
  std::vector<std::uint8_t> done_;  // each written by the one thread that has the tile
  std::atomic<std::int64_t> rows_{0}, refined_{0};
  std::atomic<bool> given_up_{false};
};

AssignCounts total_of(const std::vector<AssignCounts>& parts);

AssignCounts assign(const AssignTask& task, Workers& workers);

}  // namespace fastkmeans::cpu
