// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row of few dimensions. There a score costs so little that everything done once a row
// counts: no label is needed, no list is kept, and only what the best two scores leave open is looked at again.
#pragma once

#include "cpu/assign.hpp"
#include "cpu/centroids.hpp"
#include "cpu/layout.hpp"
#include "cpu/scan.hpp"
#include "runtime/buffer.hpp"

namespace fastkmeans::cpu {

// Columns of a shard's rows, kept from one assignment to the next where rows and columns fit a cache.
struct LowDimColumns {
  Buffer<float> values, sq_norms;  // of whole groups of rows, as Kernels::to_columns writes them
  bool complete = false;           // for all rows, and these are good

  void resize(std::int64_t rows, std::int64_t d) {
    values.resize(rows * d);
    sq_norms.resize(rows);
  }
  static bool fit(std::int64_t rows, std::int64_t d) { return whole_groups(rows, kLowDimGroup) * d * 4 <= kTileBytes; }
};

// panels: of places one by one. kept: all assignments have the same centre; where they fit, this one completes them.
AssignCounts assign_low_dim(const AssignTask& task, const CentroidRows& centroids, const FloatPanels& panels,
                            LowDimColumns& kept);

}  // namespace fastkmeans::cpu
