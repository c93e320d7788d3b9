// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "cuda/candidates.hpp"
#include "cuda/epilogues.cuh"
#include "cuda/masses.cuh"
#include "cuda/scan.cuh"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpRows = 32;    // of which a warp scans the sketches at once
constexpr int kOfTile = 8;       // candidates that an instruction multiplies with
constexpr int kPairsAtOnce = 8;  // of which a warp takes D at once
// Room for so many pairs a row. After c centroids a candidate is nearer to one row in c or so: it is enough for all
// steps but the first few.
constexpr std::int64_t kPairsOfRow = 2;
constexpr std::int64_t kLeastRoom = 4096;
// Where rows must be fetched for their D, more than one row in so many is better sent with all others.
constexpr std::int64_t kFetched = 4;

// How far a centroid may be that is no farther than this D, and the row's error. D by the rule for tiny data is of
// another scale: as far as can be.
__device__ float reach_of(float distance, float error, const FilterBound& bound) {
  if (__float_as_int(distance) < 0) return kInfinity;
  return round_up(bound.radius(distance) + static_cast<double>(error));
}

__global__ void set_reaches(const float* distances, const float* errors, std::int64_t n, const FilterBound bound,
                            float* reach) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) reach[i] = reach_of(distances[i], errors[i], bound);
}

// A warp for 32 rows at a time: their products with all candidates, on tensor cores, straight from memory. Which
// element of a sketch stands where in the operands is of no account, as long as rows and candidates agree: so a lane
// reads 16 bytes of a row at once, and the four lanes of a row 64 in a piece.
template <int kTiles>  // of candidates
__global__ __launch_bounds__(kThreads) void scan_candidates(const RowSketches rows, const float* reach, std::int64_t n,
                                                            int size, const RowSketches few, int count,
                                                            const NearPairs out, Integer* found) {
  const int group = lane_id() / 4, quarter = lane_id() % 4;
  // Of the candidates that the lane has products of.
  const auto candidate_at = [quarter](int tile, int odd) { return kOfTile * tile + 2 * quarter + odd; };
  float sq_norms[kTiles][2], errors[kTiles][2], inverses[kTiles][2];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const int c = min(candidate_at(tile, odd), count - 1);
      sq_norms[tile][odd] = few.sq_norms[c];
      errors[tile][odd] = few.errors[c];
      inverses[tile][odd] = 2 * few.half_inverse[c];
    }
  const std::int8_t* const columns = few.q + group * size + 16 * quarter;
  for (std::int64_t first = kWarpRows * warp_id(); first < n; first += kWarpRows * warp_count()) {
    // The lane's rows: group, 8 + group, 16 + group, 24 + group of the 32.
    const std::int8_t* from[2][2];
#pragma unroll
    for (int r = 0; r < 4; ++r) from[r / 2][r % 2] = rows.q + min(first + 8 * r + group, n - 1) * size + 16 * quarter;
    int products[2][kTiles][4] = {};
#pragma unroll 2
    for (int step = 0; step < size; step += kGranule) {
      uint4 row_words[2][2], column_words[kTiles];
#pragma unroll
      for (int r = 0; r < 4; ++r) row_words[r / 2][r % 2] = *reinterpret_cast<const uint4*>(from[r / 2][r % 2] + step);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
        column_words[tile] = *reinterpret_cast<const uint4*>(columns + kOfTile * tile * size + step);
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const uint4 top = row_words[r][0], bottom = row_words[r][1];
          const std::uint32_t a[4] = {half ? top.z : top.x, half ? bottom.z : bottom.x, half ? top.w : top.y,
                                      half ? bottom.w : bottom.y};
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile)
            multiply(products[r][tile], a, half ? column_words[tile].z : column_words[tile].x,
                     half ? column_words[tile].w : column_words[tile].y);
        }
    }
    unsigned near = 0;  // a bit for each product
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const std::int64_t row = first + 8 * r + group, at = min(row, n - 1);
      const float half_inverse = rows.half_inverse[at], sq_norm = rows.sq_norms[at], own_reach = reach[at];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
          const int least = least_product(sq_norm, sq_norms[tile][odd], own_reach, errors[tile][odd],
                                          half_inverse * inverses[tile][odd]);
          if (products[r / 2][tile][2 * (r % 2) + odd] >= least && row < n && candidate_at(tile, odd) < count)
            near |= 1u << ((r * kTiles + tile) * 2 + odd);
        }
    }
    if (!__any_sync(kAll, near != 0)) continue;
    const int own = __popc(near);
    int end = own;  // of the lane's among the warp's
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int before = __shfl_up_sync(kAll, end, step);
      if (lane_id() >= step) end += before;
    }
    Integer begin = 0;
    if (lane_id() == kWarp - 1) begin = atomicAdd(found, static_cast<Integer>(end));
    Integer to = __shfl_sync(kAll, begin, kWarp - 1) + static_cast<Integer>(end - own);
    for (; near; near &= near - 1, ++to) {
      const int bit = __ffs(static_cast<int>(near)) - 1, r = bit / (2 * kTiles), tile = bit / 2 % kTiles;
      if (to < out.room)
        out.pairs[to] = {static_cast<std::int32_t>(first + 8 * r + group), candidate_at(tile, bit % 2)};
    }
  }
}

// D of pairs, and the mass that each takes away. are_all: of the rows in `rows`; else there is one for each pair.
__global__ void refine_candidates(const NearPairs near, Integer begin, Integer end, const Integer* found, RowsView rows,
                                  bool are_all, const float* candidates, int d, const MassesView masses, double factor,
                                  MassWords* taken) {
  if (*found > near.room) return;  // all in vain
  __shared__ MassWords sums[Candidates::kMost];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < Candidates::kMost) sums[thread] = {};
  __syncthreads();
  end = min(end, *found);
  for (Integer first = begin + kPairsAtOnce * static_cast<Integer>(warp_id()); first < end;
       first += kPairsAtOnce * static_cast<Integer>(warp_count())) {
    const float *x[kPairsAtOnce], *c[kPairsAtOnce];
#pragma unroll
    for (int u = 0; u < kPairsAtOnce; ++u) {
      const Integer at = min(first + u, end - 1);
      const NearPair pair = near.pairs[at];
      x[u] = rows.row(are_all ? pair.row : static_cast<std::int64_t>(at - begin));
      c[u] = candidates + static_cast<std::int64_t>(pair.candidate) * d;
    }
    const float distance = warp_losses(x, c, d, Distance{});
    const Integer at = first + static_cast<Integer>(lane_group<kPairsAtOnce>());
    if (!leads_group<kPairsAtOnce>() || at >= end) continue;
    near.distances[at] = distance;
    const NearPair pair = near.pairs[at];
    const double before = masses.distance(pair.row), after = true_distance(distance);
    if (after < before)
      add(sums + pair.candidate,
          Masses::mass(before, factor, masses.weight(pair.row)) - Masses::mass(after, factor, masses.weight(pair.row)));
  }
  __syncthreads();
  if (thread >= Candidates::kMost) return;
  if (const Mass mass = sums[thread].mass()) add(taken + thread, mass);
}

__global__ void lower_to_candidate(const NearPairs near, Integer count, int candidate, const float* errors,
                                   const FilterBound bound, float* distances, float* reach) {
  const Integer at = static_cast<Integer>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const NearPair pair = near.pairs[at];
  const float distance = near.distances[at];
  if (pair.candidate != candidate || !(true_distance(distance) < true_distance(distances[pair.row]))) return;
  distances[pair.row] = distance;
  reach[pair.row] = reach_of(distance, errors[pair.row], bound);
}

}  // namespace

Candidates::Candidates(Device& device, const SeededRows& rows)
    : device_(device),
      sketcher_(device, rows.d, central_row(device, rows.store, rows.n, rows.d)),
      bound_(FilterBound::of_sketches(rows.d, 1)),
      q_(device, rows.n * sketcher_.size()),
      half_inverse_(device, rows.n),
      sq_norms_(device, rows.n),
      errors_(device, rows.n),
      reach_(device, rows.n),
      values_(device, kMost * rows.d),
      good_(device, kMost),
      few_q_(device, kMost * sketcher_.size()),
      few_half_inverse_(device, kMost),
      few_sq_norms_(device, kMost),
      few_errors_(device, kMost),
      pairs_(device, std::max(kLeastRoom, kPairsOfRow * rows.n)),
      pair_distances_(device, pairs_.size()),
      near_(device, 1) {
  device.clear(good_.data(), good_.bytes());
  device.clear(few_q_.data(), few_q_.bytes());
  rows.store.each_batch(rows.most, [&](std::int64_t begin, std::int64_t count, RowsView view) {
    sketcher_.sketch_rows(view, count, rows.states + begin, sketches_from(begin));
  });
  lowered(rows);
}

RowSketches Candidates::sketches_from(std::int64_t row) const {
  return {q_.data() + row * sketcher_.size(), half_inverse_.data() + row, sq_norms_.data() + row, errors_.data() + row};
}

void Candidates::lowered(const SeededRows& rows) {
  looked_at_.clear();
  set_reaches<<<blocks_for(rows.n, kThreads), kThreads, 0, device_.stream()>>>(rows.distances, errors_.data(), rows.n,
                                                                               bound_, reach_.data());
  launched("set_reaches");
}

std::optional<std::vector<Mass>> Candidates::look_at(const SeededRows& rows, CentroidsView candidates, int exponent) {
  looked_at_.clear();
  const double factor = std::ldexp(1.0, exponent);
  device_.upload(values_.data(), candidates.values,
                 candidates.k * candidates.d * static_cast<std::int64_t>(sizeof(float)));
  near_.clear();
  scan(rows, static_cast<int>(candidates.k));
  const Integer room = pairs().room;
  if (const auto all = rows.store.all()) {
    refine(rows, *all, true, 0, room, factor);
  } else {
    found_ = near_.fetch(1)->pairs;
    if (found_ > std::min(room, static_cast<Integer>(rows.n / kFetched))) return std::nullopt;
    if (found_ > 0) refine_fetched(rows, found_, factor);
  }
  const Near* const near = near_.fetch(1);
  found_ = near->pairs;
  if (found_ > room) return std::nullopt;
  looked_at_.assign(candidates.values, candidates.values + candidates.k * candidates.d);
  std::vector<Mass> taken;
  for (std::int64_t c = 0; c < candidates.k; ++c) taken.push_back(near->taken[c].mass());
  return taken;
}

void Candidates::scan(const SeededRows& rows, int count) {
  const RowSketches few = {few_q_.data(), few_half_inverse_.data(), few_sq_norms_.data(), few_errors_.data()};
  sketcher_.sketch_rows(RowsView{values_.data(), rows.d}, count, good_.data(), few);
  const auto kernel = count <= kOfTile ? scan_candidates<1> : scan_candidates<2>;
  const unsigned blocks = grid_stride_blocks(device_, rows.n, kWarpRows * (kThreads / kWarp), 8);
  kernel<<<blocks, kThreads, 0, device_.stream()>>>(sketches_from(0), reach_.data(), rows.n,
                                                    static_cast<int>(sketcher_.size()), few, count, pairs(),
                                                    &near_.data()->pairs);
  launched("scan_candidates");
}

void Candidates::refine(const SeededRows& rows, RowsView view, bool are_all, Integer begin, Integer end,
                        double factor) {
  const auto most = static_cast<std::int64_t>(end - begin);
  const unsigned blocks = grid_stride_blocks(device_, most, kPairsAtOnce * (kThreads / kWarp), 8);
  refine_candidates<<<blocks, kThreads, 0, device_.stream()>>>(
      pairs(), begin, end, &near_.data()->pairs, view, are_all, values_.data(), static_cast<int>(rows.d),
      {rows.distances, rows.weights}, factor, near_.data()->taken);
  launched("refine_candidates");
}

// Their rows come from where they are, some at a time.
void Candidates::refine_fetched(const SeededRows& rows, Integer count, double factor) {
  const auto all = static_cast<std::int64_t>(count);
  const std::vector<NearPair> pairs = downloaded(device_, pairs_.data(), all);
  for (std::int64_t begin = 0; begin < all; begin += rows.most) {
    const std::int64_t some = std::min(rows.most, all - begin);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(some));
    std::transform(pairs.begin() + begin, pairs.begin() + begin + some, numbers.begin(),
                   [](const NearPair& pair) { return pair.row; });
    DeviceBuffer<float> values(device_, some * rows.d);
    rows.store.fetch(numbers.data(), some, values.data());
    refine(rows, {values.data(), rows.d}, false, static_cast<Integer>(begin), static_cast<Integer>(begin + some),
           factor);
  }
}

int Candidates::find(const float* row) const {
  const auto d = static_cast<std::size_t>(sketcher_.d());
  for (std::size_t c = 0; c * d < looked_at_.size(); ++c)
    if (std::equal(row, row + d, looked_at_.begin() + static_cast<std::ptrdiff_t>(c * d))) return static_cast<int>(c);
  return -1;
}

void Candidates::lower(const SeededRows& rows, int candidate) {
  looked_at_.clear();
  if (found_ == 0) return;
  lower_to_candidate<<<blocks_for(static_cast<std::int64_t>(found_), kThreads), kThreads, 0, device_.stream()>>>(
      pairs(), found_, candidate, errors_.data(), bound_, rows.distances, reach_.data());
  launched("lower_to_candidate");
}

}  // namespace fastkmeans::cuda
