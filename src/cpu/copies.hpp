// SPDX-License-Identifier: Apache-2.0
// Centroids that are copies of others. Ties go to the lowest index, so a copy of a lower centroid never wins; left in,
// each would have to be refined.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/workers.hpp"

namespace fastkmeans::cpu {

// (k): 1 where row c of rows (k, ld), of d elements and zeros, has the bits of a row of lower index. Of the rows that
// share a hash only the lowest is compared with: a copy that is missed costs time and nothing else.
std::vector<std::uint8_t> find_copies(const float* rows, std::int64_t k, std::int64_t d, std::int64_t ld,
                                      Workers& workers);

}  // namespace fastkmeans::cpu
