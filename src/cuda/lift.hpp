// SPDX-License-Identifier: Apache-2.0
// Inner products as distances on the device (sketch/lift.hpp, docs/filter.md section 6.11): the centroids have heights.
#pragma once

#include <cstdint>

#include "cuda/batch.hpp"
#include "cuda/device.hpp"
#include "numeric/both.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// What heights add to the sketch of centroid c: nothing, for distances.
struct NoHeights {
  FASTKMEANS_BOTH void add_to(SketchSize&, std::int32_t) const {}
};
struct Heights {
  const double* sq_lengths;  // (k) device memory
  double sq_ceiling;         // M^2, not below any of these
  FASTKMEANS_BOTH void add_to(SketchSize& sketch, std::int32_t c) const {
    sketch.sq_norm += sq_ceiling - sq_lengths[c];
  }
};

// Of a filter by distances.
class NoLift {
 public:
  NoLift(Device&, std::int64_t) {}
  FilterBound raise(const Centroids&, const FilterBound& bound) { return bound; }
  NoHeights heights() const { return {}; }
};

// Of a filter by inner products.
class DeviceLift {
 public:
  DeviceLift(Device& device, std::int64_t k) : device_(device), sq_lengths_(device, k), most_(device, 1) {}
  // These centroids from here on; waits. Returns the bound for them.
  FilterBound raise(const Centroids& centroids, const FilterBound& bound);
  Heights heights() const { return {sq_lengths_.data(), sq_ceiling_}; }

 private:
  Device& device_;
  DeviceBuffer<double> sq_lengths_, most_;
  double sq_ceiling_ = 0;
};

}  // namespace fastkmeans::cuda
