// SPDX-License-Identifier: Apache-2.0
// What the threads of a warp do together: D, maxima, places in lists.
#pragma once

#include <cstdint>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {

inline constexpr int kWarp = 32;
static_assert(kLanes == kWarp, "a lane of D is a lane of a warp");
inline constexpr unsigned kAll = 0xffffffffu;

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }

// The warps of a one-dimensional grid, and which this is.
__device__ inline std::int64_t warp_id() {
  return (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
}
__device__ inline std::int64_t warp_count() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x / kWarp; }

// The tree that adds the lanes of D: l with l + 16, + 8, + 4, + 2, + 1. In every lane, since a + b is b + a.
template <class T>
__device__ inline T add_lanes(T sum) {
  for (int half = kWarp / 2; half >= 1; half /= 2) sum = sum + __shfl_xor_sync(kAll, sum, half);
  return sum;
}

__device__ inline std::uint32_t largest_of_lanes(std::uint32_t value) { return __reduce_max_sync(kAll, value); }

// D (docs/algorithm.md section 1), in every lane; factor: 1, or kTinyScale for scaled pairs.
__device__ inline float warp_distance(const float* x, const float* c, int d, float factor) {
  float sum = 0;
  for (int j = lane_id(); j < d; j += kWarp) {
    const float t = x[j] * factor - c[j] * factor;
    sum = fmaf(t, t, sum);
  }
  return add_lanes(sum);
}

// The same tree for several sums at once, with fewer exchanges: that of sums[u] in the lanes of group u, lane_group().
template <int kCount>
__device__ inline int lane_group() {
  return lane_id() / (kWarp / kCount);
}
template <int kCount>
__device__ inline float add_lanes_by_group(float (&sums)[kCount]) {
  int half = kWarp / 2;
#pragma unroll
  for (int left = kCount / 2; left >= 1; left /= 2, half /= 2) {
    const bool upper = lane_id() & half;
#pragma unroll
    for (int u = 0; u < left; ++u) {
      const float kept = upper ? sums[u + left] : sums[u], given = upper ? sums[u] : sums[u + left];
      sums[u] = kept + __shfl_xor_sync(kAll, given, half);
    }
  }
  float sum = sums[0];
#pragma unroll
  for (; half >= 1; half /= 2) sum = sum + __shfl_xor_sync(kAll, sum, half);
  return sum;
}
// Of what the lanes of each group have, that of group u.
template <int kCount, class T>
__device__ inline T of_group(T value, int u) {
  return __shfl_sync(kAll, value, u * (kWarp / kCount));
}

template <int kCount>
__device__ inline bool leads_group() {
  return lane_id() % (kWarp / kCount) == 0;
}

// D of several pairs at once, so that more loads are in flight: that of x[u] and c[u] in the lanes of group u.
template <int kCount>
__device__ inline float warp_distances(const float* const (&x)[kCount], const float* const (&c)[kCount], int d,
                                       float factor) {
  float sums[kCount] = {};
  for (int j = lane_id(); j < d; j += kWarp) {
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      const float t = x[u][j] * factor - c[u][j] * factor;
      sums[u] = fmaf(t, t, sums[u]);
    }
  }
  return add_lanes_by_group(sums);
}
// Of one x.
template <int kCount>
__device__ inline float warp_distances(const float* x, const float* const (&c)[kCount], int d, float factor) {
  const float* same[kCount];
#pragma unroll
  for (int u = 0; u < kCount; ++u) same[u] = x;
  return warp_distances(same, c, d, factor);
}

// The nearest centroid so far: the least D, ties to the lowest index. D >= 0, so its bits are ordered as it is.
struct Best {
  float distance;
  std::int32_t label;
  __device__ void take(float other, std::int32_t c) {
    if (other < distance || (other == distance && c < label)) {
      distance = other;
      label = c;
    }
  }
};

// The same as one integer, of which the least is the nearest.
__device__ inline Integer packed(const Best& best) {
  return Integer{__float_as_uint(best.distance)} << 32 | static_cast<std::uint32_t>(best.label);
}
__device__ inline Best unpacked(Integer nearest) {
  return {__uint_as_float(static_cast<std::uint32_t>(nearest >> 32)), static_cast<std::int32_t>(nearest)};
}

}  // namespace fastkmeans::cuda
