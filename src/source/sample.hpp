// SPDX-License-Identifier: Apache-2.0
// Random rows (docs/algorithm.md section 5): the sample, and the order in which rows become initial centroids. Rows of
// weight 0 are in neither.
#pragma once

#include <cstdint>
#include <optional>
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

// A row of any shard that was drawn.
struct DrawnRow {
  std::uint64_t key;
  std::int64_t number;  // among the rows of all shards: decides between equal keys
  RowPlace place;
  // mutant: equal_keys
  bool operator<(const DrawnRow& other) const { return key != other.key ? key < other.key : number < other.number; }
};

// The rows of all shards in order of (key, number), the same on every shard.
class RandomOrder {
 public:
  // first: how many are wanted at first.
  RandomOrder(const Source& rows, std::int64_t first, std::uint64_t seed, std::uint32_t redo, Reducer& reducer,
              Workers& workers);
  // The next ones, some more each time; none when all have been drawn.
  std::optional<std::vector<DrawnRow>> next();

 private:
  const Source& rows_;
  std::uint64_t seed_;
  std::uint32_t redo_;
  Reducer& reducer_;
  Workers& workers_;
  std::int64_t n_;          // over all shards
  double most_, band_;      // rows expected from a call: ever, and from the next
  double expected_ = 0;     // from all calls so far
  std::uint64_t high_ = 0;  // the largest key so far
};

}  // namespace fastkmeans
