// SPDX-License-Identifier: Apache-2.0
// What scan_wgmma_short.cuh does with its products: as Collect of epilogues.cuh. The next tile's products take the
// registers of a tile's at once: all that is kept is the largest product of every four centroids. Where it is large
// enough the four are marked, and when all tiles are seen these four products are made once more, from the sketches,
// to find out which it was, by the warpgroup, while others multiply. (As soon as a mark is made, the others of its
// warpgroup wait for the warp; and the registers leave two warps that could do nothing else, which do not keep up:
// docs/performance-gpu.md.)
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

  __device__ CollectShort(const ScanTask& task, const Output& output, const Place& place, const BlockTiles& tiles)
      : task_(task),
        output_(output),
        limits_(task, output, tiles),
        place_(place),
        least_at_(kept(limits_.least_at(place.row(0, 0) % Place::kRows))) {
    static_assert(RowLimits<Place, 1>::kStaticShared + 4 * kWarps <= Place::kStaticShared);
  }

  __device__ void begin(int at, int first_row, int rows) { limits_.begin(at, first_row, rows); }

  __device__ void bring(int thread, int turn, int slot, int, int ahead, unsigned groups) {
    limits_.bring(thread, turn, slot, ahead, groups);
  }

  __device__ void prepare(int slot) {
#pragma unroll
    for (int h = 0; h < 2; ++h) least_[h] = load_shared(least_at_ + 4 * (slot * Place::kRows + 8 * h));
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

  // tile: read where there are marks, and only there.
  __device__ void look(int, const int& tile, int buffer) {
    // The compiler would do this before the next products begin.
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int i = 0; i < kFours; ++i) asm volatile("" : "+r"(largest_[h][i])::"memory");
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
    const int most_marks = this->most_marks(), first = buffer * Place::kRows;
    while (const unsigned lanes = __ballot_sync(kAll, fours != 0)) {
      if (fours != 0) {
        const unsigned four = __ffs(static_cast<int>(fours)) - 1;
        const int to = marked_ + __popc(lanes & ((1u << lane) - 1)), row = first + place_.row(0, four / kFours);
        // Where there is no room for a mark: as if the list had run over.
        limits_.count(row, to < most_marks ? 1 : output_.lists.listed + 1);
        if (to < most_marks)
          marks_of(first + place_.first_row)[to] = static_cast<unsigned>(tile) << 9 | four << 5 | lane;
        fours &= fours - 1;
      }
      marked_ += __popc(lanes);
    }
  }

  __device__ void end(int warp) {
    if (place_.lane == 0) shared_marked()[warp] = min(marked_, most_marks());
    marked_ = 0;
  }

  // Eight marks at a time, whichever warp of the group made them.
  __device__ void expand(int warp, int buffer, const std::int8_t* row_sketches) {
    constexpr int kGroupWarps = Place::kGroupRows / 16;
    const int lane = place_.lane, first_warp = warp / kGroupWarps * kGroupWarps, turn_of_warp = warp - first_warp;
    const int first = buffer * Place::kRows;
    if (turn_of_warp < Place::kGroupRows / kWarp)
      limits_.count_anew(first + 16 * first_warp + kWarp * turn_of_warp + lane);
    const int marked = lane < kGroupWarps ? shared_marked()[first_warp + lane] : 0;
    const int turns = (marked + kAtOnce - 1) / kAtOnce;
    int until = turns;  // those of the warps up to this
#pragma unroll
    for (int apart = 1; apart < kGroupWarps; apart *= 2) {
      const int before = __shfl_up_sync(kAll, until, apart);
      if (lane >= apart) until += before;
    }
    Place::sync_group(warp / kGroupWarps);
    const int all = __shfl_sync(kAll, until, kGroupWarps - 1);
    for (int turn = turn_of_warp; turn < all; turn += kGroupWarps) {
      const int owner = __popc(__ballot_sync(kAll, lane < kGroupWarps && until <= turn));
      const int at = kAtOnce * (turn - __shfl_sync(kAll, until - turns, owner)) + lane / kTogether;
      const bool there = at < __shfl_sync(kAll, marked, owner);
      const int rows = 16 * (first_warp + owner);
      expand_mark(first, rows, there ? marks_of(first + rows)[at] : 0, there, row_sketches);
    }
  }

  __device__ void finish(int at, int first_row, int rows) { limits_.finish(at, first_row, rows); }

 private:
  static constexpr int kWarps = Place::kMultiplying / kWarp;
  static constexpr int kTogether = 4;  // lanes have a mark, and in the end one of its centroids each
  static constexpr int kAtOnce = kWarp / kTogether;

  // Of each warp that multiplies: how many marks it has made.
  static __device__ int (&shared_marked())[kWarps] {
    __shared__ int all[kWarps];
    return all;
  }

  // Those of a warp take the places of its rows, `at` and after it. A mark: tile << 9 | four << 5 | lane, four being
  // that of the lane's row four / 8, centroids 16 (four % 8) + 2 (lane % 4) + {0, 1, 8, 9} of the tile.
  __device__ std::uint32_t* marks_of(int at) const {
    const std::int64_t row = std::int64_t{blockIdx.y} * output_.lists.list_rows + limits_.place_of(at);
    return output_.marks + row * output_.lists.listed;
  }
  __device__ int most_marks() const { return 16 * output_.lists.listed; }

  __device__ void expand_mark(int first, int warp_row, unsigned mark, bool there, const std::int8_t* row_sketches) {
    const int part = place_.lane % kTogether, lane = mark % kWarp, four = mark >> 5 & 15;
    const int tile = static_cast<int>(mark >> 9), row = warp_row + lane / 4 + 8 * (four / kFours);
    const int column = 16 * (four % kFours) + 2 * (lane % 4), own_column = column + 8 * (part / 2) + part % 2;
    const OwnSize own = task_.centroids.sizes[tile * kTile + own_column];
    const float inverse_scale = task_.centroids.tiles[tile].inverse_scale;
    const int product = of_four(row_sketches, tile, row, column, part);
    if (there) limits_.offer(first + row, tile * kTile + own_column, own, inverse_scale, product);
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
  std::uint32_t least_at_;             // where the limit of its first row stands, with the tile at the first slot
  int least_[2], largest_[2][kFours];  // products, of the thread's rows with the tile looked at
  int marked_ = 0;                     // by the warp
};

}  // namespace fastkmeans::cuda
