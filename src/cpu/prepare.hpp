// SPDX-License-Identifier: Apache-2.0
// The centroids of one assignment in the forms that filter and refine read.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "cpu/kernels.hpp"
#include "runtime/workers.hpp"
#include "shard.hpp"
#include "sketch/bound.hpp"
#include "sketch/rotation.hpp"

namespace fastkmeans::cpu {

// Memory that is not initialised: the threads that fill it touch its pages first, between checkpoints. It starts at a
// cache line: AMX's tiles are loaded by the line, and lines that straddle two take twice the time.
template <class T>
class Buffer {
 public:
  void resize(std::int64_t size) {
    if (size <= size_) return;
    values_.reset();  // first: both at once need not fit
    values_.reset(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), kLine)));
    size_ = size;
  }
  T* data() { return values_.get(); }
  const T* data() const { return values_.get(); }
  std::int64_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Delete {
    void operator()(T* values) const { ::operator delete(values, kLine); }
  };
  std::unique_ptr<T, Delete> values_;
  std::int64_t size_ = 0;
};

// Rotation as the kernels take it, and what of an error the kernels' own arithmetic adds (docs/algorithm.md section 6).
class Sketcher {
 public:
  Sketcher() = default;
  Sketcher(std::int64_t d, const SketchKernels& kernels);

  std::int64_t size() const { return rotation_.size; }
  // The sketch of a row (padded to ld, zero-filled); q: (size); work: (size) floats.
  RowSketch sketch(const float* row, const float* mu, std::int64_t ld, float* work, std::int8_t* q) const {
    return kernels_->sketch_row(row, mu, ld, view_, work, q);
  }
  SketchSize bound(const RowSketch& row) const;

 private:
  Rotation rotation_;
  RotationView view_ = {};
  const SketchKernels* kernels_ = nullptr;
  double rounding_ = 0;
};

// What the filter scans: panels in fp32 or int8, or single rows.
enum class Layout { panels, sketches, rows };

struct PreparedCentroids {
  std::int64_t k = 0, d = 0, ld = 0, panels = 0;
  float factor = 1;                    // kTinyScale if rows and centroids are multiplied by it first
  const Sketcher* sketcher = nullptr;  // with sketches
  std::vector<float> mu;               // (ld) the centre that the filter subtracts, zero-filled
  Buffer<float> rows;                  // (k, ld) times factor, zero-filled: for D
  Buffer<float> packed;  // (panels, d, panel_width) of b = row - mu, or (panels panel_width, d): the fp32 filters'
  Buffer<std::uint8_t> sketches;    // (panels, size / 4, panel_width, 4): the int8 filter's
  std::vector<float> scales;        // (panels, panel_width) of the sketches
  std::vector<float> starts;        // (panels, panel_width); -infinity drops a centroid: padding, copies of a lower one
  std::vector<std::int32_t> order;  // (panels panel_width) which centroid stands there, k for none
  std::vector<std::int32_t> slot_of;   // (k) and where it stands
  std::vector<std::uint8_t> has_copy;  // (panels) a centroid of the panel was dropped as a copy

  const float* row(std::int64_t c) const { return rows.data() + c * ld; }

  // mu: (d), or empty for zero. order: which centroid stands where in the panels, (k) or empty for their own order.
  void prepare(CentroidsView centroids, const std::vector<float>& centre, float scale_factor, const FilterBound& bound,
               Layout layout, const Sketcher* with, const std::vector<std::int32_t>& wanted_order,
               const Kernels& kernels, Workers& workers);
};

// Coordinate-wise median of an eighth of x's rows, at most kCentreRows, spread evenly over it; (d). Any vector is valid
// as mu, a central one makes the bound tight; a mean would be dragged away by one outlier.
inline constexpr std::int64_t kCentreRows = 128;  // its noise adds about 1 % to |x - mu|^2; more rows slow small fits
std::vector<float> central_row(const MatrixView& x, const Kernels& kernels, Workers& workers);

}  // namespace fastkmeans::cpu
