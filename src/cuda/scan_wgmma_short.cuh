// SPDX-License-Identifier: Apache-2.0
// The scan on Hopper (wgmma.cuh) for sketches of 64 and 128 elements. Their tiles take so few clocks that every
// instruction between two of them counts: a tile comes whole, with what the epilogue wants to know of it, and one
// barrier says that all of it is there, another that a warpgroup needs it no more.
//
// A block stays, the tiles come round and round, and each warpgroup joins them with 64 rows when it is ready, at
// whatever tile is next, and leaves when it has seen all of them: while one looks at what its rows have left, the
// others multiply. Its next rows are on their way meanwhile. (Without the instructions that were saved this won
// nothing, nor was the saving measured without it: docs/performance-gpu.md, "Where a block's time goes".)
#pragma once

#include "cuda/wgmma.cuh"

namespace fastkmeans::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// The groups of rows of a launch, shared out among blocks and their warpgroups: blocks first, since there may be few.
template <class Place>
struct GroupShare {
  int rows;
  explicit __device__ GroupShare(const ScanTask& task) : rows(rows_of(task)) {}
  __device__ int groups() const { return (rows + Place::kGroupRows - 1) / Place::kGroupRows; }
  // The first row of a warpgroup's group number `turn`; beyond the last: at least `rows`.
  __device__ int first_row(int warpgroup, int turn) const {
    return static_cast<int>((Place::kGroups * turn + warpgroup) * gridDim.x + blockIdx.x) * Place::kGroupRows;
  }
  // How many a warpgroup has.
  __device__ int turns(int warpgroup) const {
    const int apart = static_cast<int>(Place::kGroups * gridDim.x);
    const int first = static_cast<int>(warpgroup * gridDim.x + blockIdx.x);
    return max(0, groups() - first + apart - 1) / apart;
  }
};

// What the warps of a block tell each other: barriers, and what they say more of tiles and warpgroups.
template <class Place>
struct TileRing {
  static constexpr int kSlots = Place::kSlots, kGroups = Place::kGroups;
  struct Shared {
    std::uint64_t full[kSlots];            // a tile is there,
    std::uint64_t chosen[kSlots];          // or known to come: which warpgroups will see it
    std::uint64_t empty[kGroups][kSlots];  // a warpgroup has seen it
    std::uint64_t ready[kGroups];          // a warpgroup has its rows,
    std::uint64_t joined[kGroups];         // and knows the first tile that it will see
    unsigned seen_by[kSlots];              // bits of kGroups * buffer + warpgroup; 0: there are no more tiles
    int tile[kSlots];
    int first[kGroups];
  };
  Shared& shared;
  std::uint32_t barriers;
  explicit __device__ TileRing(Shared& all) : shared(all), barriers(kept(shared_address(&all))) {}

  __device__ std::uint32_t full(int slot) const { return barriers + 8 * slot; }
  __device__ std::uint32_t chosen(int slot) const { return barriers + 8 * (kSlots + slot); }
  __device__ std::uint32_t empty(int group) const { return barriers + 8 * kSlots * (2 + group); }  // of slot 0
  __device__ std::uint32_t ready(int group) const { return barriers + 8 * (kSlots * (2 + kGroups) + group); }
  __device__ std::uint32_t joined(int group) const { return ready(group) + 8 * kGroups; }
  __device__ void make() const {
    for (int i = 0; i < kSlots; ++i) {
      make_barrier(full(i), Place::kBringing + 1);
      make_barrier(chosen(i), 1);
      for (int g = 0; g < kGroups; ++g) make_barrier(empty(g) + 8 * i, Place::kGroupRows / 16);
    }
    for (int g = 0; g < kGroups; ++g) {
      make_barrier(ready(g), 1);
      make_barrier(joined(g), 1);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  // The place of tile number t, and the parity of its phase there.
  __device__ static int slot(int t) { return t & (kSlots - 1); }
  __device__ static int parity(int t) { return t / kSlots & 1; }
  static_assert((kSlots & (kSlots - 1)) == 0);
};

// By a warp, a lane of which looks after each warpgroup: it says which tiles the warpgroup sees, and brings them.
template <class Place>
__device__ void bring_tiles(const ScanTask& task, const GroupShare<Place>& share, const BlockTiles& tiles,
                            const TileRing<Place>& ring, std::uint32_t to, int bytes) {
  const int lane = lane_id(), group = min(lane, Place::kGroups - 1);
  int left = lane < Place::kGroups ? share.turns(group) : 0, until = 0, joins = 0, tile = 0;
  unsigned used = 0, parities = 0;  // of its slots: that it sees the tile there; of its barrier
  for (int t = 0;;) {
    const int slot = ring.slot(t);
    if (used >> slot & 1) {
      wait_for(ring.empty(group) + 8 * slot, parities >> slot & 1);
      parities ^= 1u << slot;
      used ^= 1u << slot;
    }
    if (t >= until && left > 0 && has_ended(ring.ready(group), joins & 1)) {
      ring.shared.first[group] = t;
      until = t + tiles.count;
      ++joins;
      --left;
      arrive(ring.joined(group));
    }
    const bool sees = t < until;
    if (sees) used |= 1u << slot;
    const bool second = joins % 2 == 0;  // of its buffers: that of the turn it joined with last
    const unsigned seen_by = __ballot_sync(kAll, sees && !second) | __ballot_sync(kAll, sees && second)
                                                                        << Place::kGroups;
    if (seen_by == 0 && __any_sync(kAll, left > 0)) continue;
    if (lane == 0) {
      ring.shared.seen_by[slot] = seen_by;
      ring.shared.tile[slot] = tiles.at(tile);
      arrive(ring.chosen(slot));
    }
    if (seen_by == 0) return;
    if (lane == 0) {
      arrive_and_expect(ring.full(slot), bytes);
      copy_bulk(to + slot * bytes, task.centroids.q + std::int64_t{2} * tiles.at(tile) * bytes, bytes, ring.full(slot));
    }
    ++t;
    if (++tile == tiles.count) tile = 0;
  }
}

#endif

// As scan_wgmma(). kSteps: of 64 elements, 1 or 2. Of the epilogue, besides: bring() is told which warpgroups see the
// tile, bits; when a warpgroup has seen all tiles, its warps call end(warp), and then expand(warp, the block's rows'
// sketches).
template <class Place, int kSteps, class Epilogue>
__global__ __launch_bounds__(Place::kThreads, 1) void scan_wgmma_short(const ScanTask task,
                                                                       const typename Epilogue::Output output) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) std::int8_t shared[];
  constexpr int kTileBytes = kSteps * kStepBytes, kAhead = Place::kAhead;
  constexpr int kMultiplyingWarps = Place::kMultiplying / kWarp, kBringingWarps = Place::kBringing / kWarp;
  __shared__ typename TileRing<Place>::Shared ring_shared;
  const GroupShare<Place> share(task);
  if (share.first_row(0, 0) >= share.rows) return;
  const BlockTiles tiles(task);  // one or more (tuning.cpp, choose_parts)
  const int thread = static_cast<int>(threadIdx.x);
  const Place place;
  Epilogue epilogue(task, output, place, tiles);
  const TileRing<Place> ring(ring_shared);
  const std::uint32_t row_steps = (shared_address(shared) + 1023) & ~1023u;
  const std::uint32_t tiles_at = row_steps + Place::kBuffers * kSteps * Place::kRowStep;
  const auto my_rows = [&](int buffer, int group) {
    return row_steps + buffer * kSteps * Place::kRowStep + group * Place::kGroupRows * kGranule;
  };
  const auto row_of_block = [&](int buffer, int group, int row) {
    return buffer * Place::kRows + group * Place::kGroupRows + row;
  };
  if (thread == 0) ring.make();
  __syncthreads();

  // The compiler is told that it is the same for a warp: what follows from it takes no registers.
  const int warp = __shfl_sync(kAll, thread / kWarp, 0);
  if (warp >= kMultiplyingWarps + kBringingWarps) {
    bring_tiles<Place>(task, share, tiles, ring, tiles_at, kTileBytes);
  } else if (warp >= kMultiplyingWarps) {
    int ahead = kAhead % tiles.count;
    for (int first = 0;; first += kAhead) {
#pragma unroll
      for (int turn = 0; turn < kAhead; ++turn) {
        const int t = first + turn, slot = ring.slot(t);
        wait_for(ring.chosen(slot), ring.parity(t));
        const unsigned seen_by = ring.shared.seen_by[slot];
        if (seen_by == 0) return;
        epilogue.bring(thread - Place::kMultiplying, turn, slot, ring.shared.tile[slot], tiles.at(ahead), seen_by);
        arrive(ring.full(slot));
        if (++ahead == tiles.count) ahead = 0;
      }
    }
  } else {
    const int group = warp / 4, mine = thread % kWarpgroup, turns = share.turns(group);
    // Asks for the rows of a turn.
    const auto fetch = [&](int turn) {
      if (turn >= turns) return;
      const int first_row = share.first_row(group, turn), buffer = turn % 2;
      bring_rows<Place>(task, mine, kWarpgroup, first_row, share.rows, kSteps, my_rows(buffer, group));
      if (mine < Place::kGroupRows) epilogue.begin(row_of_block(buffer, group, mine), first_row, share.rows);
    };
    const auto announce = [&](int turn) {
      if (mine == 0 && turn < turns) arrive(ring.ready(group));
    };
    fetch(0);
    wait_for_rows();
    Place::sync_group(group);
    announce(0);
#pragma unroll 1
    for (int turn = 0; turn < turns; ++turn) {
      const int buffer = turn % 2;
      fetch(turn + 1);
      wait_for(ring.joined(group), turn & 1);

      Products<WgmmaSums> products;
      const std::uint32_t empty = ring.empty(group);
      const std::uint32_t rows_at = descriptor_at(my_rows(buffer, group)), all_tiles_at = kept(descriptor_at(tiles_at));
      const auto wait_for_tile = [&](int t) { wait_for(ring.full(ring.slot(t)), ring.parity(t)); };
      const auto begin_tile = [&](int t) {
        const std::uint32_t centroids = all_tiles_at + ring.slot(t) * (kTileBytes / 16);
        begin_products();
#pragma unroll
        for (int half = 0; half < 2 * kSteps; ++half)
          multiply_tile(products[0], descriptor_of(rows_at + half / 2 * Place::kRowStep / 16 + half % 2 * 2),
                        descriptor_of(centroids + half / 2 * kStepBytes / 16 + half % 2 * 2), half);
        commit_products();
      };
      // Nothing is waited for between a tile's products and the next one's, nor is there a branch (scan_wgmma.cuh):
      // after the last tile it is multiplied once more.
      int t = ring.shared.first[group];
      const int last = t + tiles.count - 1;
      wait_for_tile(t);
      begin_tile(t);
#pragma unroll 1
      for (; t <= last; ++t) {
        const int slot = ring.slot(t), next = t + (t < last);
        epilogue.prepare(slot);
        wait_for_tile(next);
        wait_for_products<0>();
        products_are_made(products);
        epilogue.take(products);
        begin_tile(next);
        epilogue.look(slot, ring.shared.tile[slot], buffer);
        __syncwarp();
        if (place.lane == 0) arrive(empty + 8 * slot);
      }
      wait_for_products<0>();
      epilogue.end(warp);
      wait_for_rows();
      Place::sync_group(group);
      announce(turn + 1);
      epilogue.expand(warp, buffer, shared + (my_rows(buffer, 0) - shared_address(shared)));
      Place::sync_group(group);
      if (mine < Place::kGroupRows)
        epilogue.finish(row_of_block(buffer, group, mine), share.first_row(group, turn), share.rows);
    }
  }
#endif
}

}  // namespace fastkmeans::cuda
