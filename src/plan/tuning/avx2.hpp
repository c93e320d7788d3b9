// SPDX-License-Identifier: Apache-2.0
// What the planner believes of AVX2.
// Nanoseconds of one core of a Sapphire Rapids Xeon at about 3 GHz, as benchmarks/kernel_costs.cpp measures them
// (docs/performance.md); rows, bounds and gathering from profiles of whole fits.
#pragma once

#include "plan/costs.hpp"

namespace fastkmeans {

inline constexpr Costs kAvx2Costs = {
    .fp32 = {.element = 0.0166, .pair = 0.035},
    .low_dim = {.element = 0.0209, .pair = 0.126},
    .int8 = {.element = 0.0077, .pair = 0.1},
    .row = 80,
    .low_dim_row = 30,
    .distance = 10.5,
    .distance_element = 0.053,
    .far_distance_element = 0.159,  // three times, as on an AMD EPYC (Zen 4)
    .sketch_element = 1.4,
    .bound = 2.5,
    .gather_byte = 0.02,
};

}  // namespace fastkmeans
