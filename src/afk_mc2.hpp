// SPDX-License-Identifier: Apache-2.0
// AFK-MC2: centroids as k-means++ would draw them, nearly, by chains of few rows (docs/initialisation.md).
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

// As kmeans_parallel.
std::vector<float> afk_mc2(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                           const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans
