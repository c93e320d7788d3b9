// SPDX-License-Identifier: Apache-2.0
// What the planner believes of NEON.
// Counted, not measured: the instructions of the loops on a Neoverse N1 at 3 GHz, which does two vectors in a cycle.
// Where there is such a machine, benchmarks/kernel_costs.cpp measures them.
#pragma once

#include "plan/costs.hpp"

namespace fastkmeans {

inline constexpr Costs kNeonCosts = {
    .fp32 = {.element = 0.044, .pair = 0.15},
    .low_dim = {.element = 0.042, .pair = 0.25},
    .int8 = {.element = 0, .pair = 0},  // none
    .row = 120,
    .low_dim_row = 50,
    .distance = 15,
    .distance_element = 0.125,
    .far_distance_element = 0.375,  // three times, as on an AMD EPYC (Zen 4)
    .sketch_element = 0,
    .bound = 4.0,
    .gather_byte = 0.02,
};

}  // namespace fastkmeans
