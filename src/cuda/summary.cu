// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "cuda/summary.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// Distances fall into the same one or two bins nearly always: a thread adds up those of one bin in registers, and a
// warp what its threads have. Atomics of 64 bits in shared memory wait for each other: with one for each thread, 10,000
// rows took 15 us (H200).
class Bins {
 public:
  __device__ explicit Bins(Integer* bins) : bins_(bins) {}

  // As ExactSum::add: three digits of 32 bits, of which the third needs weights.
  __device__ void add(float stored, std::uint64_t weight) {
    const ExactSum::Place place = ExactSum::place_of(stored);
    const int bin = static_cast<int>(place.set) * ExactSum::kBins + static_cast<int>(place.bin);
    if (bin != bin_) {
      flush();
      bin_ = bin;
    }
    const ExactSum::Digits digits = ExactSum::times(place.v, weight);
    sums_[0] += digits.first;
    sums_[1] += digits.second;
    sums_[2] += digits.third;
  }

  // All lanes of a warp together, at the end.
  __device__ void finish() {
    for (unsigned left = kAll; left != 0;) {
      const int bin = __shfl_sync(kAll, bin_, __ffs(static_cast<int>(left)) - 1);
      left &= ~__ballot_sync(kAll, bin_ == bin);
#pragma unroll
      for (int digit = 0; digit < 3; ++digit) {
        const Integer sum = add_lanes(bin_ == bin ? sums_[digit] : Integer{0});
        if (lane_id() == 0 && sum) atomicAdd(bins_ + bin + digit, sum);
      }
    }
  }

 private:
  __device__ void flush() {
#pragma unroll
    for (int digit = 0; digit < 3; ++digit) {
      if (sums_[digit]) atomicAdd(bins_ + bin_ + digit, sums_[digit]);
      sums_[digit] = 0;
    }
  }

  Integer* bins_;
  int bin_ = 0;
  Integer sums_[3] = {};
};

__global__ void add_rows(std::int64_t count, const std::int32_t* previous, const std::int32_t* labels,
                         const float* distances, const std::int64_t* weights, Summary* summary) {
  __shared__ Integer shared[2 * ExactSum::kBins + 2];  // a third digit may lie behind the last bin: always 0
  for (int b = static_cast<int>(threadIdx.x); b < 2 * ExactSum::kBins + 2; b += kThreads) shared[b] = 0;
  __syncthreads();
  int changed = 0;
  Bins bins(shared);
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    bins.add(distances[i], weights ? static_cast<std::uint64_t>(weights[i]) : 1);
    changed += !previous || previous[i] != labels[i];
  }
  bins.finish();
  changed = __reduce_add_sync(kAll, changed);
  if (lane_id() == 0 && changed) atomicAdd(&summary->changed, static_cast<Integer>(changed));
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < 2 * ExactSum::kBins; b += kThreads)
    if (shared[b]) atomicAdd(summary->inertia + b, shared[b]);
}

}  // namespace

Summaries::Summaries(Device& device, std::int64_t k)
    : device_(device),
      memory_(device, static_cast<std::int64_t>(sizeof(Summary)) + k * static_cast<std::int64_t>(sizeof(float))) {
  clear();
}

void Summaries::clear() { device_.clear(memory_.data(), sizeof(Summary)); }

void Summaries::forget_update() {
  device_.clear(&summary()->empty, sizeof(Summary::empty));
  device_.clear(&summary()->largest_centroid, sizeof(Summary::largest_centroid));
}

Summary Summaries::fetch(std::vector<float>* shifts) {
  const char* const all = memory_.fetch(shifts ? memory_.size() : static_cast<std::int64_t>(sizeof(Summary)));
  Summary summary;
  std::memcpy(&summary, all, sizeof summary);
  if (shifts) {
    const auto* const first = reinterpret_cast<const float*>(all + sizeof summary);
    shifts->assign(first, reinterpret_cast<const float*>(all + memory_.size()));
  }
  return summary;
}

void Summaries::add(std::int64_t count, const std::int32_t* previous, const std::int32_t* labels,
                    const float* distances, const std::int64_t* weights) {
  if (count == 0) return;
  add_rows<<<grid_stride_blocks(device_, count, kThreads, 8), kThreads, 0, device_.stream()>>>(
      count, previous, labels, distances, weights, summary());
  launched("add_rows");
}

}  // namespace fastkmeans::cuda
