// SPDX-License-Identifier: Apache-2.0
// Rows along a few directions, and the length of what these leave: what narrow sketches are made of
// (sketch/projection.hpp has the bound, docs/filter.md section 6.8 the proof).
#pragma once

#include <cstdint>

#include "cuda/rows.hpp"
#include "cuda/tuning.hpp"
#include "numeric/both.hpp"
#include "sketch/basis.hpp"
#include "sketch/bound.hpp"
#include "sketch/projection.hpp"

namespace fastkmeans::cuda {

// out (count, columns) = (rows - centre) w, in fp32; w: (d, columns), columns a multiple of kGranule; w and out begin
// at a multiple of 16 bytes; centre null: rows w. No term of a sum passes more than product_roundings(d) roundings,
// beside that of the difference.
void multiply(Device& device, RowsView rows, std::int64_t count, std::int64_t d, const float* centre, const float* w,
              std::int64_t columns, float* out);
double product_roundings(std::int64_t d);

class Projection {
 public:
  // size: of z, the last element of which is the tail. centre: (d) device memory that outlives this.
  Projection(Device& device, const Basis& basis, std::int64_t size, const float* centre);

  std::int64_t size() const { return size_; }
  // z: (count, size). errors: (count) each row's share of what |z - z'| may exceed |x - x'| by, rounded up. Of bad rows
  // nothing is said.
  void project(RowsView rows, std::int64_t count, float* z, float* errors) const;

 private:
  Device& device_;
  std::int64_t d_, size_;
  const float* centre_;
  ProjectionBound bound_;
  DeviceBuffer<float> w_;  // (d, size), zeros beyond the basis
};

// What they add to the sketch of a projected centroid.
struct ProjectionErrors {
  const float* errors;  // (k) device memory
  FASTKMEANS_BOTH void add_to(SketchSize& sketch, std::int32_t c) const { sketch.error += errors[c]; }
};

}  // namespace fastkmeans::cuda
