// SPDX-License-Identifier: Apache-2.0
// Masses in kernels.
#pragma once

#include "cuda/masses.hpp"

namespace fastkmeans::cuda {

// To shared or global memory.
__device__ inline void add(MassWords* to, Mass mass) {
  const auto low = static_cast<Integer>(mass);
  const Integer before = atomicAdd(&to->low, low);
  const Integer carry = before + low < before ? 1 : 0;
  if (const Integer high = static_cast<Integer>(mass >> 64) + carry) atomicAdd(&to->high, high);
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
