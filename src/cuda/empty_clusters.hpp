// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/sums.hpp"
#include "host/empty_clusters.hpp"

namespace fastkmeans::cuda {

// As fill_empty_clusters of host/empty_clusters.hpp, for labels, distances and weights (or null) in device memory.
std::vector<Relocation> fill_empty_clusters(Device& device, const Source& rows, const std::int32_t* labels,
                                            const float* distances, const std::int64_t* weights,
                                            const std::vector<std::uint64_t>& members, std::int64_t total_weight,
                                            const CentroidRule& rule, Reducer& reducer, Workers& workers);

}  // namespace fastkmeans::cuda
