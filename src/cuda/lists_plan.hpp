// SPDX-License-Identifier: Apache-2.0
// Whether rows keep lists of neighbours (neighbours.cuh) in an assignment: they rest while they would cost more than
// they save. A decision of the host, which needs no device.
#pragma once

#include <cstdint>

#include "cuda/tuning.hpp"

namespace fastkmeans::cuda {

// Where more of the rows are scanned whole, lists were made in vain. In the second iteration: tokens and iid normal
// 0.98 and 1, blobs 0.6 (H200, k = 16,384 to 32,768).
inline constexpr double kMostScored = 0.9;

class ListsPlan {
 public:
  // forced: lists never rest.
  ListsPlan(const Problem& problem, const DeviceLimits& limits, bool forced);

  bool may_rest() const { return !forced_; }

  // Begins an assignment. Whether it makes lists, or goes by those of the one before.
  bool begin();
  // What an assignment has cost that went by lists: of the scores that there are without, this share; and so many
  // distances a row.
  void carried(double scored, double refined);

 private:
  double scan_, distance_;  // ns of a row: its scores, and a distance
  bool forced_;
  std::int64_t rests_ = 0, next_rest_ = 8;  // assignments
};

}  // namespace fastkmeans::cuda
