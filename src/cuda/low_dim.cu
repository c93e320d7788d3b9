// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "cuda/low_dim.cuh"
#include "cuda/low_dim.hpp"
#include "sketch/reach.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kBlocks = 32;  // of a multiprocessor, which take turns: none of them has much to do when others are done

// What the kernels read of the centroids, in whole tiles: less the centre, rounded, in rows of `dims`; a thread each.
__global__ void describe_centroids(const Centroids centroids, const float* centre, FilterBound bound, int dims,
                                   float* values, float* starts) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= whole_tiles(centroids.k)) return;
  double squares = 0, kept = 0, lost = 0;
  for (int j = 0; j < dims; ++j) {
    const float b = c < centroids.k && j < centroids.d ? centroids.row(c)[j] - centre[j] : 0.0f,
                w = tensor_core_value(b);
    values[static_cast<std::int64_t>(c) * dims + j] = w;
    const auto exact = static_cast<double>(b), near = static_cast<double>(w);
    squares += exact * exact;
    kept += near * near;
    lost += (exact - near) * (exact - near);
  }
  starts[c] =
      c < centroids.k ? bound.start({.sq_norm = kept, .error = sqrt(lost) + kCentring * sqrt(squares)}) : -kInfinity;
}

// A row's two best scores among some centroids.
struct Two {
  float best, second;
  int who;
  __device__ void take(float score, int c) {
    second = fmaxf(second, fminf(best, score));
    who = score > best ? c : who;
    best = fmaxf(best, score);
  }
  // Those of a lane whose number differs in this bit: of other centroids. Both lanes agree on the best.
  __device__ void join(int bit) {
    const float other = __shfl_xor_sync(kAll, best, bit), other_second = __shfl_xor_sync(kAll, second, bit);
    const int other_who = __shfl_xor_sync(kAll, who, bit);
    second = fmaxf(fmaxf(second, other_second), fminf(best, other));
    who = other > best || (other == best && other_who < who) ? other_who : who;
    best = fmaxf(best, other);
  }
};

// Blocks take rows in turns: how many blocks it takes, and the first row of this warp.
template <int kDims>
__device__ unsigned blocks_of(int count) {
  return static_cast<unsigned>((count + Shape<kDims>::kRowsOfBlock - 1) / Shape<kDims>::kRowsOfBlock);
}
template <int kDims>
__device__ int first_row(unsigned turn) {
  const int block = static_cast<int>(turn * gridDim.x + blockIdx.x);
  return block * Shape<kDims>::kRowsOfBlock + static_cast<int>(threadIdx.x) / kWarp * Shape<kDims>::kRows;
}

// Rows that need more than a kernel does for them: a list.
struct OpenRows {
  std::int32_t* rows;
  std::int32_t* count;
  __device__ void add(int i) const { rows[atomicAdd(count, 1)] = i; }
  ChosenRows chosen() const { return {rows, count}; }
};

__device__ void put(const Batch& batch, int i, const Best& best) {
  const bool bad = batch.states[i] & kBadRow;
  batch.labels[i] = bad ? 0 : best.label;
  batch.distances[i] = bad ? 0.0f : best.distance;
}

__device__ void add_pairs(int pairs, Integer* refined) {
  pairs = __reduce_add_sync(kAll, pairs);
  if (lane_id() == 0 && pairs) atomicAdd(refined, static_cast<Integer>(pairs));
}

// Rows whose two best scores are too near to tell are left to others, with the nearest so far.
template <int kDims>
__global__ __launch_bounds__(kLowDimThreads, 3) void nearest_two(const LowDimScan scan, const ChosenRows chosen,
                                                                 const OpenRows left_over, Integer* nearest,
                                                                 Integer* refined) {
  using S = Shape<kDims>;
  __shared__ PassingCentroids<kDims> passing;
  const Batch& batch = scan.batch;
  const int count = scan.count(chosen);
  int pairs = 0;
  for (unsigned turn = 0; turn * gridDim.x + blockIdx.x < blocks_of<kDims>(count); ++turn) {
    const WarpRows<kDims> rows(scan, chosen, first_row<kDims>(turn), count);
    Two two[S::kSlots];
#pragma unroll
    for (Two& of_slot : two) of_slot = {-kInfinity, -kInfinity, 0};
    passing.score(scan, rows, turn == 0, [&](int slot, int c, float score, float next) {
      two[slot].take(score, c);
      two[slot].take(next, c + 1);
    });
#pragma unroll
    for (int slot = 0; slot < S::kSlots; ++slot)
#pragma unroll
      for (int bit = 1; bit <= 2; bit *= 2) two[slot].join(bit);
    float distances[S::kSlots];
    rows.distances(
        scan, [&](int slot) { return two[slot].who; }, distances);
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
      const int i = rows.own_index(own);
      const Two found = own_of(two, own);
      const Best best = {own_of(distances, own), found.who};
      if (i < 0) continue;
      put(batch, i, best);
      if (batch.states[i] & kBadRow) continue;
      ++pairs;
      if (found.second < rows.threshold(scan.bound, own, best.distance)) continue;
      nearest[i] = Distance::packed(best);
      left_over.add(i);
    }
  }
  add_pairs(pairs, refined);
}

// The same for rows that have a label, of the assignment before. D to that centroid gives the threshold beforehand, so
// what must be known of the other scores is which reach it: if none or one do, the row is done.
template <int kDims>
__global__ __launch_bounds__(kLowDimThreads, Shape<kDims>::kConfirming) void confirm_labels(const LowDimScan scan,
                                                                                            const OpenRows open,
                                                                                            Integer* refined) {
  using S = Shape<kDims>;
  __shared__ PassingCentroids<kDims> passing;
  const Batch& batch = scan.batch;
  const Codes codes(scan.centroids.k);
  int pairs = 0;
  for (unsigned turn = 0; turn * gridDim.x + blockIdx.x < blocks_of<kDims>(batch.count); ++turn) {
    const WarpRows<kDims> rows(scan, {}, first_row<kDims>(turn), batch.count);
    const auto label = [&](int slot) { return batch.previous[rows.index(slot)]; };
    float distances[S::kSlots], before[S::kOwn], factors[S::kOwn], offsets[S::kOwn];
    rows.distances(scan, label, distances);
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
      before[own] = own_of(distances, own);
      const Reach reach(rows.threshold(scan.bound, own, before[own]));
      factors[own] = reach.factor;
      offsets[own] = reach.offset;
    }
    Reach reaches[S::kSlots];
    float sums[S::kSlots] = {};
#pragma unroll
    for (int slot = 0; slot < S::kSlots; ++slot) {
      reaches[slot].factor = of_owner(factors, slot);
      reaches[slot].offset = of_owner(offsets, slot);
    }
    passing.score(scan, rows, turn == 0, [&](int slot, int c, float score, float next) {
      const float code = codes.of(c);
      sums[slot] = fmaf(reaches[slot].by(score), code, sums[slot]);
      sums[slot] = fmaf(reaches[slot].by(next), code + 1, sums[slot]);
    });
#pragma unroll
    for (int slot = 0; slot < S::kSlots; ++slot) {
      sums[slot] = sum_of_four(sums[slot]);
      const int other = codes.other(sums[slot], label(slot));
      if (__any_sync(kAll, other >= 0)) distances[slot] = rows.distance(scan, slot, max(other, 0));
    }
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
      const int i = rows.own_index(own);
      const float sum = own_of(sums, own), of_other = own_of(distances, own);
      if (i < 0) continue;
      Best best = {before[own], batch.previous[i]};
      const int other = codes.other(sum, best.label);
      const bool alone = codes.alone(sum, best.label);
      if (other >= 0) best.take(of_other, other);
      put(batch, i, best);
      if (batch.states[i] & kBadRow) continue;
      pairs += 1 + (other >= 0);
      if (!alone && other < 0) open.add(i);
    }
  }
  add_pairs(pairs, refined);
}

class LowDim final : public Filter {
 public:
  LowDim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most, DeviceBuffer<float> centre)
      : device_(device),
        dims_(d <= 8    ? 8
              : d <= 16 ? 16
              : d <= 32 ? 32
                        : 64),
        centre_(std::move(centre)),
        bound_(FilterBound::of_tensor_cores(d, dims_)),
        values_(device, whole_tiles(k) * dims_),
        starts_(device, whole_tiles(k)),
        nearest_(device, most),
        open_(device, most),
        left_over_(device, most),
        counts_(device, 2) {}

  std::string_view name() const override { return "low_dim"; }

  void prepare(const Centroids& centroids) override {
    centroids_ = centroids;
    describe_centroids<<<blocks_for(whole_tiles(centroids.k), kLowDimThreads), kLowDimThreads, 0, device_.stream()>>>(
        centroids, centre_.data(), bound_, dims_, values_.data(), starts_.data());
    launched("describe_centroids");
  }

  void assign(const Batch& batch, Notes* notes) override {
    switch (dims_) {
      case 8: assign<8>(batch, &notes->refined); break;
      case 16: assign<16>(batch, &notes->refined); break;
      case 32: assign<32>(batch, &notes->refined); break;
      default: assign<64>(batch, &notes->refined);
    }
  }

 private:
  template <int kDims>
  void assign(const Batch& batch, Integer* refined) {
    using S = Shape<kDims>;
    const bool whole = centroids_.d == kDims && batch.rows.ld % S::kWidth == 0 &&
                       reinterpret_cast<std::uintptr_t>(batch.rows.x) % sizeof(typename S::Vector) == 0;
    const LowDimScan scan = {
        centroids_, batch, centre_.data(), values_.data(), starts_.data(), whole, FilterBound::Rounded(bound_, kDims)};
    const OpenRows open = {open_.data(), counts_.data()}, left_over = {left_over_.data(), counts_.data() + 1};
    const unsigned blocks = grid_stride_blocks(device_, batch.count, S::kRowsOfBlock, kBlocks);
    device_.clear(counts_.data(), counts_.bytes());
    const bool labelled = batch.previous && centroids_.k <= Codes::kMost;
    if (labelled) {
      confirm_labels<kDims><<<blocks, kLowDimThreads, 0, device_.stream()>>>(scan, open, refined);
      launched("confirm_labels");
    }
    nearest_two<kDims><<<blocks, kLowDimThreads, 0, device_.stream()>>>(scan, labelled ? open.chosen() : ChosenRows{},
                                                                        left_over, nearest_.data(), refined);
    launched("nearest_two");
    search_chosen<Distance>(device_, centroids_, batch, left_over.chosen(), nearest_.data(), refined);
    unpack_nearest<Distance>(device_, nearest_.data(), batch, left_over.chosen());
  }

  Device& device_;
  int dims_;
  FilterBound bound_;
  DeviceBuffer<float> centre_, values_, starts_;
  DeviceBuffer<Integer> nearest_;
  DeviceBuffer<std::int32_t> open_, left_over_, counts_;
  Centroids centroids_ = {};
};

}  // namespace

std::unique_ptr<Filter> low_dim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most,
                                DeviceBuffer<float> centre) {
  return std::make_unique<LowDim>(device, k, d, most, std::move(centre));
}

}  // namespace fastkmeans::cuda
