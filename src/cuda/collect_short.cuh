// SPDX-License-Identifier: Apache-2.0
// What scan_wgmma_short.cuh does with its products: as Collect of epilogues.cuh. The next tile's products take the
// registers of a tile's at once: all that is kept is the largest product of every four centroids. Where it is large
// enough the four are marked, and when all tiles are scanned these four products are made once more, from the sketches,
// to find out which it was. (As soon as a mark is made, the others of its warpgroup wait for the warp; and the
// registers leave two warps that could do nothing else, which do not keep up: docs/performance-gpu.md.)
#pragma once

#include <cstdint>

#include "cuda/row_limits.cuh"
#include "cuda/wgmma.cuh"

namespace fastkmeans::cuda {

template <class Place>
class CollectShort {
  static constexpr int kFours = WgmmaSums::kColumnTiles / 2;  // of a row, in a thread

 public:
  using Output = Collected;

  __device__ CollectShort(const ScanTask& task, const Output& output, const Place& place, int first_row, int rows,
                          const BlockTiles& tiles)
      : task_(task), output_(output), limits_(task, output, first_row, rows, tiles), place_(place) {
    static_assert(RowLimits<Place, 1>::kStaticShared + 4 * kWarps <= Place::kStaticShared);
  }

  __device__ void bring(int thread, int turn, int slot, int tile, int tile_step) {
    limits_.bring(thread, turn, slot, tile, tile_step);
  }

  __device__ void prepare(int slot) {
#pragma unroll
    for (int h = 0; h < 2; ++h) least_[h] = limits_.least(slot, place_.row(0, h));
  }

  __device__ void take(const Products<Place>& products) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int i = 0; i < kFours; ++i) {
        const auto& near = products[0][2 * i];
        const auto& far = products[0][2 * i + 1];
        largest_[h][i] = max(__vimax3_s32(near[2 * h], near[2 * h + 1], far[2 * h]), far[2 * h + 1]);
      }
  }

  __device__ void look(int, int tile) {
    int most = -1;  // less the least to pass
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      int of_row = largest_[h][0];
#pragma unroll
      for (int i = 1; i < kFours; i += 2)
        of_row = __vimax3_s32(of_row, largest_[h][i], largest_[h][min(i + 1, kFours - 1)]);
      most = max(most, of_row - least_[h]);
    }
    if (!__any_sync(kAll, most >= 0)) return;
    unsigned fours = 0;  // bits of 8 h + i
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int i = 0; i < kFours; ++i)
        if (largest_[h][i] >= least_[h]) fours |= 1u << (kFours * h + i);
    const unsigned lane = static_cast<unsigned>(place_.lane);
    const int most_marks = this->most_marks(), warp = place_.first_row / 16;
    while (const unsigned lanes = __ballot_sync(kAll, fours != 0)) {
      if (fours != 0) {
        const unsigned four = __ffs(static_cast<int>(fours)) - 1;
        const int to = marked_ + __popc(lanes & ((1u << lane) - 1)), row = place_.row(0, four / kFours);
        // Where there is no room for a mark: as if the list had run over.
        limits_.count(row, to < most_marks ? 1 : output_.lists.listed + 1);
        if (to < most_marks) marks_of(warp)[to] = static_cast<unsigned>(tile) << 9 | four << 5 | lane;
        fours &= fours - 1;
      }
      marked_ += __popc(lanes);
    }
  }

  __device__ void end(int warp) {
    if (place_.lane == 0) shared_marked()[warp] = min(marked_, most_marks());
  }

  // Eight marks at a time, whichever warp's they are.
  __device__ void expand(int warp, const std::int8_t* row_sketches) {
    const int lane = place_.lane, thread = kWarp * warp + lane;
    if (thread < Place::kRows) limits_.count_anew(thread);
    const int marked = lane < kWarps ? shared_marked()[lane] : 0, turns = (marked + kAtOnce - 1) / kAtOnce;
    int until = turns;  // those of the warps up to this
#pragma unroll
    for (int apart = 1; apart < kWarp; apart *= 2) {
      const int before = __shfl_up_sync(kAll, until, apart);
      if (lane >= apart) until += before;
    }
    __syncthreads();
    const int all = __shfl_sync(kAll, until, kWarp - 1);
    for (int turn = warp; turn < all; turn += Place::kThreads / kWarp) {
      const int owner = __popc(__ballot_sync(kAll, until <= turn));
      const int at = kAtOnce * (turn - __shfl_sync(kAll, until - turns, owner)) + lane / kTogether;
      const bool there = at < __shfl_sync(kAll, marked, owner);
      expand_mark(owner, there ? marks_of(owner)[at] : 0, there, row_sketches);
    }
  }

  __device__ void finish(int first_row, int rows) { limits_.finish(first_row, rows); }

 private:
  static constexpr int kWarps = Place::kMultiplying / kWarp;
  static constexpr int kTogether = 4;  // lanes have a mark, and in the end one of its centroids each
  static constexpr int kAtOnce = kWarp / kTogether;

  // Of each warp that multiplies: how many marks it has made.
  static __device__ int (&shared_marked())[kWarps] {
    __shared__ int all[kWarps];
    return all;
  }

  // Those of a warp take the places of its rows. A mark: tile << 9 | four << 5 | lane, four being that of the lane's
  // row four / 8, centroids 16 (four % 8) + 2 (lane % 4) + {0, 1, 8, 9} of the tile.
  __device__ std::uint32_t* marks_of(int warp) const {
    const std::int64_t row = std::int64_t{blockIdx.y} * output_.lists.list_rows + limits_.first_row() + 16 * warp;
    return output_.marks + row * output_.lists.listed;
  }
  __device__ int most_marks() const { return 16 * output_.lists.listed; }

  __device__ void expand_mark(int warp, unsigned mark, bool there, const std::int8_t* row_sketches) {
    const int part = place_.lane % kTogether, lane = mark % kWarp, four = mark >> 5 & 15;
    const int tile = static_cast<int>(mark >> 9), row = 16 * warp + lane / 4 + 8 * (four / kFours);
    const int column = 16 * (four % kFours) + 2 * (lane % 4), own_column = column + 8 * (part / 2) + part % 2;
    const OwnSize own = task_.centroids.sizes[tile * kTile + own_column];
    const float inverse_scale = task_.centroids.tiles[tile].inverse_scale;
    const int product = of_four(row_sketches, tile, row, column, part);
    if (there) limits_.offer(row, tile * kTile + own_column, own, inverse_scale, product);
  }

  // Of the products of a row with the centroids at column + {0, 1, 8, 9} that of number `part`.
  __device__ int of_four(const std::int8_t* row_sketches, int tile, int row, int column, int part) const {
    // Of these four the pieces stand at the same place of their sketches (place_in_step).
    const std::int8_t* from = row_sketches + place_in_step(row, part);
    const std::int8_t* centroids =
        task_.centroids.q + std::int64_t{2} * tile * kTile * task_.size + place_in_step(column, part);
    int sums[4] = {};
#pragma unroll 2  // loads on their way
    for (int step = 0; step < task_.size / kGranule; ++step, from += Place::kRowStep, centroids += kStepBytes) {
      const int4 a = load_piece(from);
#pragma unroll
      for (int one = 0; one < 4; ++one) {
        const int4 b = load_piece(centroids + (8 * (one / 2) + one % 2) * kGranule);
        sums[one] = __dp4a(a.x, b.x, __dp4a(a.y, b.y, __dp4a(a.z, b.z, __dp4a(a.w, b.w, sums[one]))));
      }
    }
    // Half of the sums to every other lane, and once more.
    const bool high = part & 2, odd = part & 1;
#pragma unroll
    for (int i = 0; i < 2; ++i)
      sums[i] = (high ? sums[i + 2] : sums[i]) + __shfl_xor_sync(kAll, high ? sums[i] : sums[i + 2], 2);
    return (odd ? sums[1] : sums[0]) + __shfl_xor_sync(kAll, odd ? sums[0] : sums[1], 1);
  }
  __device__ static int4 load_piece(const std::int8_t* from) { return *reinterpret_cast<const int4*>(from); }

  const ScanTask& task_;
  const Output& output_;
  RowLimits<Place, 1> limits_;
  const Place& place_;
  int least_[2], largest_[2][kFours];  // products, of the thread's rows with the tile looked at
  int marked_ = 0;                     // by the warp
};

}  // namespace fastkmeans::cuda
