// SPDX-License-Identifier: Apache-2.0
// The planner's costs as they are on this machine: the files of src/plan/tuning are from one machine each, and the
// ratios differ (on AMD's Zen 4 int8 takes twice as long beside fp32 as they say). Speed alone depends on it.
#pragma once

#include "cpu/kernels.hpp"

namespace fastkmeans::cpu {

// Measured at the first call for these kernels, in about 20 ms, then the same for as long as the process lives.
const Costs& calibrated(const Kernels& kernels);

}  // namespace fastkmeans::cpu
