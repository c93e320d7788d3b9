// SPDX-License-Identifier: Apache-2.0
// Narrow sketches on a CUDA device (docs/filter.md section 6.8): looks for them, says what they are worth, makes them.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/batch.hpp"
#include "cuda/narrow_costs.hpp"
#include "cuda/projection.hpp"
#include "cuda/sketches.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cuda {

// The directions of the rows of a shard, and what sketches of them are worth.
class NarrowSearch {
 public:
  explicit NarrowSearch(Device& device) : device_(device) {}

  // What each width would leave to refine of some rows of the store, n of d elements, with these centroids. Directions
  // are learned from other rows, the first time.
  std::vector<NarrowWidth> survey(Rows& store, std::int64_t n, std::int64_t d, const Centroids& centroids);
  const Basis& basis() const { return basis_; }

 private:
  void learn(Rows& store, std::int64_t n, std::int64_t d);

  Device& device_;
  DeviceBuffer<float> centre_;
  std::vector<std::int64_t> sizes_;
  Basis basis_;
  std::int64_t tried_count_ = 0;  // 0: nothing is learned yet
  DeviceBuffer<float> tried_;     // (tried_count_, d)
};

// Makes sketches of rows and of k centroids from their projections.
class NarrowSketcher {
 public:
  // Of this width, along the basis's leading directions. most: rows that are projected at a time. centre: (d) device
  // memory that outlives this.
  NarrowSketcher(Device& device, const Basis& basis, const NarrowWidth& width, const float* centre, std::int64_t k,
                 std::int64_t most);

  std::int64_t size() const { return projection_.size(); }
  // As Sketcher's.
  void sketch_rows(RowsView rows, std::int64_t count, const std::uint8_t* states, const RowSketches& out);
  void prepare(CentroidTiles& tiles, const Centroids& centroids);

 private:
  std::int64_t most_;
  Projection projection_;
  Sketcher sketcher_;               // of projections, whose centre is zeros and a typical tail
  DeviceBuffer<float> z_, errors_;  // of some rows, or of all centroids
};

}  // namespace fastkmeans::cuda
