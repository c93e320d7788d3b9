// SPDX-License-Identifier: Apache-2.0
// The scan: products of the int8 sketches of 128 rows with those of all centroids, 128 at a time, on tensor cores
// (mma.sync m16n8k32), fed by cp.async. What is done with the products is the Epilogue's (filter.cu).
//
// Operations: 2 n k size. From L2, each block reads every centroid's sketch once; of the rows either once in all
// (resident), or again with each tile of centroids.
#pragma once

#include <cstdint>

#include "cuda/sketches.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {

// Four warps, 2 x 2, of 64 rows x 64 centroids each: 128 sums a thread, so that two blocks fit a multiprocessor and one
// computes while the other looks at its sums. (Eight warps of 64 x 32 took 12 % longer on an H100: they read half as
// much again of shared memory.)
inline constexpr int kScanThreads = 128;
inline constexpr int kWarpColumns = 64;

struct ScanTask {
  const std::int8_t* rows;     // sketches
  const std::int32_t* chosen;  // which of them, or null: all, in order
  const std::int32_t* count;   // how many, device memory; null: `most`
  int skipped;                 // of the chosen, before the first of this launch
  int most;                    // rows of this launch
  CentroidSketches centroids;
  int size;
  int levels;                 // B of the second digits (sketches.hpp)
  int together;               // steps between two barriers (tuning.hpp)
  int stages;                 // of the scan on Hopper: Tuning::wgmma_stages
  int first_tile, tile_step;  // which tiles of centroids
  int tiles;                  // how many of them
};

// Rows of this launch.
__device__ inline int rows_of(const ScanTask& task) {
  return task.count ? max(0, min(*task.count - task.skipped, task.most)) : task.most;
}
// The row (of the batch) that stands at a place of the launch.
__device__ inline int row_at(const ScanTask& task, int place) {
  return task.chosen ? task.chosen[task.skipped + place] : place;
}

// Beyond the last tile: of that.
__device__ inline TileInfo info_of(const CentroidSketches& centroids, int tile) {
  return centroids.tiles[min(tile, centroids.count - 1)];
}

// The tiles of centroids of a block. Tiles whose centroids are alike go to different parts.
struct BlockTiles {
  int first, step, count;
  __device__ explicit BlockTiles(const ScanTask& task) {
    const int part = static_cast<int>(blockIdx.y), parts = static_cast<int>(gridDim.y);
    first = task.first_tile + part * task.tile_step;
    step = task.tile_step * parts;
    count = (task.tiles - part + parts - 1) / parts;
  }
  __device__ int at(int i) const { return first + i * step; }
  // After the last, the first again.
  __device__ int around(int i) const { return at(i % max(count, 1)); }
};

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}
// kBytes (4, 8 or 16) to shared memory; zeros if not `valid`. Through the first cache: the two blocks of a
// multiprocessor read the same centroids at nearly the same time.
template <int kBytes>
__device__ void copy_async(std::uint32_t to, const void* from, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(kBytes),
               "r"(valid ? kBytes : 0));
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;"); }
template <int kLeft>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
__device__ inline void load_matrices(std::uint32_t (&out)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}
__device__ inline void multiply(int (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same, for new sums.
__device__ inline void multiply_first(int (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %10, %10, %10};"
      : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
}

// The sums of a thread. Sum (r, c, e): row 64 wr + 16 r + lane / 4 + 8 (e / 2), centroid 64 wc + 8 c + 2 (lane % 4) +
// e % 2 of the tile, for the warp at (wr, wc) of the block.
template <class Place>
using Products = int[Place::kRowTiles][Place::kColumnTiles][4];

struct ThreadPlace {
  static constexpr int kRows = kTile;                    // of a block
  static constexpr int kGroupRows = kRows, kGroups = 1;  // those that begin and end together
  static constexpr int kBuffers = 1;                     // of rows: those at work, and the next
  static constexpr int kStaticShared = cuda::kStaticShared;
  static constexpr int kRowTiles = 4, kColumnTiles = 8;  // m16 and n8 tiles of a warp
  static constexpr int kChains = 1;  // maxima of a row made side by side: those of eight rows hide their latency
  static constexpr int kSlots = 4;   // tiles on their way or in use at once, at most (tuning.cpp)
  static constexpr int kBringing = kScanThreads;  // threads that bring what the epilogue wants to know of a tile
  static constexpr int kAhead = 1;                // tiles: so early it is asked for
  int warp_row, warp_column, lane;
  __device__ ThreadPlace() {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    warp_row = warp & 1;
    warp_column = warp >> 1;
    lane = lane_id();
  }
  __device__ int row(int r, int half) const { return 64 * warp_row + 16 * r + lane / 4 + 8 * half; }
  __device__ int column(int c, int odd) const { return kWarpColumns * warp_column + 8 * c + 2 * (lane % 4) + odd; }
};

// What a lane brings to ldmatrix: rows of A by 16, of B by 16 (two n8 tiles). Places in a step, of its first half and
// the first 16 rows.
struct LanePlace {
  std::uint32_t a, b;
  __device__ explicit LanePlace(const ThreadPlace& place)
      : a(place_in_step(64 * place.warp_row + (place.lane & 15), place.lane >> 4)),
        b(place_in_step(kWarpColumns * place.warp_column + (place.lane & 7) + 8 * (place.lane >> 4),
                        (place.lane >> 3) & 1)) {}
};

// What a warp multiplies at a time: 32 elements of its rows and centroids.
struct Fragments {
  static constexpr int kRowTiles = ThreadPlace::kRowTiles, kColumnTiles = ThreadPlace::kColumnTiles;
  std::uint32_t rows[kRowTiles][4], columns[kColumnTiles / 2][4];

  // Of a step whose rows and centroids stand at these addresses.
  __device__ void load(const LanePlace& lane, std::uint32_t a, std::uint32_t b, int half) {
    const std::uint32_t other_half = 32 * half;  // piece + 2: one bit, wherever eight sketches have it
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) load_matrices(rows[r], a + (lane.a ^ other_half) + 16 * r * kGranule);
#pragma unroll
    for (int c = 0; c < kColumnTiles / 2; ++c) load_matrices(columns[c], b + (lane.b ^ other_half) + 16 * c * kGranule);
  }

  template <bool kFirst>
  __device__ void multiply_into(Products<ThreadPlace>& products) const {
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c)
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const std::uint32_t b0 = columns[c / 2][c % 2 * 2], b1 = columns[c / 2][c % 2 * 2 + 1];
        if constexpr (kFirst)
          multiply_first(products[r][c], rows[r], b0, b1);
        else
          multiply(products[r][c], rows[r], b0, b1);
      }
  }
};

// 128 rows from first_row on. kResident: the rows' sketches stay in shared memory. kDigits 2: the products are B <q,
// q'> + <q, q2'> + <q2, q'>, made in this order, of rows whose sketches stand at their places.
//
// Epilogue: begin(at, first_row, rows) and, in the end, finish(at, first_row, rows) are called by a thread for each row
// of the block, `at`; first_row: where its group's begin in the launch, which has so many rows. What begin() asks for
// is there when the caller has waited for its copies. bring(thread, turn, slot, tile, ahead) is called by
// Place::kBringing threads when a tile's sketches set out to shared memory, with turn = 0, 1, ... modulo Place::kAhead,
// known when this is compiled; ahead: the tile to be brought Place::kAhead tiles later. What it writes to shared
// memory, at one of Place::kSlots, is there when look(slot, tile) is called, after take(products).
template <class Epilogue, bool kResident, int kDigits>
__device__ __forceinline__ void scan_rows(const ScanTask& task, const typename Epilogue::Output& output, int first_row,
                                          int rows) {
  extern __shared__ __align__(128) std::int8_t shared[];
  const BlockTiles tiles(task);
  const int digit_steps = task.size / kGranule, steps = kDigits == 1 ? digit_steps : 3 * digit_steps;
  const int total = tiles.count * steps;
  const int stages = 2 * task.together, thread = static_cast<int>(threadIdx.x);
  const ThreadPlace place;
  Epilogue epilogue(task, output, place, tiles);
  epilogue.begin(thread, first_row, rows);
  commit_copies();
  wait_for_copies<0>();

  // Each thread brings one 16-byte piece of every 32nd row.
  constexpr int kApart = kScanThreads / 4, kBrought = kTile / kApart;
  const int piece = thread % 4, sketch = thread / 4;
  std::uint32_t from[kBrought];  // pieces of 16 bytes: a batch has fewer than 2^32
#pragma unroll
  for (int i = 0; i < kBrought; ++i) {
    const int at = min(first_row + sketch + kApart * i, rows - 1);  // beyond the end nobody looks at products
    const int row = kDigits == 1 ? row_at(task, at) : at;
    from[i] = static_cast<std::uint32_t>(row) * (kDigits * task.size / 16) + piece;
  }
  const std::uint32_t row_steps = shared_address(shared);
  const std::uint32_t centroid_steps = row_steps + (kResident ? kDigits * kTile * task.size : stages * kStepBytes);
  // The digits of the rows in their turn: q, q, q2.
  const auto row_step = [&](int step) { return step < digit_steps ? step : step - digit_steps; };
  const auto bring_rows = [&](int step, std::uint32_t to) {
#pragma unroll
    for (int i = 0; i < kBrought; ++i)
      copy_async<16>(to + place_in_step(sketch + kApart * i, piece),
                     task.rows + std::int64_t{16} * from[i] + step * kGranule);
  };

  // And of the centroids, 16 bytes in every 2048.
  const std::int64_t digit_bytes = std::int64_t{kTile} * task.size;
  const std::int64_t skipped = (2 * tiles.step - 1) * digit_bytes;  // from the end of q' to the next tile
  const std::int8_t* next = task.centroids.q + 2 * tiles.first * digit_bytes + 16 * thread;
  int next_step = 0, next_tile = 0;
  const auto bring_some = [&](int at) {  // the next steps: `at` of all, and those together with it
    const int until = min(at + task.together, total);
#pragma unroll 1
    for (; at < until; ++at) {
      if (next_step == 0)
        epilogue.bring(thread, 0, next_tile & (ThreadPlace::kSlots - 1), tiles.at(next_tile),
                       tiles.at(next_tile + ThreadPlace::kAhead));
      const int stage = (at & (stages - 1)) * kStepBytes;
      const std::uint32_t to = centroid_steps + stage + 16 * thread;
#pragma unroll
      for (int i = 0; i < kStepBytes; i += 16 * kScanThreads) copy_async<16>(to + i, next + i);
      next += kStepBytes;
      if constexpr (!kResident) bring_rows(row_step(next_step), row_steps + stage);
      ++next_step;
      if (kDigits == 2 && next_step == 2 * digit_steps) next -= 2 * digit_bytes;  // q, q2, and q once more
      if (next_step < steps) continue;
      next_step = 0;
      ++next_tile;
      next += skipped;
    }
    commit_copies();
  };

  if constexpr (kResident)
    for (int step = 0; step < kDigits * digit_steps; ++step) bring_rows(step, row_steps + step * kStepBytes);
  bring_some(0);

  Products<ThreadPlace> products;
  constexpr int kSums = sizeof products / sizeof(int);
  const LanePlace lane(place);
  const auto load = [&](int at, int step, int half, Fragments& out) {
    const int stage = (at & (stages - 1)) * kStepBytes;
    out.load(lane, row_steps + (kResident ? row_step(step) * kStepBytes : stage), centroid_steps + stage, half);
  };
  Fragments fragments[2];  // one is multiplied, the next arrives
  for (int at = 0, step = 0, tile = 0; at < total;) {
    wait_for_copies<0>();
    __syncthreads();
    bring_some(at + task.together);
    load(at, step, 0, fragments[0]);
    const int until = min(at + task.together, total);
#pragma unroll 1
    for (; at < until; ++at) {
      load(at, step, 1, fragments[1]);
      if (kDigits == 2 && step == digit_steps)
#pragma unroll
        for (int i = 0; i < kSums; ++i)
          products[i / (kSums / ThreadPlace::kRowTiles)][i / 4 % ThreadPlace::kColumnTiles][i % 4] *= task.levels;
      if (step == 0)
        fragments[0].template multiply_into<true>(products);
      else
        fragments[0].template multiply_into<false>(products);
      const bool done = ++step == steps;
      if (done) step = 0;
      if (at + 1 < until) load(at + 1, step, 0, fragments[0]);
      fragments[1].template multiply_into<false>(products);
      if (!done) continue;
      epilogue.prepare(tile & (ThreadPlace::kSlots - 1));
      epilogue.take(products);
      epilogue.look(tile & (ThreadPlace::kSlots - 1), tiles.at(tile));
      ++tile;
    }
  }
  wait_for_copies<0>();
  __syncthreads();
  epilogue.finish(thread, first_row, rows);
}

// Grid: (tiles of rows, parts of the centroids); fewer blocks take one tile of rows after the other.
template <class Epilogue, bool kResident, int kDigits>
__global__ __launch_bounds__(kScanThreads, 2) void scan(const ScanTask task, const typename Epilogue::Output output) {
  const int rows = rows_of(task);
  for (int first_row = static_cast<int>(blockIdx.x) * kTile; first_row < rows;
       first_row += static_cast<int>(gridDim.x) * kTile) {
    scan_rows<Epilogue, kResident, kDigits>(task, output, first_row, rows);
    __syncthreads();  // shared memory is free for the next
  }
}

}  // namespace fastkmeans::cuda
