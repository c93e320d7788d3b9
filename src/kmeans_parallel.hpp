// SPDX-License-Identifier: Apache-2.0
// k-means||: many candidates in few passes, then the best of them (docs/initialisation.md).
#pragma once

#include <cstdint>
#include <vector>

#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "runtime/reducer.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// The initial centroids of a run, (k, d), the given ones first; rows as the metric takes them. Of params: k, seed,
// execution. The shard's run, if it has one, is lost.
std::vector<float> kmeans_parallel(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                                   const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans
