// SPDX-License-Identifier: Apache-2.0
// Makes the sketches of rows and centroids, and says what they leave out.
#pragma once

#include <cstdint>

#include "cpu/kernels.hpp"
#include "sketch/bound.hpp"
#include "sketch/rotation.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans::cpu {

class Sketcher {
 public:
  Sketcher(std::int64_t d, const SketchKernels& kernels);

  // All of the rotated row, and no tail.
  SketchShape shape() const { return {.head = rotation_.size, .tail = 0}; }
  std::int64_t size() const { return shape().size(); }
  // The sketch of a row (padded to ld, zero-filled); work: (size) floats; q: (size) out.
  RowSketch sketch(const float* row, const float* mu, std::int64_t ld, float* work, std::int8_t* q) const {
    return kernels_.sketch_row(row, mu, ld, view_, work, q);
  }
  SketchSize bound(const RowSketch& row) const { return size_of(row, size(), rounding_); }

 private:
  Rotation rotation_;
  RotationView view_ = {};  // of rotation_
  const SketchKernels& kernels_;
  double rounding_;  // what of an error the rotation and the kernels' own arithmetic add (docs/algorithm.md section 6)
};

}  // namespace fastkmeans::cpu
