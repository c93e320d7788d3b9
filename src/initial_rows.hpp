// SPDX-License-Identifier: Apache-2.0
// Random initialisation (docs/algorithm.md section 5): rows of the data that differ.
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

// The given centroids (m, d), then rows of all shards as the metric takes them, in order of (key, number), skipping
// rows equal by value to one already there while others are left; where the rows are fewer than that, copies of the
// first (of zeros, if m = 0 and there are none). (k, d), the same on every shard. m <= k.
//
// Rows stay where they are: hashes tell whether they differ, and only where two are equal are the rows looked at.
Start initial_rows(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                   const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans
