// SPDX-License-Identifier: Apache-2.0
// Makes the sketches of rows and centroids, and says what they leave out.
#pragma once

#include <cstdint>

#include "cpu/kernels.hpp"
#include "cpu/products.hpp"
#include "sketch/bound.hpp"
#include "sketch/projection.hpp"
#include "sketch/rotation.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans::cpu {

// A rotation as kernels read it.
class Rotated {
 public:
  Rotated(std::int64_t d, const SketchKernels& kernels);
  Rotated(const Rotated&) = delete;  // view_ points into it
  Rotated& operator=(const Rotated&) = delete;

  const RotationView& view() const { return view_; }
  // What of an error the rotation and the kernels' own arithmetic add (docs/filter.md section 6.3).
  double rounding() const { return rounding_; }

 private:
  Rotation rotation_;
  RotationView view_ = {};  // of rotation_
  double rounding_;
};

class Sketcher {
 public:
  // Rows sketched together: a multiple of every kernel's row_group (4, 6, 8, 12), and no fewer than a panel holds.
  static constexpr std::int64_t kBatch = 48;
  struct Row {
    RowSketch sketch;
    SketchSize size;
  };
  // Memory of one thread.
  struct Scratch {
    Buffer<float> rotated, centred, projected;
  };

  virtual ~Sketcher() = default;
  virtual std::int64_t size() const = 0;  // elements of a sketch
  // Sketches of `count` <= kBatch rows (each padded to ld, zero-filled): q[i] (size) and out[i].
  virtual void sketch(const float* const* rows, std::int64_t count, const float* mu, std::int64_t ld, Scratch& scratch,
                      std::int8_t* const* q, Row* out) const = 0;
};

// All of the rotated row.
class FullSketcher final : public Sketcher {
 public:
  FullSketcher(std::int64_t d, const SketchKernels& kernels) : rotation_(d, kernels), kernels_(kernels) {}
  std::int64_t size() const override { return rotation_.view().size; }
  void sketch(const float* const* rows, std::int64_t count, const float* mu, std::int64_t ld, Scratch& scratch,
              std::int8_t* const* q, Row* out) const override;

 private:
  Rotated rotation_;
  const SketchKernels& kernels_;
};

// The first `columns` directions of a basis, as products take them.
PackedMatrix packed(const Basis& basis, std::int64_t columns, const Kernels& kernels);

// The leading directions of a basis, and one tail, rotated.
class NarrowSketcher final : public Sketcher {
 public:
  // size: of the sketch, a multiple of the kernels' granule. typical_tail: what is taken from tails; any number will
  // do, a typical one leaves small numbers. basis and kernels must outlive this.
  NarrowSketcher(const Basis& basis, std::int64_t size, float typical_tail, const Kernels& kernels);
  std::int64_t size() const override { return size_; }
  void sketch(const float* const* rows, std::int64_t count, const float* mu, std::int64_t ld, Scratch& scratch,
              std::int8_t* const* q, Row* out) const override;

 private:
  std::int64_t size_, used_;  // directions used: the rest of the head is zeros
  const Kernels& kernels_;
  PackedMatrix w_;
  ProjectionBound bound_;
  Rotated rotation_;
  std::vector<float> offsets_;  // (size) taken from the projected row
};

}  // namespace fastkmeans::cpu
