// SPDX-License-Identifier: Apache-2.0
// From an assignment to the next centroids: inertia, empty clusters, means, shift (docs/algorithm.md sections 2 to 4).
#pragma once

#include <cstdint>
#include <vector>

#include "fastkmeans/matrix_view.hpp"
#include "numeric/fixed_point.hpp"

namespace fastkmeans {

class Workers;

// Rows handled between two looks at the interrupt, in passes that do a few operations a row.
inline constexpr std::int64_t kRowsPerPass = 1 << 16;

// The exact sum of stored distances, rounded once.
double inertia_of(const std::vector<float>& distances, Workers& workers);

// Rows whose label differs.
std::int64_t count_changed(const std::vector<std::int32_t>& before, const std::vector<std::int32_t>& after,
                           Workers& workers);

std::int64_t count_empty(const Sums& sums);

// Gives empty clusters the farthest rows of the clusters with the largest inertia, one row a donor. Moves the rows'
// sums and labels; returns how many clusters were filled. distances: (n) stored D of the assignment just made.
std::int64_t fill_empty_clusters(const MatrixView& x, const std::vector<float>& distances, const FixedPoint& scale,
                                 std::vector<std::int32_t>& labels, Sums& sums, Workers& workers);

// next[c] = mean of cluster c, or centroids[c] where it has no row. Both (k, d).
void update_centroids(const FixedPoint& scale, const Sums& sums, const std::vector<float>& centroids,
                      std::vector<float>& next, Workers& workers);

// Sum over centroids of sqrt(D), as a pairwise tree in fp64. moved: (k) stored D.
double total_shift(const std::vector<float>& moved);

}  // namespace fastkmeans
