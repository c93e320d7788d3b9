// SPDX-License-Identifier: Apache-2.0
// Cluster sums as integers (numeric/fixed_point.hpp) in device memory.
#pragma once

#include <cstdint>
#include <optional>

#include "cuda/device.hpp"
#include "numeric/both.hpp"
#include "numeric/fixed_point.hpp"
#include "runtime/reducer.hpp"

namespace fastkmeans::cuda {

using Integer = unsigned long long;  // what CUDA's atomics take for 64 bits
static_assert(sizeof(Integer) == sizeof(std::uint64_t));

struct SumsView {
  Integer *hi, *lo;            // (k, d); lo null with one limb
  Integer *weights, *members;  // (k); members null where all rows count once: weights are the same
  int k, d;
  FASTKMEANS_BOTH Integer* counts() const { return members ? members : weights; }
};

struct ScaleView {
  const double *grain, *inverse, *lo_inverse;  // (d); lo_inverse null with one limb
  double fine;
  __device__ double sum(const SumsView& sums, std::int64_t c, int j) const {
    const std::int64_t at = c * sums.d + j;
    double sum = static_cast<double>(static_cast<long long>(sums.hi[at])) * grain[j];
    if (sums.lo) sum += static_cast<double>(static_cast<long long>(sums.lo[at])) * (grain[j] * fine);
    return sum;
  }
};

// A FixedPoint in device memory.
class Scale {
 public:
  Scale(Device& device, const FixedPoint& scale);
  ScaleView view() const;

 private:
  DeviceBuffer<double> grain_, inverse_, lo_inverse_;
  double fine_;
};

class Sums {
 public:
  Sums(Device& device, std::int64_t k, std::int64_t d, bool two_limbs, bool weighted);
  SumsView view() const;
  void clear(Device& device);

 private:
  int k_, d_;
  DeviceBuffer<Integer> hi_, lo_, weights_, members_;
};

// all: becomes the sums of all shards, by way of the host; own: of this one.
void join_sums(Device& device, const SumsView& own, const SumsView& all, Reducer& reducer);

}  // namespace fastkmeans::cuda
