// SPDX-License-Identifier: Apache-2.0
// What is done with the products of a scan (scan.cuh, scan_wgmma.cuh): the centroids near enough are collected, or a
// near one is found.
#pragma once

#include <cstdint>

#include "cuda/row_limits.cuh"
#include "cuda/wgmma.cuh"

namespace fastkmeans::cuda {

// Keeps the centroids that the bound cannot exclude.
template <class Place, int kDigits>
class Collect {
 public:
  using Output = Collected;

  __device__ Collect(const ScanTask& task, const Output& output, const Place& place, const BlockTiles& tiles)
      : centroids_(task.centroids), limits_(task, output, tiles), place_(place) {}

  __device__ void begin(int at, int first_row, int rows) { limits_.begin(at, first_row, rows); }

  __device__ void bring(int thread, int turn, int slot, int tile, int ahead) {
    const TileInfo info = limits_.bring(thread, turn, slot, ahead, ~0u);
    if (thread == 0) shared().inverse_scale[slot] = info.inverse_scale;
    for (int at = thread; at < kTile; at += Place::kBringing)
      copy_async<sizeof(OwnSize)>(shared_address(&shared().sizes[slot][at]), centroids_.sizes + tile * kTile + at);
  }

  // What look() needs of the slot.
  __device__ void prepare(int slot) {
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) least_[r][h] = limits_.least(slot, place_.row(r, h));
  }

  // What is needed of the products, which may then go.
  __device__ void take(const Products<Place>& products) {
    // All of the thread's rows before the one branch that is rarely taken: their instructions overlap.
    int largest[Place::kRowTiles][2][Place::kChains];  // of each chain of columns
    int most = -1;                                     // less the least to pass
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int c = 0; c < Place::kColumnTiles; ++c) {
          int& so_far = largest[r][h][c % Place::kChains];
          const int two[] = {products[r][c][2 * h], products[r][c][2 * h + 1]};
          so_far = c < Place::kChains ? max(two[0], two[1]) : __vimax3_s32(so_far, two[0], two[1]);
        }
        int& of_all = largest_[r][h] = largest[r][h][0];
#pragma unroll
        for (int chain = 1; chain < Place::kChains; ++chain) of_all = max(of_all, largest[r][h][chain]);
        most = max(most, of_all - least_[r][h]);
      }
    any_ = most >= 0;
    if (!any_) return;
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        passed_[r][h] = 0;
#pragma unroll
        for (int chain = 0; chain < Place::kChains; ++chain) {
          if (largest[r][h][chain] < least_[r][h]) continue;
#pragma unroll
          for (int c = chain; c < Place::kColumnTiles; c += Place::kChains)
#pragma unroll
            for (int odd = 0; odd < 2; ++odd)
              if (products[r][c][2 * h + odd] >= least_[r][h]) passed_[r][h] |= 1u << (2 * c + odd);
        }
      }
  }

  __device__ void look(int slot, int tile) {
    if (!any_) return;
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        if (passed_[r][h]) note(slot, tile, r, h);
  }

  __device__ void finish(int at, int first_row, int rows) { limits_.finish(at, first_row, rows); }

 private:
  struct Shared {
    OwnSize sizes[Place::kSlots][kTile];
    float inverse_scale[Place::kSlots];
  };
  static __device__ Shared& shared() {
    static_assert(sizeof(Shared) + RowLimits<Place, kDigits>::kStaticShared <= Place::kStaticShared);
    __shared__ Shared all;
    return all;
  }

  // r and h are known when this is compiled: what was taken stays in registers.
  __device__ __forceinline__ void note(int slot, int tile, int r, int h) {
    for (unsigned passed = passed_[r][h]; passed; passed &= passed - 1) {
      const int chosen = __ffs(static_cast<int>(passed)) - 1, column = place_.column(chosen / 2, chosen % 2);
      // The product is at most the largest, and nearly always that.
      limits_.offer(place_.row(r, h), tile * kTile + column, shared().sizes[slot][column], shared().inverse_scale[slot],
                    largest_[r][h]);
    }
  }

  const CentroidSketches& centroids_;
  RowLimits<Place, kDigits> limits_;
  const Place& place_;
  // Of the thread's rows with the tile looked at: the least product to pass, the largest, and where one passes, which
  // do: bits of 2 c + odd.
  int least_[Place::kRowTiles][2], largest_[Place::kRowTiles][2];
  unsigned passed_[Place::kRowTiles][2];
  bool any_;
};

struct Guesses {
  RowSketches rows;
  Integer* best;  // of each row of the batch: its score, as ordered bits, and the place of the centroid; 0 before
};

// Finds a near centroid among the tiles scanned: any is valid as a first guess, a nearer one leaves fewer candidates.
template <class Place>
class Seed {
 public:
  using Output = Guesses;

  __device__ Seed(const ScanTask& task, const Output& output, const Place& place, const BlockTiles& tiles)
      : task_(task), output_(output), place_(place) {
#pragma unroll
    for (int i = 0; i < Place::kAhead; ++i) next_[i] = info_of(task.centroids, tiles.around(i));
  }

  __device__ void begin(int at, int first_row, int rows) {
    const int place = first_row + at % Place::kGroupRows;
    shared().best[at] = 0;
    float& half_inverse = shared().half_inverse[at];
    if (place < rows)
      copy_async<4>(shared_address(&half_inverse), output_.rows.half_inverse + row_at(task_, place));
    else
      half_inverse = kInfinity;
  }

  __device__ void bring(int thread, int turn, int slot, int, int ahead, unsigned = ~0u) {
    if (thread == 0) shared().tiles[slot] = next_[turn];
    next_[turn] = info_of(task_.centroids, ahead);
  }

  __device__ void prepare(int) {}

  __device__ void take(const Products<Place>& products) {
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // The last 7 bits of the product are the column's: what is lost of it is less than what int8 loses.
        int& most = most_[r][h] = kNone;
#pragma unroll
        for (int c = 0; c < Place::kColumnTiles; ++c) {
          const int even = products[r][c][2 * h] & ~(kTile - 1), odd = products[r][c][2 * h + 1] & ~(kTile - 1);
          most = __vimax3_s32(most, even | 8 * c, odd | 8 * c + 1);
        }
        most |= place_.column(0, 0);
      }
  }

  __device__ void look(int slot, const int& tile, int buffer = 0) {
    const TileInfo info = shared().tiles[slot];
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // 2 <s q, s' q'> - |s' q'|^2: the larger, the nearer.
        const int row = buffer * Place::kRows + place_.row(r, h), most = most_[r][h];
        const float score =
            __fdividef(static_cast<float>(most), shared().half_inverse[row] * info.inverse_scale) - info.least_sq_norm;
        const std::uint32_t bits = __float_as_uint(score), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        const Integer found = Integer{ordered} << 32 | static_cast<std::uint32_t>(tile * kTile + (most & (kTile - 1)));
        Integer& best = shared().best[row];
        if (found > best) atomicMax(&best, found);  // an old value asks in vain, at worst
      }
  }

  __device__ void end(int) {}
  __device__ void expand(int, int, const std::int8_t*) {}

  __device__ void finish(int at, int first_row, int rows) {
    const int place = first_row + at % Place::kGroupRows;
    if (place < rows) atomicMax(output_.best + row_at(task_, place), shared().best[at]);
  }

 private:
  static constexpr int kNone = -1 << 30;  // below all products
  struct Shared {
    Integer best[Place::kBuffers * Place::kRows];
    float half_inverse[Place::kBuffers * Place::kRows];
    TileInfo tiles[Place::kSlots];
  };
  static __device__ Shared& shared() {
    static_assert(sizeof(Shared) <= Place::kStaticShared);
    __shared__ Shared all;
    return all;
  }

  const ScanTask& task_;
  const Output& output_;
  const Place& place_;
  TileInfo next_[Place::kAhead];   // of the tiles to be brought next
  int most_[Place::kRowTiles][2];  // of the thread's rows with the tile looked at
};

}  // namespace fastkmeans::cuda
