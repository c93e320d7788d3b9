// SPDX-License-Identifier: Apache-2.0
// Groups of near centroids: what is known of a group is known of all of its members at once. Who belongs to which is
// settled once; afterwards the centroids move, and their groups do not change.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/workers.hpp"

namespace fastkmeans {

struct Groups {
  std::vector<std::int32_t> order;  // (k) the centroids; the first `members` are group 0, the next group 1, ...
  std::int64_t members = 1;         // of a group; the last may have fewer

  Groups() = default;
  // centroids: (k, d). members: a multiple of panel_width; within a group too, near centroids share a panel.
  Groups(const float* centroids, std::int64_t k, std::int64_t d, std::int64_t panel_width, std::int64_t members,
         Workers& workers);

  std::int64_t count() const { return (static_cast<std::int64_t>(order.size()) + members - 1) / members; }
};

}  // namespace fastkmeans
