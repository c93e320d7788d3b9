// SPDX-License-Identifier: Apache-2.0
// The centroids of one assignment in the forms that filter and refine read.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend.hpp"
#include "bound.hpp"
#include "cpu/kernels.hpp"
#include "workers.hpp"

namespace fastkmeans::cpu {

// Memory for floats that is not initialised: the threads that fill it touch its pages first, between checkpoints.
class FloatBuffer {
 public:
  void resize(std::int64_t size) {
    if (size <= size_) return;
    values_ = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(size));
    size_ = size;
  }
  float* data() { return values_.get(); }
  const float* data() const { return values_.get(); }

 private:
  std::unique_ptr<float[]> values_;
  std::int64_t size_ = 0;
};

struct PreparedCentroids {
  std::int64_t k = 0, d = 0, ld = 0, panels = 0;
  float factor = 1;           // kTinyScale if rows and centroids are multiplied by it first
  std::vector<float> mu;      // (ld) the centre that the filter subtracts, zero-filled
  FloatBuffer rows;           // (k, ld) times factor, zero-filled: for D
  FloatBuffer packed;         // (panels, d, panel_width) of b = row - mu: for the filter
  std::vector<float> starts;  // (panels, panel_width); -infinity drops a centroid: padding, copies of a lower one

  const float* row(std::int64_t c) const { return rows.data() + c * ld; }

  // mu: (d), or empty for zero.
  void prepare(CentroidsView centroids, const std::vector<float>& centre, float scale_factor, const FilterBound& bound,
               const Kernels& kernels, Workers& workers);
};

// Coordinate-wise median of an eighth of x's rows, at most kCentreRows, spread evenly over it; (d). Any vector is valid
// as mu, a central one makes the bound tight; a mean would be dragged away by one outlier.
inline constexpr std::int64_t kCentreRows = 128;  // its noise adds about 1 % to |x - mu|^2; more rows slow small fits
std::vector<float> central_row(const MatrixView& x, const Kernels& kernels, Workers& workers);

}  // namespace fastkmeans::cpu
