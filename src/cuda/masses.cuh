// SPDX-License-Identifier: Apache-2.0
// Masses in kernels.
#pragma once

#include "cuda/masses.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {

// To shared or global memory.
__device__ inline void add(MassWords* to, Mass mass) {
  const auto low = static_cast<Integer>(mass);
  const Integer before = atomicAdd(&to->low, low);
  const Integer carry = before + low < before ? 1 : 0;
  if (const Integer high = static_cast<Integer>(mass >> 64) + carry) atomicAdd(&to->high, high);
}

// In every lane.
__device__ inline Mass sum_of_lanes(Mass sum) {
  for (int half = kWarp / 2; half >= 1; half /= 2) {
    const Integer low = __shfl_xor_sync(kAll, static_cast<Integer>(sum), half);
    const Integer high = __shfl_xor_sync(kAll, static_cast<Integer>(sum >> 64), half);
    sum += MassWords{low, high}.mass();
  }
  return sum;
}

// What the kernels read of each row.
struct MassesView {
  const float* distances;
  const std::int64_t* weights;  // or null
  __device__ std::int64_t weight(std::int64_t row) const { return weights ? weights[row] : 1; }
  __device__ double distance(std::int64_t row) const { return true_distance(distances[row]); }
  __device__ Mass mass(std::int64_t row, double factor) const {
    return Masses::mass(distance(row), factor, weight(row));
  }
};

}  // namespace fastkmeans::cuda
