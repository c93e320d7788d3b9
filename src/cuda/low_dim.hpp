// SPDX-License-Identifier: Apache-2.0
// The filter for rows of few dimensions (docs/filter.md section 6.6): rows stand in the registers of a warp, all
// centroids pass by, and tensor cores make the scores.
#pragma once

#include <memory>

#include "cuda/batch.hpp"
#include "cuda/tuning.hpp"

namespace fastkmeans::cuda {

// d <= kMostLowDim; centre: (d) device memory; most: rows of a batch.
std::unique_ptr<Filter> low_dim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most,
                                DeviceBuffer<float> centre);

}  // namespace fastkmeans::cuda
