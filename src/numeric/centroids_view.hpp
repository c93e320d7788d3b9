// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace fastkmeans {

// k centroids of d dimensions, fp32, C order, without gaps.
struct CentroidsView {
  const float* values;
  std::int64_t k, d;
  const float* row(std::int64_t c) const { return values + c * d; }
};

// Centroids handled together by a thread: microseconds of work, many tasks where there are many centroids.
inline constexpr std::int64_t kCentroidsPerTask = 256;

}  // namespace fastkmeans
