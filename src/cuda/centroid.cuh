// SPDX-License-Identifier: Apache-2.0
// Where the centroid of a cluster lies, by a warp: a type for each kind of metric (numeric/metric.cpp).
#pragma once

#include <cstdint>

#include "cuda/sums.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {

struct Mean {
  static __device__ void update(const SumsView& sums, const ScaleView& scale, std::int64_t c, const float*,
                                float* out) {
    const auto weight = static_cast<double>(static_cast<long long>(sums.weights[c]));
    for (int j = lane_id(); j < sums.d; j += kWarp) out[j] = static_cast<float>(scale.sum(sums, c, j) / weight);
  }
};

// before: where it was; it may be `out`.
struct Direction {
  static __device__ void update(const SumsView& sums, const ScaleView& scale, std::int64_t c, const float* before,
                                float* out) {
    double sum = 0;
    for (int j = lane_id(); j < sums.d; j += kWarp) {
      const double s = scale.sum(sums, c, j);
      sum = fma(s, s, sum);
    }
    const double length = sqrt(add_lanes(sum));
    for (int j = lane_id(); j < sums.d; j += kWarp)
      out[j] = length > 0 ? static_cast<float>(scale.sum(sums, c, j) / length) : before[j];
  }
};

}  // namespace fastkmeans::cuda
