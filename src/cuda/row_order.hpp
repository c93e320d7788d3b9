// SPDX-License-Identifier: Apache-2.0
// The rows of a batch in the order of the tiles that their clusters stand in. Each row's own centroid is a candidate of
// the scan; warps whose rows have them in one tile note them together, and look at all other tiles in vain.
#pragma once

#include <cstdint>

#include "cuda/batch.hpp"
#include "cuda/device.hpp"

namespace fastkmeans::cuda {

class RowOrder {
 public:
  // Whether it is worth while to sort batches of so many rows, with so many tiles of centroids.
  static bool pays(std::int64_t rows, std::int64_t tiles);
  // And to compute D to their labels in that order, with k centroids of d elements.
  static bool pays_for_distances(std::int64_t k, std::int64_t d);

  // most: rows of a batch.
  RowOrder(Device& device, std::int64_t most, std::int64_t tiles);

  // (count) device memory, until the next call: the rows of a batch whose labels are known, each once, by their tiles;
  // within a tile in no order. places: (k) that of each centroid, kTile in a tile.
  const std::int32_t* by_tile(const Batch& batch, const std::int32_t* places);

 private:
  Device& device_;
  int tiles_;
  DeviceBuffer<std::int32_t> rows_;
  DeviceBuffer<std::int32_t> begins_;  // (tiles) where the next row of each goes
};

}  // namespace fastkmeans::cuda
