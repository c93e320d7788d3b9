// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row, by filter and refine.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "cpu/drift.hpp"
#include "cpu/prepare.hpp"
#include "statistics.hpp"

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

struct AssignCounts {
  RowCheck check;
  std::int64_t refined = 0;          // distances computed because a score passed
  std::int64_t scored = 0;           // pairs that were scored
  std::int64_t changed = 0;          // rows whose label differs from the previous one
  std::vector<std::uint8_t> undone;  // (tiles) whether a tile was given up; empty: none was
};

// Watches whether more distances a row are computed than the plan allows.
class GiveUp {
 public:
  explicit GiveUp(const AssignTask& task)
      : task_(task), undone_(static_cast<std::size_t>((task.x.rows + task.tile_rows - 1) / task.tile_rows)) {}

  // Whether the tile that begins with this row is to be left undone, or done by nobody here.
  bool refuses(std::int64_t first) {
    const auto tile = static_cast<std::size_t>(first / task_.tile_rows);
    if (task_.only) return !(*task_.only)[tile];
    if (given_up_) undone_[tile] = 1;
    return given_up_;
  }
  void leave(std::int64_t first) { undone_[static_cast<std::size_t>(first / task_.tile_rows)] = 1; }
  void note(std::int64_t refined, std::int64_t rows) {
    const auto all = static_cast<double>(refined_ += refined), done = static_cast<double>(rows_ += rows);
    if (task_.most_refined > 0 && all > task_.most_refined * done) given_up_ = true;
  }
  // (tiles), or empty if all were done.
  std::vector<std::uint8_t> undone() const {
    return std::find(undone_.begin(), undone_.end(), 1) == undone_.end() ? std::vector<std::uint8_t>() : undone_;
  }

 private:
  const AssignTask& task_;
  std::vector<std::uint8_t> undone_;  // each written by the one thread that has the tile
  std::atomic<std::int64_t> rows_{0}, refined_{0};
  std::atomic<bool> given_up_{false};
};

AssignCounts total_of(const std::vector<AssignCounts>& parts);

AssignCounts assign(const AssignTask& task, Workers& workers);

}  // namespace fastkmeans::cpu
