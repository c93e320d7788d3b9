// SPDX-License-Identifier: Apache-2.0
// Empty clusters get the farthest rows of the clusters with the largest inertia (docs/algorithm.md section 4).
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/reducer.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// A shard's rows as just assigned.
struct AssignedRows {
  const Source& rows;
  const std::int32_t* labels;
  const float* distances;  // D as stored
};

// A row that leaves its cluster for an empty one; the clusters of a list are all different.
struct Relocation {
  std::int64_t row;  // its number among the rows of all shards
  std::int64_t from, to;
};

// members: (k) rows of weight in each cluster, over all shards; total_weight: of all shards' rows. Returns the same on
// every shard.
std::vector<Relocation> fill_empty_clusters(const AssignedRows& own, const std::vector<std::uint64_t>& members,
                                            std::int64_t total_weight, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans
