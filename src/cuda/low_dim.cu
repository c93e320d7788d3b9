// SPDX-License-Identifier: Apache-2.0
#include "cuda/distances.hpp"
#include "cuda/low_dim.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 128;
// Rows of a thread, for which each centroid is read from shared memory once: 16 bytes for all 32 lanes take its port 4
// cycles, in which the multiply-adds of 4 rows are done. As many as the registers hold, up to 8.
constexpr int rows_of_thread(int dims) { return dims <= 8 ? 8 : dims <= 32 ? 4 : 2; }
constexpr int kFewRows = 2;             // of a thread, where there would be too few blocks
constexpr int kSharedValues = 8 << 10;  // of centroids, in shared memory at a time: 32 KiB

// What the kernel reads of the centroids: less the centre, in rows of kDims, padded with zeros.
__global__ void describe_centroids(const Centroids centroids, const float* centre, FilterBound bound, int dims,
                                   float* values, float* starts) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= centroids.k) return;
  double squares = 0;
  for (int j = 0; j < dims; ++j) {
    const float b = j < centroids.d ? centroids.row(c)[j] - centre[j] : 0.0f;
    values[static_cast<std::int64_t>(c) * dims + j] = b;
    squares += static_cast<double>(b) * static_cast<double>(b);
  }
  starts[c] = bound.start({.sq_norm = squares, .error = kCentring * sqrt(squares)});
}

template <int kHalf>
__device__ void fold(float (&lane)[kLanes]) {
#pragma unroll
  for (int l = 0; l < kHalf; ++l) lane[l] = lane[l] + lane[l + kHalf];
  if constexpr (kHalf > 1) fold<kHalf / 2>(lane);
}

// D (docs/algorithm.md section 1) by one thread, for at most 64 dimensions.
__device__ float thread_distance(const float* x, const float* c, int d) {
  float lane[kLanes];
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {
    const float t = l < d ? x[l] - c[l] : 0.0f;
    lane[l] = fmaf(t, t, 0.0f);
  }
#pragma unroll
  for (int l = 0; l < kLanes; ++l)
    if (l + kLanes < d) {
      const float t = x[l + kLanes] - c[l + kLanes];
      lane[l] = fmaf(t, t, lane[l]);
    }
  fold<kLanes / 2>(lane);
  return lane[0];
}

// T of FilterBound as the CPU has it (cpu/low_dim_inl.hpp, thresholds).
__device__ float threshold(float distance, float sq_norm, const FilterBound::LowDim& bound) {
  const float radius = __fsqrt_rn(distance * bound.distance_factor + bound.distance_underflow);
  const float apart = (radius + __fsqrt_rn(sq_norm) * bound.error_factor) * (1 + 0x1p-21f);
  return 0.5f * (sq_norm * bound.norm_factor - apart * apart * (1 + 0x1p-20f)) - bound.score_underflow;
}

// Rows whose two best scores are too near to tell are left to others, with the nearest so far.
template <int kDims, int kRows>
__global__ __launch_bounds__(kThreads) void nearest_two(const Centroids centroids, const Batch batch,
                                                        const float* centre, const float* values, const float* starts,
                                                        const FilterBound::LowDim bound, Integer* nearest,
                                                        std::int32_t* left_over, std::int32_t* left_over_count,
                                                        Integer* refined) {
  constexpr int kChunk = kSharedValues / kDims;
  __shared__ __align__(16) float shared[kSharedValues];
  __shared__ float shared_starts[kChunk];
  const int first = static_cast<int>(blockIdx.x) * kThreads * kRows + static_cast<int>(threadIdx.x);
  float a[kRows][kDims], sq_norm[kRows], best[kRows], second[kRows];
  int who[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int i = min(first + r * kThreads, batch.count - 1);
    sq_norm[r] = 0;
#pragma unroll
    for (int j = 0; j < kDims; ++j) {
      a[r][j] = j < centroids.d ? batch.rows.row(i)[j] - centre[j] : 0.0f;
      sq_norm[r] = fmaf(a[r][j], a[r][j], sq_norm[r]);
    }
    best[r] = second[r] = __int_as_float(0xff800000);
    who[r] = 0;
  }
  for (int begin = 0; begin < centroids.k; begin += kChunk) {
    const int count = min(kChunk, centroids.k - begin);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < count * kDims / 4; e += kThreads)
      reinterpret_cast<float4*>(shared)[e] =
          reinterpret_cast<const float4*>(values + static_cast<std::int64_t>(begin) * kDims)[e];
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kThreads) shared_starts[c] = starts[begin + c];
    __syncthreads();
    for (int c = 0; c < count; ++c) {
      float score[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) score[r] = shared_starts[c];
#pragma unroll
      for (int j = 0; j < kDims; j += 4) {
        const float4 b = reinterpret_cast<const float4*>(shared + c * kDims)[j / 4];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          score[r] = fmaf(a[r][j], b.x, score[r]);
          score[r] = fmaf(a[r][j + 1], b.y, score[r]);
          score[r] = fmaf(a[r][j + 2], b.z, score[r]);
          score[r] = fmaf(a[r][j + 3], b.w, score[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const bool better = score[r] > best[r];
        second[r] = fmaxf(second[r], better ? best[r] : score[r]);
        best[r] = better ? score[r] : best[r];
        who[r] = better ? begin + c : who[r];
      }
    }
  }
  int pairs = 0;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int i = first + r * kThreads;
    if (i >= batch.count) continue;
    const bool bad = batch.states[i] & kBadRow;
    const int label = bad ? 0 : who[r];
    const float distance = bad ? 0.0f : thread_distance(batch.rows.row(i), centroids.row(label), centroids.d);
    nearest[i] = Distance::packed({distance, label});
    pairs += !bad;
    if (!bad && !(second[r] < threshold(distance, sq_norm[r], bound))) left_over[atomicAdd(left_over_count, 1)] = i;
  }
  pairs = __reduce_add_sync(kAll, pairs);
  if (lane_id() == 0) atomicAdd(refined, static_cast<Integer>(pairs));
}

using NearestTwo = decltype(&nearest_two<8, kFewRows>);
template <int kDims>
NearestTwo kernel_for(bool few) {
  return few ? nearest_two<kDims, kFewRows> : nearest_two<kDims, rows_of_thread(kDims)>;
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
        values_(device, k * dims_),
        starts_(device, k),
        nearest_(device, most),
        left_over_(device, most),
        left_over_count_(device, 1) {}

  std::string_view name() const override { return "low_dim"; }

  void prepare(const Centroids& centroids) override {
    centroids_ = centroids;
    describe_centroids<<<blocks_for(centroids.k, kThreads), kThreads, 0, device_.stream()>>>(
        centroids, centre_.data(), FilterBound::of_rows(centroids.d), dims_, values_.data(), starts_.data());
    launched("describe_centroids");
  }

  void assign(const Batch& batch, Notes* notes) override {
    Integer* const refined = &notes->refined;
    device_.clear(left_over_count_.data(), left_over_count_.bytes());
    const int rows = kThreads * rows_of_thread(dims_);
    const bool few = blocks_for(batch.count, rows) < 2 * static_cast<unsigned>(device_.processors());
    const NearestTwo kernel = dims_ == 8    ? kernel_for<8>(few)
                              : dims_ == 16 ? kernel_for<16>(few)
                              : dims_ == 32 ? kernel_for<32>(few)
                                            : kernel_for<64>(few);
    kernel<<<blocks_for(batch.count, few ? kThreads * kFewRows : rows), kThreads, 0, device_.stream()>>>(
        centroids_, batch, centre_.data(), values_.data(), starts_.data(), FilterBound::low_dim(centroids_.d),
        nearest_.data(), left_over_.data(), left_over_count_.data(), refined);
    launched("nearest_two");
    search_chosen<Distance>(device_, centroids_, batch, {left_over_.data(), left_over_count_.data()}, nearest_.data(),
                            refined);
    unpack_nearest<Distance>(device_, nearest_.data(), batch);
  }

 private:
  Device& device_;
  int dims_;
  DeviceBuffer<float> centre_, values_, starts_;
  DeviceBuffer<Integer> nearest_;
  DeviceBuffer<std::int32_t> left_over_, left_over_count_;
  Centroids centroids_ = {};
};

}  // namespace

std::unique_ptr<Filter> low_dim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most,
                                DeviceBuffer<float> centre) {
  return std::make_unique<LowDim>(device, k, d, most, std::move(centre));
}

}  // namespace fastkmeans::cuda
