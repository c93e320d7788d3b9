// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/rows.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// As Shard::statistics. source: of the rows of context.x.
Statistics statistics_of(const Context& context, const Source& source);

}  // namespace fastkmeans::cpu
