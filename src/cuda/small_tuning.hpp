// SPDX-License-Identifier: Apache-2.0
// How small problems (small_shards.hpp) are cut: pure functions, tested without a GPU.
#pragma once

#include <cstdint>

namespace fastkmeans::cuda {

inline constexpr int kSmallTogether = 8;   // centroids whose D a thread has at once
inline constexpr int kMostSmallWarps = 8;  // of a problem
inline constexpr int kSmallStatic =
    1 << 10;  // bytes of shared memory that a kernel has beside what it asks for, at most

// Centroids of a problem as they stand in shared memory, where the last is repeated.
constexpr int padded_clusters(std::int64_t k) {
  return static_cast<int>((k + kSmallTogether - 1) / kSmallTogether * kSmallTogether);
}
// Floats from row to row there: odd, so that the threads of a warp, a row each, read other banks.
constexpr int row_floats(int d) { return d | 1; }

// Bytes of shared memory: how far each centroid moved, the centroids, and 32 rows for each warp.
std::int64_t small_shared_bytes(std::int64_t d, std::int64_t k, int warps);

// Whether any device that we support has room for such a problem.
bool small_shards_take(std::int64_t d, std::int64_t k);

// Warps of each of so many problems that run at once. k: the largest; they are taken by small_shards_take().
int small_warps(std::int64_t problems, std::int64_t d, std::int64_t k, int processors, int shared_memory);

}  // namespace fastkmeans::cuda
