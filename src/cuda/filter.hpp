// SPDX-License-Identifier: Apache-2.0
// The int8 filter: scores on tensor cores (scan.cuh) and distances for what they leave over.
#pragma once

#include <memory>

#include "cuda/batch.hpp"
#include "cuda/lists_plan.hpp"
#include "cuda/narrow.hpp"
#include "cuda/tuning.hpp"
#include "numeric/metric.hpp"

namespace fastkmeans::cuda {

// Whether the scan on Hopper (scan_wgmma.cuh) is there, on the current device.
bool has_wgmma();

// n: rows of the shard; centre: (d) device memory; loss: what decides labels; narrow: the sketches that Tuning::narrow
// speaks of, or null; basis: what they are of; lists: of a tuning that keeps neighbours.
std::unique_ptr<Filter> int8_filter(Device& device, std::int64_t n, std::int64_t k, std::int64_t d,
                                    const Tuning& tuning, DeviceBuffer<float> centre, Loss loss, const Basis& basis,
                                    const NarrowWidth* narrow, const ListsPlan& lists);

}  // namespace fastkmeans::cuda
