// SPDX-License-Identifier: Apache-2.0
// What the planner believes of AMX.
// Nanoseconds of one core of a Sapphire Rapids Xeon at about 3 GHz, as benchmarks/kernel_costs.cpp measures them
// (docs/performance.md); rows, bounds and gathering from profiles of whole fits.
#pragma once

#include "plan/costs.hpp"

namespace fastkmeans {

inline constexpr Costs kAmxInt8Costs = {
    .fp32 = {.element = 0.0104, .pair = 0.014},
    .low_dim = {.element = 0.0101, .pair = 0.043},
    .int8 = {.element = 0.00047, .pair = 0.11},
    .row = 60,
    .low_dim_row = 20,
    .distance = 5.3,
    .distance_element = 0.048,
    .far_distance_element = 0.144,  // three times, as on an AMD EPYC (Zen 4)
    .sketch_element = 0.75,
    .bound = 4.0,
    .gather_byte = 0.02,
};

}  // namespace fastkmeans
