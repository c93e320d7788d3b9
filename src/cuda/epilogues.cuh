// SPDX-License-Identifier: Apache-2.0
// What is done with the products of a scan (scan.cuh): the centroids near enough are collected, or a near one is found.
#pragma once

#include <cstdint>

#include "cuda/scan_wgmma.cuh"

namespace fastkmeans::cuda {

inline constexpr int kBeyond = 1 << 30;  // beyond all products, and no difference to one overflows

// The least product of the sketches that a centroid may have whose distance is at most `reach` less the row's error:
// with s and s' the scales, |s q - s' q'| <= reach + error, so 2 s s' <q, q'> >= S - l^2, where S = |s q|^2 + |s' q'|^2
// and l = reach + error. For many centroids at once: the least norm, the largest error. inverse: 1 / (2 s s').
// fp32: all roundings together are below 9 u (S + l^2), and 16 u of it are taken away: of S where the norms are made
// (kNormSlack), of l^2 here (docs/filter.md section 6.7).
__device__ inline int least_product(float row_sq_norm, float sq_norm, float reach, float error, float inverse) {
  const float length = __fadd_ru(reach, error);
  return __float2int_rd(fmaf(length * length, -(1 + 0x1p-20f), row_sq_norm + sq_norm) * inverse);  // NaN becomes 0
}

// The candidates of each row, a list for each part of the centroids.
struct Lists {
  std::int32_t* lists;   // (parts, list_rows, listed): places of centroids
  std::int32_t* counts;  // (parts, list_rows); more than `listed`: the list ran over
  int parts, list_rows, listed;
};

// How far the scan of each row of a batch looks; the row's error is in it.
struct Reach {
  float* all;          // in: as far as is wanted; out: centroids beyond this, and no others, may be missing in the list
  const float* least;  // the distance to beat
};

// Keeps the centroids that the bound cannot exclude. A row that finds many before the end is content with less: what it
// wants beyond the distance to beat is halved with every kMany.
template <class Place, int kDigits>
class Collect {
  static constexpr int kMany = 16;

 public:
  struct Output {
    RowSketches rows;
    Reach reach;
    Lists lists;
  };

  __device__ Collect(const ScanTask& task, const Output& output, const Place& place, int first_row, int rows,
                     const BlockTiles& tiles)
      : task_(task), centroids_(task.centroids), output_(output), place_(place) {
#pragma unroll
    for (int i = 0; i < Place::kAhead; ++i) next_[i] = info_of(centroids_, tiles.at(i));
    const int at = static_cast<int>(threadIdx.x);
    if (Place::kWalks && at == 0) shared().first_row = first_row;
    if (at >= Place::kRows) return;
    // A place beyond the last row has no list to write to: as if it had run over.
    Row row = {kInfinity, kFarAway, 0.0f, output.lists.listed + 1};
    if (first_row + at < rows) {
      const int i = row_at(task, first_row + at);
      const int sketch = kDigits == 1 ? i : first_row + at;
      row = {output.rows.half_inverse[sketch], output.rows.sq_norms[sketch], output.reach.all[i], 0};
      shared().least_reach[at] = output.reach.least[i];
    }
    shared().rows[at] = row;
  }

  __device__ void bring(int thread, int turn, int slot, int tile, int tile_step) {
    const TileInfo info = next_[turn];
    next_[turn] = info_of(centroids_, tile + Place::kAhead * tile_step);  // on its way until it is needed
#pragma unroll
    for (int at = thread; at < Place::kRows; at += Place::kBringing) {
      const Row row = shared().rows[at];
      const int least = least_product(row.sq_norm, info.least_sq_norm, row.reach, info.largest_error,
                                      row.half_inverse * info.inverse_scale);
      // Once the list has run over there is nothing more to find.
      const bool over = atomicAdd(&shared().rows[at].candidates, 0) > output_.lists.listed;
      shared().least[slot][at] = over ? kBeyond : min(max(least, -kBeyond), kBeyond);
    }
    if (thread == 0) shared().inverse_scale[slot] = info.inverse_scale;
    for (int at = thread; at < kTile; at += Place::kBringing)
      copy_async<sizeof(OwnSize)>(shared_address(&shared().sizes[slot][at]), centroids_.sizes + tile * kTile + at);
  }

  // What look() needs of the slot.
  __device__ void prepare(int slot) {
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) least_[r][h] = shared().least[slot][place_.row(r, h)];
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

  __device__ void finish(int first_row, int rows) {
    const int at = static_cast<int>(threadIdx.x);
    if (at >= Place::kRows || first_row + at >= rows) return;
    const Row row = shared().rows[at];
    output_.lists.counts[list_of(first_row + at)] = row.candidates;
    // The least of all parts; not negative, so bits are ordered as it is.
    if (row.candidates >= kMany)
      atomicMin(reinterpret_cast<int*>(output_.reach.all + row_at(task_, first_row + at)), __float_as_int(row.reach));
  }

 private:
  // A row of the block, read 16 bytes at a time.
  struct alignas(16) Row {
    float half_inverse, sq_norm, reach;
    int candidates;  // so far
  };
  struct Shared {
    Row rows[Place::kRows];
    float least_reach[Place::kRows];
    int least[Place::kSlots][Place::kRows];  // products, of the rows with the tile at a slot
    OwnSize sizes[Place::kSlots][kTile];
    float inverse_scale[Place::kSlots];
    int first_row;  // where blocks take one tile of rows after the other
  };
  static __device__ Shared& shared() {
    static_assert(sizeof(Shared) <= Place::kStaticShared);
    __shared__ Shared all;
    return all;
  }

  // Worked out anew each time, or read: there is no register to spare for it.
  __device__ int first_row() const {
    return Place::kWalks ? shared().first_row : static_cast<int>(blockIdx.x) * Place::kRows;
  }
  // place: of a row in the launch.
  __device__ std::int64_t list_of(int place) const {
    return std::int64_t{blockIdx.y} * output_.lists.list_rows + place;
  }

  // r and h are known when this is compiled: what was taken stays in registers.
  __device__ __forceinline__ void note(int slot, int tile, int r, int h) {
    Row& row = shared().rows[place_.row(r, h)];
    const float inverse = row.half_inverse * shared().inverse_scale[slot];
    for (unsigned passed = passed_[r][h]; passed; passed &= passed - 1) {
      const int chosen = __ffs(static_cast<int>(passed)) - 1, column = place_.column(chosen / 2, chosen % 2);
      // Once more, with the centroid's own norm and error. Its product is at most the largest, and nearly always that.
      const OwnSize own = shared().sizes[slot][column];
      if (largest_[r][h] < least_product(row.sq_norm, own.sq_norm, row.reach, own.error, inverse)) continue;
      const int to = atomicAdd(&row.candidates, 1);
      if (to % kMany == kMany - 1) {
        const float least_reach = shared().least_reach[place_.row(r, h)];
        atomicMin(reinterpret_cast<int*>(&row.reach),
                  __float_as_int(fmaxf(least_reach, least_reach + 0.5f * (row.reach - least_reach))));
      }
      if (to < output_.lists.listed)
        output_.lists.lists[list_of(first_row() + place_.row(r, h)) * output_.lists.listed + to] =
            tile * kTile + column;
    }
  }

  const ScanTask& task_;
  const CentroidSketches& centroids_;
  const Output& output_;
  const Place& place_;
  TileInfo next_[Place::kAhead];  // of the tiles to be brought next
  // Of the thread's rows with the tile looked at: the least product to pass, the largest, and where one passes, which
  // do: bits of 2 c + odd.
  int least_[Place::kRowTiles][2], largest_[Place::kRowTiles][2];
  unsigned passed_[Place::kRowTiles][2];
  bool any_;
};

// Finds a near centroid among the tiles scanned: any is valid as a first guess, a nearer one leaves fewer candidates.
template <class Place>
class Seed {
 public:
  struct Output {
    RowSketches rows;
    Integer* best;  // of each row of the batch: its score, as ordered bits, and the place of the centroid; 0 before
  };

  __device__ Seed(const ScanTask& task, const Output& output, const Place& place, int first_row, int rows,
                  const BlockTiles& tiles)
      : task_(task), output_(output), place_(place) {
#pragma unroll
    for (int i = 0; i < Place::kAhead; ++i) next_[i] = info_of(task.centroids, tiles.at(i));
    const int at = static_cast<int>(threadIdx.x);
    if (at >= Place::kRows) return;
    shared().best[at] = 0;
    shared().half_inverse[at] =
        first_row + at < rows ? output.rows.half_inverse[row_at(task, first_row + at)] : kInfinity;
  }

  __device__ void bring(int thread, int turn, int slot, int tile, int tile_step) {
    if (thread == 0) shared().tiles[slot] = next_[turn];
    next_[turn] = info_of(task_.centroids, tile + Place::kAhead * tile_step);
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

  __device__ void look(int slot, int tile) {
    const TileInfo info = shared().tiles[slot];
#pragma unroll
    for (int r = 0; r < Place::kRowTiles; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // 2 <s q, s' q'> - |s' q'|^2: the larger, the nearer.
        const int row = place_.row(r, h), most = most_[r][h];
        const float score =
            __fdividef(static_cast<float>(most), shared().half_inverse[row] * info.inverse_scale) - info.least_sq_norm;
        const std::uint32_t bits = __float_as_uint(score), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        const Integer found = Integer{ordered} << 32 | static_cast<std::uint32_t>(tile * kTile + (most & (kTile - 1)));
        Integer& best = shared().best[row];
        if (found > best) atomicMax(&best, found);  // an old value asks in vain, at worst
      }
  }

  __device__ void finish(int first_row, int rows) {
    const int at = static_cast<int>(threadIdx.x);
    if (at < Place::kRows && first_row + at < rows)
      atomicMax(output_.best + row_at(task_, first_row + at), shared().best[at]);
  }

 private:
  static constexpr int kNone = -1 << 30;  // below all products
  struct Shared {
    Integer best[Place::kRows];
    float half_inverse[Place::kRows];
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
