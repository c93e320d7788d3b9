// SPDX-License-Identifier: Apache-2.0
// What the planner believes of no instruction set in particular (SSE2 on x86-64).
// Nanoseconds of one core of a Sapphire Rapids Xeon at about 3 GHz, as benchmarks/kernel_costs.cpp measures them
// (docs/performance.md); rows, bounds and gathering from profiles of whole fits.
#pragma once

#include "plan/costs.hpp"

namespace fastkmeans {

inline constexpr Costs kBaselineCosts = {
    .fp32 = {.element = 0.0545, .pair = 0.074},
    .low_dim = {.element = 0.0485, .pair = 0.269},
    .int8 = {.element = 0, .pair = 0},  // none
    .row = 150,
    .low_dim_row = 60,
    .distance = 11,
    .distance_element = 1.78,
    .far_distance_element = 5.34,  // three times, as on an AMD EPYC (Zen 4)
    .sketch_element = 0,
    .bound = 4.0,
    .gather_byte = 0.02,
};

}  // namespace fastkmeans
