// SPDX-License-Identifier: Apache-2.0
// Empty clusters get rows, or a part of another cluster (docs/algorithm.md section 4).
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/centroid_rule.hpp"
#include "numeric/metric.hpp"
#include "runtime/reducer.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// A shard's rows as just assigned.
struct AssignedRows {
  const Source& rows;
  const std::int32_t* labels;
  const float* distances;  // D as stored; or the gains of inner products
};

// What each of k clusters could give. Threads and shards meet in sums, maxima and minima of integers: no order.
struct Donors {
  // The largest worth of a row, 0 for none that may leave: D as the bits of an fp64, or a random number.
  std::vector<std::uint64_t> worth;
  std::vector<std::uint64_t> row;   // the lowest number of a row that has it, or kNoRow
  std::vector<std::uint64_t> rank;  // the highest gives first: inertia, as sum of weight floor(D 2^s), or the worth

  static constexpr std::uint64_t kNoRow = ~std::uint64_t{0};

  explicit Donors(std::size_t k) : worth(k), row(k, kNoRow), rank(k) {}

  // 2^s, once `worth` is D of all shards: the largest that lets no sum overflow. 0: all distances are 0.
  double factor(std::int64_t total_weight) const;
};

// A row that leaves its cluster for an empty one; the clusters of a list are all different.
struct Relocation {
  std::int64_t row;  // its number among the rows of all shards
  std::int64_t from, to;
};

// Who gives what to whom, once all of the donors is that of all shards; members and frozen as below.
std::vector<Relocation> choose_relocations(const Donors& donors, const std::vector<std::uint64_t>& members,
                                           std::int64_t frozen);

// members: (k) rows of weight in each cluster, over all shards; total_weight: of all shards' rows. The first
// rule.frozen clusters get no row; rule.empty: farthest or random. Returns the same on every shard.
std::vector<Relocation> fill_empty_clusters(const AssignedRows& own, const std::vector<std::uint64_t>& members,
                                            std::int64_t total_weight, const CentroidRule& rule, Reducer& reducer,
                                            Workers& workers);

// Empty clusters get a part of the largest instead. weights: (k) of the clusters, over all shards; centroids: (k, d),
// those of empty clusters as they were. Returns how many were filled.
std::int64_t split_clusters(const std::vector<std::uint64_t>& weights, const CentroidRule& rule, const Metric& metric,
                            std::int64_t d, float* centroids);

}  // namespace fastkmeans
