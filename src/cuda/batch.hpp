// SPDX-License-Identifier: Apache-2.0
// Some rows on their way through an assignment, and what a filter is asked to do with them.
#pragma once

#include <cstdint>
#include <string_view>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"

namespace fastkmeans::cuda {

// Of `count` rows from `first` on; all pointers are to device memory, and to the first of these rows.
struct Batch {
  RowsView rows;
  std::int64_t first;
  int count;
  const std::uint8_t* states;    // RowState
  const std::int32_t* previous;  // labels that were good before, or null
  std::int32_t* labels;          // out
  float* distances;              // out: D as stored
};

// Centroids of an assignment: (k, d) device memory; tiny: all are below kTinyBelow.
struct Centroids {
  const float* values;
  int k, d;
  bool tiny;
  FASTKMEANS_BOTH const float* row(std::int64_t c) const { return values + c * d; }
};

class Filter {
 public:
  virtual ~Filter() = default;
  virtual std::string_view name() const = 0;
  // Before the batches of an assignment.
  virtual void prepare(const Centroids& centroids) = 0;
  // The nearest centroid of each row; bad rows get label 0 and distance 0. refined: grows by the pairs whose D was
  // computed (device memory).
  virtual void assign(const Batch& batch, Integer* refined) = 0;
};

}  // namespace fastkmeans::cuda
