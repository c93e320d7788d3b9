// SPDX-License-Identifier: Apache-2.0
// Some rows on their way through an assignment, and what a filter is asked to do with them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cuda/movers.hpp"
#include "cuda/rows.hpp"
#include "cuda/sums.hpp"

namespace fastkmeans::cuda {

// Of `count` rows from `first` on; all pointers are to device memory, and to the first of these rows.
struct Batch {
  StoredRows rows;  // in fp32 unless the filter takes them as they are stored
  std::int64_t first;
  int count;
  const std::uint8_t* states;    // RowState
  const float* own_losses;       // L of each row and itself, where labels go by inner products; else null
  const std::int32_t* previous;  // labels that were good before, or null
  std::int32_t* labels;          // out
  float* distances;              // out: D or L as stored
};

// Centroids of an assignment: (k, d) device memory; tiny: all are below kTinyBelow.
struct Centroids {
  const float* values;
  int k, d;
  bool tiny;
  FASTKMEANS_BOTH const float* row(std::int64_t c) const { return values + c * d; }
};

// What a filter notes of an assignment, in device memory: the host reads it when the assignment is over.
struct Notes {
  Integer refined;                // pairs of a row and a centroid whose D was computed
  Integer skipped;                // pairs that did not even need a score
  std::uint32_t slack[kBuckets];  // as choose_movers() takes it, of filters that have movers
};

class Filter {
 public:
  virtual ~Filter() = default;
  virtual std::string_view name() const = 0;
  // Before the batches of an assignment.
  virtual void prepare(const Centroids& centroids) = 0;
  // Whether the next assignment takes rows that are not in fp32.
  virtual bool takes_stored() const { return false; }
  // The nearest centroid of each row; bad rows get label 0 and distance 0. notes: grow.
  virtual void assign(const Batch& batch, Notes* notes) = 0;
  // The centroids moved since the assignment, once: (k) how far, D as stored, on the host and in device memory, where
  // it must stay until the next assignment is over; and what was noted of that assignment.
  virtual void moved(const std::vector<float>&, const float*, const Notes&) {}
  // Nothing that is known of rows holds any more.
  virtual void forget() {}
};

}  // namespace fastkmeans::cuda
