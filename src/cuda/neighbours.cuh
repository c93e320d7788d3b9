// SPDX-License-Identifier: Apache-2.0
// Lists of neighbours, kept from one assignment to the next: of each row the centroids nearest to it, and a bound that
// all others are beyond. As long as no centroid outside the list can have come as near as the nearest one in it, D to
// the list decides. Verlet's lists of particles (Physical Review 159, 1967, p. 98) with a bound for each row; the proof
// is in docs/filter.md section 6.10.
//
// The bound falls by the drift, the farthest that a centroid has moved since. The few that moved much farther than the
// rest, the movers, do not count: rows are scored against them anew.
#pragma once

#include "cuda/batch.hpp"
#include "cuda/epilogues.cuh"
#include "cuda/movers.hpp"
#include "cuda/scan.cuh"
#include "cuda/statistics.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// A scan asks for so many neighbours, as the one before has found how far they are; where it found fewer, for so much
// more. Never for more than so many times the own distance.
inline constexpr int kAskedFor = 8;
inline constexpr float kGrowth = 1.1f, kMostWanted = 4;
// One row in so many is looked at for the choice of movers.
inline constexpr int kSampled = 8;

// Of the rows of a batch, or of all; not kept: null.
struct Neighbours {
  std::int32_t* ids;     // (n, kNeighbours), in any order
  float* least;          // (n, kNeighbours) |x - c| is at least this
  std::uint8_t* counts;  // (n); 0: nothing is known
  float* bounds;         // (n) + drift, the sum of all drifts then: every centroid outside the list is at least so far
  float* wanted;         // (n) how much farther than the own centroid a scan should look, a factor
};

// Since the lists were made or looked at.
struct Moves {
  const float* lengths;  // (k) that each centroid moved, rounded up
  float drift;           // sum of all drifts so far
};

// The nearest centroid of each row so far (distances.hpp); errors, reach: of the row.
struct Found {
  Integer* nearest;
  const float* errors;
  float *reach, *least_reach;  // (epilogues.cuh)

  Reach reaches() const { return {reach, least_reach}; }
  __device__ void set_reach(int i, float distance, float error, const FilterBound& bound) const {
    reach[i] = least_reach[i] = round_up(bound.radius(distance) + static_cast<double>(error));
  }
};

// A list in a warp, a centroid a lane: its least distance and its number, ascending; kNone where there is none.
struct WarpList {
  static constexpr Integer kNone = ~Integer{0};
  Integer mine = kNone;

  __device__ bool has(std::int32_t id) const {
    return __any_sync(kAll, mine != kNone && static_cast<std::int32_t>(mine) == id);
  }
  __device__ void insert(float least, std::int32_t id) {
    const Integer key = packed({least, id});
    const int at = __popc(__ballot_sync(kAll, mine < key));
    const Integer before = __shfl_up_sync(kAll, mine, 1);
    if (lane_id() == at) mine = key;
    if (lane_id() > at) mine = before;
  }
};

__global__ void move_lengths(const float* shifts, int k, const FilterBound bound, float* lengths) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c < k) lengths[c] = round_up(bound.radius(shifts[c]));
}

// D to those of the lists' centroids that may be nearest by now, and which rows they decide: settled[i] is 1, of bad
// rows 2.
__global__ __launch_bounds__(256, 4) void revisit(const Batch batch, const Centroids centroids, const Neighbours kept,
                                                  const Moves moves, const Found found, const FilterBound bound,
                                                  std::uint8_t* settled, Integer* refined) {
  constexpr int kTogether = 4;
  const int lane = lane_id();
  Integer pairs = 0;
  for (std::int64_t i = warp_id(); i < batch.count; i += warp_count()) {
    if (batch.states[i] & kBadRow) {
      if (lane == 0) {
        found.nearest[i] = 0;
        settled[i] = 2;
      }
      continue;
    }
    const float* row = batch.rows.row(i);
    const int count = kept.counts[i];
    Best best = {0, batch.previous[i]};
    std::int32_t id = best.label;
    float least = kInfinity;
    if (lane < count) {
      id = kept.ids[i * kNeighbours + lane];
      least = fmaxf(0.0f, __fsub_rd(kept.least[i * kNeighbours + lane], moves.lengths[id]));
    }
    best.distance = warp_distance(row, centroids.row(best.label), centroids.d, 1.0f);
    ++pairs;
    bool computed = id == best.label;  // lane's least distance is that of D
    if (computed && lane < count) least = round_down(bound.least_radius(best.distance));
    const auto compute = [&](unsigned others) {
      while (others) {
        const float* some[kTogether];
        int from[kTogether];
        float distance[kTogether];
#pragma unroll
        for (int u = 0; u < kTogether; ++u) {
          from[u] = others ? __ffs(static_cast<int>(others)) - 1 : -1;
          pairs += others != 0;
          others &= others - 1;
          some[u] = centroids.row(__shfl_sync(kAll, id, max(from[u], 0)));
        }
        warp_distances(row, some, centroids.d, 1.0f, distance);
#pragma unroll
        for (int u = 0; u < kTogether; ++u) {
          const std::int32_t its = __shfl_sync(kAll, id, max(from[u], 0));
          if (from[u] < 0) continue;
          best.take(distance[u], its);
          if (lane == from[u]) {
            least = round_down(bound.least_radius(distance[u]));
            computed = true;
          }
        }
      }
    };
    float own = round_up(bound.radius(best.distance));
    compute(__ballot_sync(kAll, lane < count && least <= own && !computed));
    own = round_up(bound.radius(best.distance));
    const float beyond = count > 0 ? __fsub_rd(kept.bounds[i], moves.drift) : 0.0f;  // all others are
    const bool decided = beyond > own;
    if (lane < count) kept.least[i * kNeighbours + lane] = least;
    if (lane != 0) continue;
    found.nearest[i] = packed(best);
    const float error = found.errors[i], wanted = count > 0 ? own * kept.wanted[i] : own;
    found.reach[i] = __fadd_ru(decided ? beyond : wanted, error);
    found.least_reach[i] = __fadd_ru(own, error);
    settled[i] = decided;
  }
  if (lane == 0) atomicAdd(refined, pairs);
}

// Rows of the batch by whether they are settled, (2, count) and how many of each; nearly ascending. Pairs that need no
// score are counted: k of a row, but for the movers.
__global__ void split_rows(const std::uint8_t* settled, int count, int most, Integer k, Integer movers,
                           std::int32_t* rows, std::int32_t* counts, Pairs* pairs) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), lane = lane_id();
  const int kind = i < count ? settled[i] : 2;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    const unsigned those = __ballot_sync(kAll, kind == which);
    if (those == 0) continue;
    const int number = __popc(those);
    int first = 0;
    if (lane == 0) {
      first = atomicAdd(counts + which, number);
      if (which == 1) atomicAdd(&pairs->skipped, static_cast<Integer>(number) * (k - movers));
    }
    first = __shfl_sync(kAll, first, 0);
    if (kind == which) rows[which * most + first + __popc(those & ((1u << lane) - 1))] = i;
  }
}

// D to all candidates, a warp a row; and the lists of neighbours, where they are kept. carried: there are lists from
// the assignment before, settled: which decide unless candidates come nearer.
__global__ __launch_bounds__(256, 3) void refine(const ScanTask task, const Batch batch, const Centroids centroids,
                                                 const Lists lists, const Found found, const Neighbours kept,
                                                 bool carried, bool settled, float drift, const FilterBound bound,
                                                 Integer* refined) {
  constexpr int kTogether = 4;  // candidates whose elements are on their way at once
  const int rows = rows_of(task), lane = lane_id();
  Integer pairs = 0;
  for (std::int64_t place = warp_id(); place < rows; place += warp_count()) {
    int total = 0;
    bool ran_over = false;
    for (int part = lane; part < lists.parts; part += kWarp) {
      const int count = lists.counts[static_cast<std::int64_t>(part) * lists.list_rows + place];
      total += count;
      ran_over |= count > lists.listed;
    }
    total = __reduce_add_sync(kAll, total);
    if (total == 0 && (settled || !kept.ids)) continue;
    ran_over = __any_sync(kAll, ran_over);
    const int i = row_at(task, static_cast<int>(place));
    const float* row = batch.rows.row(i);
    WarpList list;
    const int known = carried ? kept.counts[i] : 0;
    for (int t = 0; t < known; ++t)
      list.insert(kept.least[std::int64_t{i} * kNeighbours + t], kept.ids[std::int64_t{i} * kNeighbours + t]);
    Best best = unpacked(found.nearest[i]);
    if (!list.has(best.label)) list.insert(round_down(bound.least_radius(best.distance)), best.label);
    for (int part = 0; part < lists.parts; ++part) {
      const std::int64_t at = static_cast<std::int64_t>(part) * lists.list_rows + place;
      const int count = min(lists.counts[at], lists.listed);
      for (int begin = 0; begin < count; begin += kWarp) {
        std::int32_t mine = -1;
        if (begin + lane < count) mine = task.centroids.order[lists.lists[at * lists.listed + begin + lane]];
        unsigned others = __ballot_sync(kAll, mine >= 0);
        while (others) {
          const float* some[kTogether];
          std::int32_t who[kTogether];
          float distance[kTogether];
          int chosen = 0;
#pragma unroll
          for (int u = 0; u < kTogether; ++u) {
            who[u] = best.label;
            while (others && chosen == u) {
              const std::int32_t id = __shfl_sync(kAll, mine, __ffs(static_cast<int>(others)) - 1);
              others &= others - 1;
              if (list.has(id)) continue;
              who[u] = id;
              ++chosen;
            }
            some[u] = centroids.row(who[u]);
          }
          if (chosen == 0) break;
          warp_distances(row, some, centroids.d, 1.0f, distance);
          pairs += static_cast<Integer>(chosen);
#pragma unroll
          for (int u = 0; u < kTogether; ++u)
            if (u < chosen) {
              best.take(distance[u], who[u]);
              list.insert(round_down(bound.least_radius(distance[u])), who[u]);
            }
        }
      }
    }
    if (lane == 0) found.nearest[i] = packed(best);
    if (!kept.ids) continue;
    // Not recorded: beyond what was asked for. Dropped: not nearer than the first that is.
    const Integer dropped = __shfl_sync(kAll, list.mine, kNeighbours);
    const Integer last = __shfl_sync(kAll, list.mine, kAskedFor - 1);
    const int count = __popc(__ballot_sync(kAll, list.mine != WarpList::kNone && lane < kNeighbours));
    if (lane < count) {
      kept.ids[std::int64_t{i} * kNeighbours + lane] = static_cast<std::int32_t>(list.mine);
      kept.least[std::int64_t{i} * kNeighbours + lane] = unpacked(list.mine).distance;
    }
    if (lane != 0) continue;
    float beyond = __fsub_rd(found.reach[i], found.errors[i]);
    // reach is rounded up: it may say a little more than the bound, which alone holds for what was not scanned.
    if (settled) beyond = fminf(beyond, __fsub_rd(kept.bounds[i], drift));
    if (dropped != WarpList::kNone) beyond = fminf(beyond, unpacked(dropped).distance);
    const float own = round_up(bound.radius(best.distance));
    const float far = last != WarpList::kNone ? unpacked(last).distance : kGrowth * beyond;
    kept.wanted[i] = own > 0 ? fminf(fmaxf(__fdividef(far, own), 1.0f), kMostWanted) : 1.0f;
    kept.counts[i] = static_cast<std::uint8_t>(ran_over ? 0 : count);
    kept.bounds[i] = __fadd_rd(beyond, drift);
  }
  if (lane == 0 && pairs) atomicAdd(refined, pairs);
}

// By how much the bounds of some rows may fall until they are open, squared: a histogram.
__global__ void measure_slack(const Batch batch, const Neighbours kept, const Integer* nearest, const FilterBound bound,
                              float drift, std::uint32_t* slack) {
  __shared__ std::uint32_t mine[kBuckets];
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += static_cast<int>(blockDim.x)) mine[b] = 0;
  __syncthreads();
  for (std::int64_t i = std::int64_t{kSampled} * (blockIdx.x * blockDim.x + threadIdx.x); i < batch.count;
       i += std::int64_t{kSampled} * gridDim.x * blockDim.x) {
    if (batch.states[i] & kBadRow) continue;
    const float own = round_up(bound.radius(unpacked(nearest[i]).distance));
    const float left = kept.counts[i] > 0 ? fmaxf(0.0f, __fsub_rd(kept.bounds[i], drift) - own) : 0.0f;
    atomicAdd(&mine[min(bucket_of(left * left), kBuckets - 1)], 1u);
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += static_cast<int>(blockDim.x))
    if (mine[b] > 0) atomicAdd(slack + b, mine[b]);
}

}  // namespace fastkmeans::cuda
