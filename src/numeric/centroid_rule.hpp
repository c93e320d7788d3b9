// SPDX-License-Identifier: Apache-2.0
// What an update may do with centroids, whatever the metric (docs/algorithm.md section 8).
#pragma once

#include <cstdint>

#include "fastkmeans/params.hpp"

namespace fastkmeans {

struct CentroidRule {
  std::int64_t frozen = 0;  // the first ones stay where they are; where they are empty they get no row
  bool integers = false;    // elements are rounded to integers, half to even
  EmptyClusters empty = EmptyClusters::farthest;
  // What the random rows of empty clusters depend on.
  std::uint64_t seed = 0;
  std::uint32_t redo = 0, iteration = 0;
};

}  // namespace fastkmeans
