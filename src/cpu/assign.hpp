// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row, by filter and refine.
#pragma once

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
  std::int64_t tile_rows;        // rows a thread works on at a time
  std::int64_t panels_at_a_time;  // between two checkpoints
  RowSketches* kept;             // sketches of all rows of x, to be made or used; null: made for each tile anew
  DriftBounds* bounds;           // null: none are kept
  bool bounds_known;             // from an earlier assignment; else they are made here
  double most_refined;           // give up where more distances a row than this must be computed; 0: never
  const std::vector<std::uint8_t>* only;  // the tiles to do; null: all
  const std::int32_t* previous;  // as in Backend::assign
  std::int32_t* labels;
  float* distances;
};

struct AssignCounts {
  RowCheck check;
  std::int64_t refined = 0;  // distances computed because a score passed
  std::int64_t scored = 0;   // pairs that were scored
  std::int64_t changed = 0;  // rows whose label differs from the previous one
  std::vector<std::uint8_t> undone;  // (tiles) whether a tile was given up; empty: none was
};

AssignCounts assign(const AssignTask& task, Workers& workers);

}  // namespace fastkmeans::cpu
