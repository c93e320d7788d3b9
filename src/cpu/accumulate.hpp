// SPDX-License-Identifier: Apache-2.0
// Rows that changed cluster, moved from sum to sum.
#pragma once

#include "cpu/rows.hpp"
#include "numeric/fixed_point.hpp"
#include "source/source.hpp"

namespace fastkmeans::cpu {

// As HostShard::accumulate_rows. rows: those of the context, with their weights.
void accumulate(const Context& context, const Source& rows, const std::int32_t* from, const std::int32_t* to,
                const FixedPoint& scale, Sums& sums);

}  // namespace fastkmeans::cpu
