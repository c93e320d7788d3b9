// SPDX-License-Identifier: Apache-2.0
// Random rows (docs/algorithm.md section 5): who is in the sample, and who are the initial centroids. Rows of weight 0
// are in neither.
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/metric.hpp"
#include "runtime/reducer.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// Rows that count at all.
std::int64_t rows_of_weight(const Source& rows, Workers& workers);

// A row of any shard.
struct RowPlace {
  std::int64_t index;  // among those of its shard, which alone needs it
  int rank;            // of its shard
};

// These rows of all shards as the metric takes them, (places, d), the same on every shard.
void rows_at(const std::vector<RowPlace>& places, const Source& rows, const Metric& metric, Reducer& reducer,
             Workers& workers, float* out);

// Which of this shard's rows are among the m rows of all shards with the smallest (key, number), ascending. 0 < m <
// rows of weight over all shards.
std::vector<std::int64_t> sample_rows(const Source& rows, std::int64_t m, std::uint64_t seed, Reducer& reducer,
                                      Workers& workers);

// The given centroids (m, d), then rows of all shards as the metric takes them, in order of (key, number), skipping
// rows equal by value to one already there while others are left; where the rows are fewer than that, copies of the
// first (of zeros, if m = 0 and there are none). (k, d), the same on every shard. m <= k.
std::vector<float> initial_centroids(std::vector<float> given, const Source& rows, const Metric& metric, std::int64_t k,
                                     std::uint64_t seed, std::uint32_t redo, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans
