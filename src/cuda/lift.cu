// SPDX-License-Identifier: Apache-2.0
#include "cuda/lift.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// |c|^2 in fp64, and the largest: of positive numbers the bits are ordered as they are.
__global__ void measure_lengths(const Centroids centroids, double* sq_lengths, double* most) {
  for (std::int64_t c = warp_id(); c < centroids.k; c += warp_count()) {
    const float* row = centroids.row(c);
    double sum = 0;
    for (int j = lane_id(); j < centroids.d; j += kWarp) sum = fma(static_cast<double>(row[j]), row[j], sum);
    sum = add_lanes(sum);
    if (lane_id() != 0) continue;
    sq_lengths[c] = sum;
    atomicMax(reinterpret_cast<Integer*>(most), static_cast<Integer>(__double_as_longlong(sum)));
  }
}

}  // namespace

FilterBound DeviceLift::raise(const Centroids& centroids, const FilterBound& bound) {
  device_.clear(most_.data(), most_.bytes());
  measure_lengths<<<blocks_for(centroids.k, kThreads / kWarp), kThreads, 0, device_.stream()>>>(
      centroids, sq_lengths_.data(), most_.data());
  launched("measure_lengths");
  device_.download(&sq_ceiling_, most_.data(), sizeof sq_ceiling_);
  return bound.lifted(sq_ceiling_);
}

}  // namespace fastkmeans::cuda
