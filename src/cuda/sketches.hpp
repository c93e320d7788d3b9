// SPDX-License-Identifier: Apache-2.0
// Sketches in int8 (sketch/sketch.hpp) of rows and centroids, as the scan reads them (scan.cuh).
//
// A finer sketch has a second digit: f (B q + q2) instead of s q, with f = s / B and q2 in int8 as well. Its error is
// about a B-th of the other's. Rows that the first digit leaves with too many candidates are scanned with both.
#pragma once

#include <cstdint>

#include "cuda/lift.hpp"
#include "cuda/rows.hpp"
#include "cuda/tuning.hpp"
#include "numeric/both.hpp"
#include "sketch/rotation.hpp"

namespace fastkmeans::cuda {

inline constexpr int kLevels = 127;  // of a sketch's elements

// The squared norm of what must never be near: a row or centroid that takes no part.
inline constexpr float kFarAway = 1e38f;

// B: scores of two digits, at most (B + 2) kLevels^2 size, stay below 2^30 (filter.cu).
FASTKMEANS_BOTH constexpr int second_levels(std::int64_t size) {
  const std::int64_t most = (std::int64_t{1} << 30) / (kLevels * kLevels * size) - 2;
  return static_cast<int>(most < 2 * kLevels ? most : 2 * kLevels);
}

// scale: s, or f of finer sketches, whose squared norms are less the square of f |q2| as well.
struct RowSketches {
  std::int8_t* q;       // (n, digits, size)
  float* half_inverse;  // (n) 1 / (2 scale); infinite: the scale is 0
  float* sq_norms;      // (n) that of the sketch less 2^-20 of it, rounded down
  float* errors;        // (n) rounded up
};
// Some rows of a batch: rows[skipped], ...; `most` of them, or up to *count.
struct RowsAgain {
  const std::int32_t *rows, *count;  // device memory
  int skipped, most;
};

// Where 16-byte piece `piece` (0 to 3) of sketch `i` stands in a step of the scan, kGranule elements of kTile sketches:
// eight sketches at the same piece lie in different banks of shared memory.
__device__ inline int place_in_step(int i, int piece) { return i * kGranule + ((piece ^ ((i >> 1) & 3)) << 4); }

// Centroids in the order of their lengths, tile by tile; movers before the others, in tiles of their own. All of a tile
// have one scale.
struct CentroidSketches {
  const std::int8_t* q;         // (tiles, 2, size / kGranule, kStepBytes): both digits, as they stand in shared memory
  const std::int32_t* order;    // (tiles * kTile) the centroid at each place, or -1
  const struct OwnSize* sizes;  // (tiles * kTile)
  const struct TileInfo* tiles;
  int count;  // tiles
};
struct OwnSize {
  float sq_norm, error;  // as of rows
};
struct TileInfo {
  float inverse_scale;  // 1 / scale; infinite: the scale is 0
  float least_sq_norm;  // of the tile's centroids
  float largest_error;
};

// The rotation, the centre, and what makes sketches from them.
class Sketcher {
 public:
  // centre: (d) device memory.
  Sketcher(Device& device, std::int64_t d, DeviceBuffer<float> centre);

  std::int64_t d() const { return d_; }
  std::int64_t size() const { return rotation_.size; }
  const float* centre() const { return centre_.data(); }
  // states: of these rows (statistics.hpp); bad ones get sketches that no centroid is near. lost: (count) what the rows
  // themselves are off by, which their errors grow by, or null.
  void sketch_rows(const StoredRows& rows, std::int64_t count, const std::uint8_t* states, const RowSketches& out,
                   const float* lost = nullptr) const;
  // Finer sketches of some rows, valid ones, in their order.
  void sketch_again(const StoredRows& rows, const RowsAgain& again, const RowSketches& out) const;

 private:
  friend class CentroidTiles;
  RotationView view() const;
  struct Centred centred(const StoredRows& rows) const;  // sketch_group.cuh

  Device& device_;
  std::int64_t d_;
  Rotation rotation_;
  double rounding_;
  DeviceBuffer<float> centre_, factors_;
  DeviceBuffer<std::int64_t> blocks_;
};

class CentroidTiles {
 public:
  CentroidTiles(Device& device, std::int64_t k, std::int64_t size);
  // centroids: (k, d) device memory, all valid. more: what their sketches are to know besides: NoHeights, Heights
  // (lift.hpp) or ProjectionErrors. The first tiles are the movers', `movers` of them: those with shifts[c] > limit;
  // shifts: (k) device memory.
  template <class More>
  void prepare(const Sketcher& sketcher, const float* centroids, const More& more, const float* shifts = nullptr,
               float limit = 0, std::int64_t movers = 0);
  CentroidSketches view() const;
  CentroidSketches finer() const;                                // what both digits say
  const std::int32_t* places() const { return places_.data(); }  // (k) that of each centroid in `order`
  int mover_tiles() const { return mover_tiles_; }

 private:
  Device& device_;
  int k_, tiles_, mover_tiles_ = 0;
  DeviceBuffer<std::int8_t> q_;
  DeviceBuffer<std::int32_t> order_, places_;
  DeviceBuffer<float> sq_lengths_, largest_;
  DeviceBuffer<OwnSize> sizes_, finer_sizes_;
  DeviceBuffer<TileInfo> info_, finer_info_;
};

}  // namespace fastkmeans::cuda
