// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/rows.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// As Shard::statistics.
Statistics statistics_of(const Context& context);

}  // namespace fastkmeans::cpu
