// SPDX-License-Identifier: Apache-2.0
// Narrow sketches on a CUDA device (docs/filter.md section 6.8): looks for them, says what they are worth, makes them.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/batch.hpp"
#include "cuda/projection.hpp"
#include "cuda/sketches.hpp"
#include "cuda/tuning.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cuda {

// The directions of the rows of a shard, and what sketches of them are worth.
class NarrowSearch {
 public:
  // Learns the directions from some rows of the store, n of d elements.
  NarrowSearch(Device& device, Rows& store, std::int64_t n, std::int64_t d);

  // Tries them on other rows with these centroids: what each width would leave to refine.
  std::vector<NarrowWidth> survey(const Centroids& centroids) const;
  const Basis& basis() const { return basis_; }

 private:
  Device& device_;
  DeviceBuffer<float> centre_;
  std::vector<std::int64_t> sizes_;
  Basis basis_;
  std::int64_t tried_count_;
  DeviceBuffer<float> tried_;  // (tried_count_, d)
};

// Sketches of this width, of the leading directions.
struct Narrow {
  const Basis* basis;
  NarrowWidth width;
};

// Makes sketches of rows and of k centroids from their projections.
class NarrowSketcher {
 public:
  // most: rows that are projected at a time. centre: (d) device memory that outlives this.
  NarrowSketcher(Device& device, const Narrow& narrow, const float* centre, std::int64_t k, std::int64_t most);

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
