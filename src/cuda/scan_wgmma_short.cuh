// SPDX-License-Identifier: Apache-2.0
// The scan on Hopper (wgmma.cuh) for sketches of 64 and 128 elements. Their tiles take so few clocks that every
// instruction between two of them counts: a tile comes whole, with what the epilogue wants to know of it, and one
// barrier says that all of it is there, another that nobody needs it any more.
#pragma once

#include "cuda/wgmma.cuh"

namespace fastkmeans::cuda {

// The place of tile number t in the ring, and the parity of its phase there.
__device__ inline int ring_place(int t) { return static_cast<unsigned>(t) % kShortRing; }
__device__ inline int ring_parity(int t) { return static_cast<unsigned>(t) / kShortRing % 2; }

// As scan_wgmma(). kSteps: of 64 elements, 1 or 2. Of the epilogue, besides: end(warp) is called by warps that have
// multiplied when all tiles are looked at, and then expand(warp, the rows' sketches) by all.
template <class Place, int kSteps, class Epilogue>
__global__ __launch_bounds__(Place::kThreads, 1) void scan_wgmma_short(const ScanTask task,
                                                                       const typename Epilogue::Output output) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) std::int8_t shared[];
  constexpr int kRows = Place::kRows, kSlots = Place::kSlots, kTileBytes = kSteps * kStepBytes;
  constexpr int kMultiplyingWarps = Place::kMultiplying / kWarp;
  __shared__ std::uint64_t barriers[2 * kSlots];
  const int first_row = static_cast<int>(blockIdx.x) * kRows, rows = rows_of(task);
  if (first_row >= rows) return;
  const BlockTiles tiles(task);
  const int thread = static_cast<int>(threadIdx.x);
  const Place place;
  Epilogue epilogue(task, output, place, first_row, rows, tiles);

  const std::uint32_t row_steps = (shared_address(shared) + 1023) & ~1023u;
  const std::uint32_t ring = row_steps + kSteps * Place::kRowStep;
  const std::uint32_t full = shared_address(barriers), empty = full + 8 * kSlots;
  if (thread == 0) {
    for (int i = 0; i < kSlots; ++i) {
      make_barrier(full + 8 * i, Place::kBringing + 1);
      make_barrier(empty + 8 * i, kMultiplyingWarps);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  bring_rows<Place>(task, first_row, rows, kSteps, row_steps);
  __syncthreads();

  // The compiler is told that it is the same for a warp: what follows from it takes no registers.
  const int warp = __shfl_sync(kAll, thread / kWarp, 0);
  constexpr int kBringingWarps = Place::kBringing / kWarp;
  if (warp >= kMultiplyingWarps && warp < kMultiplyingWarps + kBringingWarps) {
    constexpr int kAhead = Place::kAhead;
#pragma unroll 1
    for (int first = 0; first < tiles.count; first += kAhead) {
#pragma unroll
      for (int turn = 0; turn < kAhead; ++turn) {
        const int t = first + turn, slot = ring_place(t);
        if (t >= tiles.count) break;
        wait_for(empty + 8 * slot, ring_parity(t) ^ 1);
        epilogue.bring(thread - Place::kMultiplying, turn, slot, tiles.at(t), tiles.step);
        arrive(full + 8 * slot);
      }
    }
  } else if (warp >= kMultiplyingWarps) {
    for (int t = 0; t < tiles.count; ++t) {
      const int slot = ring_place(t);
      wait_for(empty + 8 * slot, ring_parity(t) ^ 1);
      if (place.lane > 0) continue;
      arrive_and_expect(full + 8 * slot, kTileBytes);
      copy_bulk(ring + slot * kTileBytes, task.centroids.q + std::int64_t{2} * tiles.at(t) * kTileBytes, kTileBytes,
                full + 8 * slot);
    }
  } else {
    const std::uint32_t my_rows = row_steps + warp / 4 * 64 * kGranule;
    Products<WgmmaSums> products;
    const auto wait_for_tile = [&](int t) { wait_for(full + 8 * ring_place(t), ring_parity(t)); };
    const auto begin_tile = [&](int t) {
      const std::uint32_t centroids = ring + ring_place(t) * kTileBytes;
      begin_products();
#pragma unroll
      for (int half = 0; half < 2 * kSteps; ++half)
        multiply_tile(products[0], descriptor(my_rows + half / 2 * Place::kRowStep + half % 2 * 32),
                      descriptor(centroids + half / 2 * kStepBytes + half % 2 * 32), half);
      commit_products();
    };
    // Nothing is waited for between a tile's products and the next one's, nor is there a branch (scan_wgmma.cuh): after
    // the last tile it is multiplied once more.
    const int last = tiles.count - 1;
    if (last >= 0) wait_for_tile(0);
    begin_tile(0);
#pragma unroll 1
    for (int t = 0; t <= last; ++t) {
      const int slot = ring_place(t), next = min(t + 1, last);
      epilogue.prepare(slot);
      wait_for_tile(next);
      wait_for_products<0>();
      products_are_made(products);
      epilogue.take(products);
      begin_tile(next);
      epilogue.look(slot, tiles.at(t));
      __syncwarp();
      if (place.lane == 0) arrive(empty + 8 * slot);
    }
    wait_for_products<0>();
    epilogue.end(warp);
  }
  __syncthreads();
  epilogue.expand(warp, shared + (row_steps - shared_address(shared)));
  __syncthreads();
  epilogue.finish(first_row, rows);
#endif
}

}  // namespace fastkmeans::cuda
