// SPDX-License-Identifier: Apache-2.0
// The rows of a shard as fp32 and as the metric wants them, a tile at a time: where they lie if they can be read there,
// else as a copy. One thread's own.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans::cpu {

// What every pass over the rows of a shard works with; all of it outlives the pass.
struct Context {
  MatrixView x;
  const Metric& metric;
  const Kernels& kernels;
  Workers& workers;

  // The kernel of the metric's loss.
  auto loss() const {
    return metric.loss() == Loss::distance ? kernels.distance : kernels.negated_product;  // mutant: refined_loss
  }
};

class RowTile {
 public:
  // capacity: rows of a tile, at most. width: elements of a row that its reader takes, x.cols or padded(x.cols); those
  // beyond x.cols are zeros.
  RowTile(const Context& context, std::int64_t capacity, std::int64_t width);

  // Rows [first, first + count) of x. Bad ones, with an element of magnitude_limit or more, stay as they are.
  void load(std::int64_t first, std::int64_t count);
  // The same as a copy in any case: (count, ld()) from row(0) on, and all up to the capacity can be read.
  void load_copy(std::int64_t first, std::int64_t count);
  // Row i of a copy, multiplied by kTinyScale.
  void scale(std::int64_t i);

  const float* row(std::int64_t i) const { return reinterpret_cast<const float*>(first_row_ + i * stride_); }
  std::int64_t ld() const { return ld_; }
  // Floats from row to row: ld() of a copy.
  std::int64_t stride() const { return stride_ / static_cast<std::int64_t>(sizeof(float)); }

 private:
  float* copied(std::int64_t i) { return copy_.data() + i * ld_; }

  const Context& context_;
  std::int64_t capacity_, ld_;
  bool in_place_;
  std::vector<float> copy_;  // (capacity, ld), from zeros: kernels read beyond the last row
  const char* first_row_ = nullptr;
  std::int64_t stride_ = 0;  // in bytes
};

// A central row, (cols), that the filter may take from rows and centroids (sketch/centre.hpp).
std::vector<float> centre_of(const Context& context);

}  // namespace fastkmeans::cpu
