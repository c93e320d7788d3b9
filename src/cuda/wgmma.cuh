// SPDX-License-Identifier: Apache-2.0
// What the scans on Hopper are made of: wgmma (m64n128k32), bulk copies and their barriers, which compute capability
// 9.0 alone has.
//
// Warpgroups multiply 64 rows each; another brings what they need: one thread the centroids' sketches, which stand in
// memory as wgmma reads them (64-byte swizzle), three warps what the epilogue wants to know of a tile.
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

// Of blocks of so many rows.
template <int kBlockRows>
struct WgmmaPlace : WgmmaSums {
  static constexpr int kRows = kBlockRows, kGroupRows = kRows, kGroups = 1, kBuffers = 1;
  static constexpr int kChains = 4, kStaticShared = wgmma_static_shared(kRows);
  static constexpr int kMultiplying = 2 * kRows;  // threads
  static constexpr int kThreads = kMultiplying + kWarpgroup;
  // ptxas gives a thread what __launch_bounds__ leaves it: 96, 128 or 168. A block can only share these out anew; who
  // asks for more than the others gave back waits for ever.
  static constexpr int kFirstRegisters = (64 << 10) / kThreads / 8 * 8, kOtherRegisters = 56;
  static constexpr int kRegisters = (kFirstRegisters * kThreads - kOtherRegisters * kWarpgroup) / kMultiplying / 8 * 8;
  // What takes a warp longest is to wait for what it asked the second cache for, several hundred clocks.
  static constexpr int kSlots = kShortRing, kBringing = kWarpgroup - kWarp, kAhead = 3;
  static constexpr int kRowStep = kRows * kGranule;  // bytes of a step of the rows
  int first_row, lane;
  __device__ WgmmaPlace() : first_row(static_cast<int>(threadIdx.x) / kWarp * 16), lane(lane_id()) {}
  __device__ int row(int, int half) const { return first_row + lane / 4 + 8 * half; }
  __device__ int column(int c, int odd) const { return 8 * c + 2 * (lane % 4) + odd; }
};

// Of the scan of short sketches, whose warpgroups begin and end their rows on their own, while the next are on their
// way.
struct ShortPlace : WgmmaPlace<256> {
  static constexpr int kGroupRows = 64, kGroups = kRows / kGroupRows, kBuffers = kShortBuffers;
  // All threads of a group.
  static __device__ void sync_group(int group) {
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(kWarpgroup) : "memory");
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // the machine code of sm_90a; not PTX

// An address of shared memory that stays in a register: the compiler would work it out anew wherever it is used.
__device__ inline std::uint32_t kept(std::uint32_t address) {
  asm volatile("" : "+r"(address));
  return address;
}
__device__ inline int load_shared(std::uint32_t address) {
  int value;
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

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
// Whether the phase of this parity has ended.
__device__ inline bool has_ended(std::uint32_t barrier, int parity) {
  int ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.b32 %0, 1, 0, p;\n"
      "}"
      : "=r"(ended)
      : "r"(barrier), "r"(parity)
      : "memory");
  return ended;
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

// What wgmma is told of 8-row groups of 64 bytes a row, 512 bytes apart, swizzled by 64 bytes: the half that says where
// they are, to which bytes / 16 may be added, and all of it.
__device__ inline std::uint32_t descriptor_at(std::uint32_t address) { return address >> 4 | 1u << 16; }
__device__ inline std::uint64_t descriptor_of(std::uint32_t at) {
  std::uint64_t all;
  asm("mov.b64 %0, {%1, %2};" : "=l"(all) : "r"(at), "r"(512u >> 4 | 2u << 30));
  return all;
}
__device__ inline std::uint64_t descriptor(std::uint32_t address) { return descriptor_of(descriptor_at(address)); }
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

// Asks for the sketches of a group's rows, step by step, by so many threads; those beyond the last are zeros.
template <class Place>
__device__ void bring_rows(const ScanTask& task, int thread, int threads, int first_row, int rows, int steps,
                           std::uint32_t to) {
  for (int at = thread; at < 4 * steps * Place::kGroupRows; at += threads) {
    const int row = at / (4 * steps), piece = at % (4 * steps);
    const bool valid = first_row + row < rows;
    const std::int64_t from = valid ? row_at(task, first_row + row) : 0;
    copy_async<16>(to + piece / 4 * Place::kRowStep + place_in_step(row, piece % 4),
                   task.rows + from * task.size + 16 * piece, valid);
  }
}
// They are there, and wgmma may read them once all threads have come here.
__device__ inline void wait_for_rows() {
  commit_copies();
  wait_for_copies<0>();
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#endif

}  // namespace fastkmeans::cuda
