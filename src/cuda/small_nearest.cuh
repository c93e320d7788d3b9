// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of a row of a small problem, by a thread that has D to several centroids at once.
#pragma once

#include "cuda/loss.cuh"
#include "cuda/small_tuning.hpp"
#include "cuda/warp.cuh"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {

// Where shared memory has dimension j of centroid c: kSmallTogether centroids side by side, a whole group after the
// other, so that the way from dimension to dimension is known to the compiler.
__device__ inline int place_of(int c, int j, int d) {
  return (c / kSmallTogether * d + j) * kSmallTogether + c % kSmallTogether;
}

// The sums of a D's lanes lane, lane + kStep, lane + 2 kStep, ..., added as the tree has it, for a group of centroids,
// c. kWidth: lanes from there on are 0, which adds nothing. kTurns: with d = kTurns * kWidth so many elements in every
// lane, which saves a third of the instructions, and keeps a row in registers; or 0.
template <int kStep, int kWidth, int kTurns>
__device__ __forceinline__ void add_tree(const float* x, const float* c, int d, int lane,
                                         float (&sums)[kSmallTogether]) {
  if constexpr (kStep == kWidth) {
#pragma unroll
    for (int u = 0; u < kSmallTogether; ++u) sums[u] = 0;
    const auto add = [&](int j) {
      const float value = x[j];
      float its[kSmallTogether];
#pragma unroll
      for (int u = 0; u < kSmallTogether; u += 4)
        *reinterpret_cast<float4*>(its + u) = *reinterpret_cast<const float4*>(c + j * kSmallTogether + u);
#pragma unroll
      for (int u = 0; u < kSmallTogether; ++u) sums[u] = Distance{}.add(value, its[u], sums[u]);
    };
    if constexpr (kTurns > 0) {
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) add(lane + turn * kLanes);
    } else {
#pragma unroll 1
      for (int j = lane; j < d; j += kLanes) add(j);
    }
  } else {
    float others[kSmallTogether];
    add_tree<2 * kStep, kWidth, kTurns>(x, c, d, lane, sums);
    add_tree<2 * kStep, kWidth, kTurns>(x, c, d, lane + kStep, others);
#pragma unroll
    for (int u = 0; u < kSmallTogether; ++u) sums[u] = sums[u] + others[u];
  }
}

// The nearest centroid of a row, by a thread.
template <int kWidth, int kTurns>
__device__ Best nearest(const float* row, const float* centroids, int d, int padded) {
  Best best = {kInfinity, 0};
#pragma unroll 1
  for (int c = 0; c < padded; c += kSmallTogether) {
    float distances[kSmallTogether];
    add_tree<1, kWidth, kTurns>(row, centroids + c * d, d, 0, distances);
#pragma unroll
    for (int u = 0; u < kSmallTogether; ++u) best.take(distances[u], c + u);
  }
  return best;
}

}  // namespace fastkmeans::cuda
