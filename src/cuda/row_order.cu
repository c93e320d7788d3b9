// SPDX-License-Identifier: Apache-2.0
#include "cuda/row_order.hpp"
#include "cuda/sketches.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 512, kRowsOfThread = 8, kRowsOfBlock = kThreads * kRowsOfThread;
// A block counts the rows of all tiles in the shared memory that a kernel has unasked.
constexpr std::int64_t kMostTiles = (48 << 10) / sizeof(int);
// Of fewer tiles nearly all have a candidate of some row of a warp; fewer rows are scanned in the time that four
// kernels take to begin.
constexpr std::int64_t kFewestTiles = 8, kFewestRows = 1 << 17;
// The second cache of an H200 has 50 MB. D to 16,384 centroids of 1,024 elements, 64 MiB, took 25 ms in this order and
// 30 without; of 384 elements, 40 MiB, 13.5 and 12.5: rows that are not neighbours come from memory more slowly.
constexpr std::int64_t kSecondCache = 48 << 20, kLeastInOrder = 512;

// The rows of a thread: calls visit(row, tile).
template <class Visit>
__device__ void each_row(const Batch& batch, const std::int32_t* places, const Visit& visit) {
#pragma unroll
  for (int u = 0; u < kRowsOfThread; ++u) {
    const int i = static_cast<int>(blockIdx.x) * kRowsOfBlock + u * kThreads + static_cast<int>(threadIdx.x);
    if (i < batch.count) visit(i, batch.states[i] & kBadRow ? 0 : places[batch.previous[i]] / kTile);
  }
}

// counts: of the block, in shared memory.
__device__ void count_in_block(const Batch& batch, const std::int32_t* places, int tiles, int* counts) {
  for (int t = static_cast<int>(threadIdx.x); t < tiles; t += kThreads) counts[t] = 0;
  __syncthreads();
  each_row(batch, places, [&](int, int tile) { atomicAdd(counts + tile, 1); });
  __syncthreads();
}

__global__ void count_rows(const Batch batch, const std::int32_t* places, int tiles, std::int32_t* of_all) {
  extern __shared__ int counts[];
  count_in_block(batch, places, tiles, counts);
  for (int t = static_cast<int>(threadIdx.x); t < tiles; t += kThreads)
    if (counts[t] > 0) atomicAdd(of_all + t, counts[t]);
}

// By one warp: counts become the sums of what comes before.
__global__ void add_up(std::int32_t* counts, int tiles) {
  int before = 0;
  for (int first = 0; first < tiles; first += kWarp) {
    const int t = first + lane_id(), own = t < tiles ? counts[t] : 0, end = before + add_lanes_before(own);
    if (t < tiles) counts[t] = end - own;
    before = __shfl_sync(kAll, end, kWarp - 1);
  }
}

// A block takes places for all of its rows of a tile at once.
__global__ void place_rows(const Batch batch, const std::int32_t* places, int tiles, std::int32_t* begins,
                           std::int32_t* rows) {
  extern __shared__ int next[];
  count_in_block(batch, places, tiles, next);
  for (int t = static_cast<int>(threadIdx.x); t < tiles; t += kThreads)
    if (next[t] > 0) next[t] = atomicAdd(begins + t, next[t]);
  __syncthreads();
  each_row(batch, places, [&](int i, int tile) { rows[atomicAdd(next + tile, 1)] = i; });
}

}  // namespace

bool RowOrder::pays(std::int64_t rows, std::int64_t tiles) {
  return tiles >= kFewestTiles && tiles <= kMostTiles && rows >= kFewestRows;
}

bool RowOrder::pays_for_distances(std::int64_t k, std::int64_t d) {
  return d >= kLeastInOrder && k * d * static_cast<std::int64_t>(sizeof(float)) > kSecondCache;
}

RowOrder::RowOrder(Device& device, std::int64_t most, std::int64_t tiles)
    : device_(device), tiles_(static_cast<int>(tiles)), rows_(device, most), begins_(device, tiles) {}

const std::int32_t* RowOrder::by_tile(const Batch& batch, const std::int32_t* places) {
  device_.clear(begins_.data(), begins_.bytes());
  const unsigned blocks = blocks_for(batch.count, kRowsOfBlock);
  const std::size_t shared = static_cast<std::size_t>(tiles_) * sizeof(int);
  count_rows<<<blocks, kThreads, shared, device_.stream()>>>(batch, places, tiles_, begins_.data());
  launched("count_rows");
  add_up<<<1, kWarp, 0, device_.stream()>>>(begins_.data(), tiles_);
  launched("add_up");
  place_rows<<<blocks, kThreads, shared, device_.stream()>>>(batch, places, tiles_, begins_.data(), rows_.data());
  launched("place_rows");
  return rows_.data();
}

}  // namespace fastkmeans::cuda
