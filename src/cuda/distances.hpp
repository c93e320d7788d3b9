// SPDX-License-Identifier: Apache-2.0
// D, or L, of rows to all of some centroids: where nothing can be filtered, and for what filters leave over.
#pragma once

#include <memory>

#include "cuda/batch.hpp"
#include "numeric/metric.hpp"

namespace fastkmeans::cuda {

// A list of rows of a batch, in device memory; no list: all of them. A bad row of a list stays what it was.
struct ChosenRows {
  const std::int32_t* rows = nullptr;
  const std::int32_t* count = nullptr;
};

// The best centroid of each row of the batch so far, (batch.count) device memory, packed as the loss has it (loss.cuh:
// Minimised is one of those). unset_nearest: none. search_chosen: of all centroids, for the chosen rows; looks at
// Device::stop(). unpack_nearest: to labels and distances as the batch wants them, of the chosen rows.
void unset_nearest(Device& device, Integer* nearest, std::int64_t count);
template <class Minimised>
void search_chosen(Device& device, const Centroids& centroids, const Batch& batch, const ChosenRows& chosen,
                   Integer* nearest, Integer* refined);
template <class Minimised>
void unpack_nearest(Device& device, const Integer* nearest, const Batch& batch, const ChosenRows& chosen = {},
                    bool tiny = false);

// All pairs: the filter "none". most: rows of a batch.
std::unique_ptr<Filter> all_pairs(Device& device, std::int64_t most, Loss loss);

// How far centroids moved: shifts[c] = D(to_c, from_c) as stored, scaled by the rule of assignments with `from` as the
// centroids, which are tiny or not. *largest: the largest magnitude in `to`, as bits; it is 0 before.
void measure_move(Device& device, const float* to, const Centroids& from, float* shifts, std::uint32_t* largest);

// distances[i] = the least D to these, as stored; unless `first`, no more than it was.
void lower_distances(Device& device, const Centroids& added, RowsView rows, std::int64_t count,
                     const std::uint8_t* states, bool first, float* distances);

// Whether all of `count` values are below kTinyBelow; waits.
bool are_tiny(Device& device, const float* values, std::int64_t count);

}  // namespace fastkmeans::cuda
