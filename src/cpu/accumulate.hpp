// SPDX-License-Identifier: Apache-2.0
// Rows that changed cluster, moved from sum to sum.
#pragma once

#include "cpu/kernels.hpp"
#include "numeric/fixed_point.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"
#include "source/source.hpp"

namespace fastkmeans::cpu {

// As HostShard::accumulate_rows.
void accumulate(const Source& rows, const Metric& metric, const std::int32_t* from, const std::int32_t* to,
                const FixedPoint& scale, const Kernels& kernels, Workers& workers, Sums& sums);

}  // namespace fastkmeans::cpu
