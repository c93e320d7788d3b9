// SPDX-License-Identifier: Apache-2.0
// What an update may do with centroids, whatever the metric (docs/algorithm.md section 8).
#pragma once

#include <cstdint>

namespace fastkmeans {

struct CentroidRule {
  std::int64_t frozen = 0;  // the first ones stay where they are; where they are empty they get no row
  bool integers = false;    // elements are rounded to integers, half to even
};

}  // namespace fastkmeans
