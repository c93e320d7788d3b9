// SPDX-License-Identifier: Apache-2.0
// The scan on Hopper (wgmma.cuh) for sketches of any length that fits: centroids come in steps of 64 elements.
#pragma once

#include "cuda/wgmma.cuh"

namespace fastkmeans::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// A place in a ring, and the parity of its phase.
struct RingPlace {
  int slot = 0, parity = 0;
  __device__ void advance(int slots) {
    if (++slot < slots) return;
    slot = 0;
    parity ^= 1;
  }
};
#endif

// As scan() of scan.cuh with one digit, the rows' sketches in shared memory. Epilogue::bring is called by three warps
// of the last warpgroup, take and look by the others. kFirstSteps: steps of a tile whose products begin together.
// Without wgmma this is an empty kernel, which has no shared memory of its own: has_wgmma() of filter.cu tells it by
// that.
template <class Place, int kFirstSteps, class Epilogue>
__global__ __launch_bounds__(Place::kThreads, 1) void scan_wgmma(const ScanTask task,
                                                                 const typename Epilogue::Output output) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) std::int8_t shared[];
  constexpr int kRows = Place::kRows, kSlots = Place::kSlots, kBringing = Place::kBringing, kAhead = Place::kAhead;
  constexpr int kMultiplyingWarps = Place::kMultiplying / kWarp;
  __shared__ std::uint64_t barriers[2 * kMostStages + 2 * kSlots];
  const int first_row = static_cast<int>(blockIdx.x) * kRows, rows = rows_of(task), stage_count = task.stages;
  if (first_row >= rows) return;
  const BlockTiles tiles(task);
  const int steps = task.size / kGranule, thread = static_cast<int>(threadIdx.x);
  const Place place;
  Epilogue epilogue(task, output, place, tiles);
  if (thread < kRows) epilogue.begin(thread, first_row, rows);

  const std::uint32_t row_steps = (shared_address(shared) + 1023) & ~1023u;
  const std::uint32_t stages = row_steps + steps * Place::kRowStep;
  // A stage is full when its bytes are there, empty when all warps have multiplied it; a slot of the epilogue is ready
  // when it is written, and looked at when all warps have.
  const std::uint32_t full = shared_address(barriers), empty = full + 8 * kMostStages;
  const std::uint32_t ready = empty + 8 * kMostStages, looked_at = ready + 8 * kSlots;
  if (thread == 0) {
    for (int i = 0; i < stage_count; ++i) {
      make_barrier(full + 8 * i, 1);
      make_barrier(empty + 8 * i, kMultiplyingWarps);
    }
    for (int i = 0; i < kSlots; ++i) {
      make_barrier(ready + 8 * i, kBringing);
      make_barrier(looked_at + 8 * i, kMultiplyingWarps);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  bring_rows<Place>(task, thread, Place::kThreads, first_row, rows, steps, row_steps);
  wait_for_rows();
  __syncthreads();

  if (thread >= Place::kMultiplying) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Place::kOtherRegisters));
    const int mine = thread - Place::kMultiplying;
    if (mine < kBringing) {
      RingPlace slot, before;
#pragma unroll 1
      for (int first = 0; first < tiles.count; first += kAhead) {
#pragma unroll
        for (int turn = 0; turn < kAhead; ++turn, slot.advance(kSlots)) {
          const int t = first + turn;
          if (t >= tiles.count) break;
          wait_for(looked_at + 8 * slot.slot, slot.parity ^ 1);
          epilogue.bring(mine, turn, slot.slot, tiles.at(t), tiles.at(t + kAhead));
          commit_copies();
          if (t < kAhead) continue;
          wait_for_copies<kAhead>();
          arrive(ready + 8 * before.slot);
          before.advance(kSlots);
        }
      }
      wait_for_copies<0>();
      for (int left = min(kAhead, tiles.count); left > 0; --left, before.advance(kSlots))
        arrive(ready + 8 * before.slot);
    } else if (mine == kBringing) {
      RingPlace stage;
      for (int t = 0; t < tiles.count; ++t) {
        const std::int8_t* from = task.centroids.q + std::int64_t{2} * tiles.at(t) * kTile * task.size;
        for (int step = 0; step < steps; ++step, stage.advance(stage_count), from += kStepBytes) {
          wait_for(empty + 8 * stage.slot, stage.parity ^ 1);
          arrive_and_expect(full + 8 * stage.slot, kStepBytes);
          copy_bulk(stages + stage.slot * kStepBytes, from, kStepBytes, full + 8 * stage.slot);
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Place::kRegisters));
    const std::uint32_t my_rows = row_steps + thread / kWarpgroup * 64 * kGranule;
    Products<WgmmaSums> products;
    RingPlace stage, used, slot;
    const auto multiply_step = [&](int step) {
      const std::uint32_t a = my_rows + step * Place::kRowStep, b = stages + stage.slot * kStepBytes;
      multiply_tile(products[0], descriptor(a), descriptor(b), step);
      multiply_tile(products[0], descriptor(a + 32), descriptor(b + 32), 1);
      stage.advance(stage_count);
    };
    const auto wait_for_first = [&] {  // steps of a tile
      RingPlace at = stage;
#pragma unroll
      for (int step = 0; step < kFirstSteps; ++step, at.advance(stage_count)) wait_for(full + 8 * at.slot, at.parity);
    };
    const auto begin_tile = [&] {
      begin_products();
#pragma unroll
      for (int step = 0; step < kFirstSteps; ++step) multiply_step(step);
      commit_products();
    };
    const auto release = [&](int count) {  // stages whose products are made
      for (; count > 0; --count, used.advance(stage_count))
        if (place.lane == 0) arrive(empty + 8 * used.slot);
    };
    // Between a tile's products and the next one's there is nothing to wait for: the warpgroups tend to come to it at
    // the same time, and then nothing is multiplied. Hence the epilogue only takes what it needs before they begin, and
    // looks at it while they are made.
    // Nor is there a branch around products, which ptxas would put in sequence then: those after the last tile are of
    // what happens to lie there.
    if (tiles.count > 0) wait_for_first();
    begin_tile();
    for (int t = 0; t < tiles.count; ++t, slot.advance(kSlots)) {
      int begun = kFirstSteps;
      for (int step = kFirstSteps; step < steps; ++step) {
        wait_for(full + 8 * stage.slot, stage.parity);
        begin_products();
        multiply_step(step);
        commit_products();
        wait_for_products<1>();
        release(begun);
        begun = 1;
      }
      wait_for(ready + 8 * slot.slot, slot.parity);
      epilogue.prepare(slot.slot);
      if (t + 1 < tiles.count) wait_for_first();
      wait_for_products<0>();
      products_are_made(products);
      epilogue.take(products);
      begin_tile();
      release(begun);
      epilogue.look(slot.slot, tiles.at(t));
      __syncwarp();
      if (place.lane == 0) arrive(looked_at + 8 * slot.slot);
    }
    wait_for_products<0>();
  }
  __syncthreads();
  if (thread < kRows) epilogue.finish(thread, first_row, rows);
#endif
}

}  // namespace fastkmeans::cuda
