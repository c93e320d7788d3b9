// SPDX-License-Identifier: Apache-2.0
// Which centroids are movers: those that moved farthest, which every row is scored against again. The fewer, the more a
// row's bound on all others falls, and the more rows have to be scanned whole (docs/filter.md section 6.10).
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "numeric/both.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// Histograms of squared lengths: two bits of the mantissa, a tenth of a length.
inline constexpr int kBuckets = 1 << 10;
FASTKMEANS_BOTH inline int bucket_of(float sq_length) { return std::bit_cast<std::int32_t>(sq_length) >> 21; }

struct Movers {
  float limit;         // D as stored: centroids that moved by more are movers
  std::int64_t count;  // of these
  float drift;         // no other centroid moved by more: a length, rounded up
};

// What makes the least work. shifts: (k) how far centroids moved, D as stored, each >= 0. slack: (kBuckets) of some of
// the rows, a histogram of the squares of what their bound may fall by.
Movers choose_movers(const std::vector<float>& shifts, const std::uint32_t* slack, const FilterBound& bound);

}  // namespace fastkmeans::cuda
