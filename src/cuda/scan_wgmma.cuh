// SPDX-License-Identifier: Apache-2.0
// The scan on Hopper: as scan.cuh, with wgmma (m64n128k32) and bulk copies, which compute capability 9.0 alone has.
// Warpgroups multiply 64 rows each; another brings what they need: one thread the centroids' sketches in steps,
// which stand in memory as wgmma reads them (64-byte swizzle), three warps what the epilogue wants to know of a tile.
//
// 256 rows a block where their sketches fit shared memory (tuning.cpp), and one block a multiprocessor: the centroids'
// sketches then come 16 bytes a clock from the second cache; with 128 rows, 32.
#pragma once

#include "cuda/scan.cuh"

namespace fastkmeans::cuda {

inline constexpr int kWarpgroup = 128;

// The sums of a thread: those of two rows with 32 centroids (m64n128 of wgmma).
struct WgmmaSums {
  static constexpr int kRowTiles = 1, kColumnTiles = 16;
};

// Of blocks of so many rows. kAtOnce: steps of a tile whose products begin together.
template <int kBlockRows, int kAtOnce>
struct WgmmaPlace : WgmmaSums {
  static constexpr int kFirstSteps = kAtOnce;
  static constexpr int kRows = kBlockRows, kChains = 4, kStaticShared = wgmma_static_shared(kRows);
  static constexpr int kMultiplying = 2 * kRows;  // threads
  static constexpr int kThreads = kMultiplying + kWarpgroup;
  // ptxas gives a thread what __launch_bounds__ leaves it: 96, 128 or 168. A block can only share these out anew; who
  // asks for more than the others gave back waits for ever.
  static constexpr int kFirstRegisters = (64 << 10) / kThreads / 8 * 8, kOtherRegisters = 56;
  static constexpr int kRegisters = (kFirstRegisters * kThreads - kOtherRegisters * kWarpgroup) / kMultiplying / 8 * 8;
  // What takes a warp longest is to wait for what it asked the second cache for, several hundred clocks.
  static constexpr bool kWalks = false;
  static constexpr int kSlots = 8, kBringing = kWarpgroup - kWarp, kAhead = 3;
  int first_row, lane;
  __device__ WgmmaPlace() : first_row(static_cast<int>(threadIdx.x) / kWarp * 16), lane(lane_id()) {}
  __device__ int row(int, int half) const { return first_row + lane / 4 + 8 * half; }
  __device__ int column(int c, int odd) const { return 8 * c + 2 * (lane % 4) + odd; }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // the machine code of sm_90a; not PTX

// Barriers of shared memory, of which each phase ends when so many threads have arrived and the bytes expected are
// there.
__device__ inline void make_barrier(std::uint32_t barrier, int threads) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(threads));
}
__device__ inline void arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void arrive_and_expect(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// The end of the phase of this parity.
__device__ inline void wait_for(std::uint32_t barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ inline void copy_bulk(std::uint32_t to, const void* from, int bytes, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}

// A place in a ring, and the parity of its phase.
struct RingPlace {
  int slot = 0, parity = 0;
  __device__ void advance(int slots) {
    if (++slot < slots) return;
    slot = 0;
    parity ^= 1;
  }
};

// What wgmma is told of 8-row groups of 64 bytes a row, 512 bytes apart, swizzled by 64 bytes.
__device__ inline std::uint64_t descriptor(std::uint32_t address) {
  std::uint64_t all;
  asm("mov.b64 %0, {%1, %2};" : "=l"(all) : "r"(address >> 4 | 1u << 16), "r"(512u >> 4 | 2u << 30));
  return all;
}
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
// No read of the sums moves up beyond this.
__device__ inline void products_are_made(Products<WgmmaSums>& products) {
#pragma unroll
  for (int c = 0; c < WgmmaSums::kColumnTiles; ++c)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(products[0][c][i])::"memory");
}

// sums = or += the products of 64 rows and 128 centroids, 32 elements of each.
#define FASTKMEANS_FOUR(c) "+r"(sums[c][0]), "+r"(sums[c][1]), "+r"(sums[c][2]), "+r"(sums[c][3])
__device__ inline void multiply_tile(int (&sums)[WgmmaSums::kColumnTiles][4], std::uint64_t rows,
                                     std::uint64_t centroids, int more) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p;\n"
      "}"
      : FASTKMEANS_FOUR(0), FASTKMEANS_FOUR(1), FASTKMEANS_FOUR(2), FASTKMEANS_FOUR(3), FASTKMEANS_FOUR(4),
        FASTKMEANS_FOUR(5), FASTKMEANS_FOUR(6), FASTKMEANS_FOUR(7), FASTKMEANS_FOUR(8), FASTKMEANS_FOUR(9),
        FASTKMEANS_FOUR(10), FASTKMEANS_FOUR(11), FASTKMEANS_FOUR(12), FASTKMEANS_FOUR(13), FASTKMEANS_FOUR(14),
        FASTKMEANS_FOUR(15)
      : "l"(rows), "l"(centroids), "r"(more));
}
#undef FASTKMEANS_FOUR

#endif

// As scan() of scan.cuh with one digit, the rows' sketches in shared memory. Epilogue::bring is called by three warps
// of the last warpgroup, take and look by the others. Without wgmma this is an empty kernel, which has no shared
// memory of its own: has_wgmma() of filter.cu tells it by that.
template <class Place, class Epilogue>
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
  Epilogue epilogue(task, output, place, first_row, rows, tiles);

  constexpr int kRowStep = kRows * kGranule;  // bytes of a step of the rows
  const std::uint32_t row_steps = (shared_address(shared) + 1023) & ~1023u;
  const std::uint32_t stages = row_steps + steps * kRowStep;
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
  for (int at = thread; at < 4 * steps * kRows; at += Place::kThreads) {
    const int row = at / (4 * steps), piece = at % (4 * steps);
    const bool valid = first_row + row < rows;
    const std::int64_t from = valid ? row_at(task, first_row + row) : 0;
    copy_async<16>(row_steps + piece / 4 * kRowStep + place_in_step(row, piece % 4),
                   task.rows + from * task.size + 16 * piece, valid);
  }
  commit_copies();
  wait_for_copies<0>();
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
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
          epilogue.bring(mine, turn, slot.slot, tiles.at(t), tiles.step);
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
      const std::uint32_t a = my_rows + step * kRowStep, b = stages + stage.slot * kStepBytes;
      multiply_tile(products[0], descriptor(a), descriptor(b), step);
      multiply_tile(products[0], descriptor(a + 32), descriptor(b + 32), 1);
      stage.advance(stage_count);
    };
    const auto wait_for_first = [&] {  // steps of a tile
      RingPlace at = stage;
#pragma unroll
      for (int step = 0; step < Place::kFirstSteps; ++step, at.advance(stage_count))
        wait_for(full + 8 * at.slot, at.parity);
    };
    const auto begin_tile = [&] {
      begin_products();
#pragma unroll
      for (int step = 0; step < Place::kFirstSteps; ++step) multiply_step(step);
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
      int begun = Place::kFirstSteps;
      for (int step = Place::kFirstSteps; step < steps; ++step) {
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
  epilogue.finish(first_row, rows);
#endif
}

}  // namespace fastkmeans::cuda
