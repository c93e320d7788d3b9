// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/kernels.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// As Shard::statistics.
Statistics statistics_of(const Source& rows, const Metric& metric, const Kernels& kernels, Workers& workers);

}  // namespace fastkmeans::cpu
