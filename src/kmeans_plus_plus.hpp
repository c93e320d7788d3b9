// SPDX-License-Identifier: Apache-2.0
// Greedy k-means++ (docs/algorithm.md section 5), by what any shard can do.
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/metric.hpp"
#include "runtime/reducer.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// The given centroids (m, d), then rows of all shards as the metric takes them, (k, d), the same on every shard. shard:
// of these rows, which are all valid; what it knows of a run is lost. m <= k, 0 < k <= rows of weight over all shards.
std::vector<float> kmeans_plus_plus(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                                    std::int64_t k, std::uint64_t seed, std::uint32_t redo, Reducer& reducer,
                                    Workers& workers);

}  // namespace fastkmeans
