// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/sums.hpp"
#include "host/empty_clusters.hpp"

namespace fastkmeans::cuda {

// out[i] = max(0, losses[i] - own_losses[i]): what each of n rows would gain as a centroid of its own, where labels go
// by inner products. Device memory.
void gains(Device& device, const float* losses, const float* own_losses, std::int64_t n, float* out);

// As fill_empty_clusters of host/empty_clusters.hpp, for labels, distances (or gains) and weights (or null) in device
// memory.
std::vector<Relocation> fill_empty_clusters(Device& device, const Source& rows, const std::int32_t* labels,
                                            const float* distances, const std::int64_t* weights,
                                            const std::vector<std::uint64_t>& members, std::int64_t total_weight,
                                            const CentroidRule& rule, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans::cuda
