// SPDX-License-Identifier: Apache-2.0
// Random rows (docs/algorithm.md section 5): who is in the sample, and who are the initial centroids.
#pragma once

#include <cstdint>
#include <vector>

#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans {

class Workers;

// The m of n rows with the smallest (key, row), in ascending row order; 0 < m < n.
std::vector<std::int64_t> sample_rows(std::int64_t n, std::int64_t m, std::uint64_t seed, Workers& workers);

// Those rows of x, copied in x's dtype, C order.
std::vector<char> gather_rows(const MatrixView& x, const std::vector<std::int64_t>& rows, Workers& workers);

// k rows of x in order of (key, row), skipping rows equal by value to one already taken while others are left. x: the
// rows used; rows: their numbers in the caller's array, empty if they are the same. Returns (k, d) fp32.
std::vector<float> initial_centroids(const MatrixView& x, const std::vector<std::int64_t>& rows, std::int64_t k,
                                     std::uint64_t seed, std::uint32_t redo, Workers& workers);

}  // namespace fastkmeans
