// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/kernels.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// As Shard::statistics, of the rows of x.
Statistics statistics_of(const MatrixView& x, const Metric& metric, const Kernels& kernels, Workers& workers);

}  // namespace fastkmeans::cpu
