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

// D of x to several centroids at once, so that more loads are in flight.
template <int kCount>
__device__ inline void warp_distances(const float* x, const float* const (&c)[kCount], int d, float factor,
                                      float (&out)[kCount]) {
  for (int u = 0; u < kCount; ++u) out[u] = 0;
  for (int j = lane_id(); j < d; j += kWarp) {
    const float element = x[j] * factor;
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      const float t = element - c[u][j] * factor;
      out[u] = fmaf(t, t, out[u]);
    }
  }
#pragma unroll
  for (int u = 0; u < kCount; ++u) out[u] = add_lanes(out[u]);
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
