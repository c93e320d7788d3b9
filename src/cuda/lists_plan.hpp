// SPDX-License-Identifier: Apache-2.0
// Whether rows keep lists of neighbours (neighbours.cuh) in an assignment: they rest while they would cost more than
// they save. A decision of the host, which needs no device.
#pragma once

#include <cstdint>

#include "cuda/tuning.hpp"

namespace fastkmeans::cuda {

class ListsPlan {
 public:
  // forced: lists never rest.
  ListsPlan(const Problem& problem, const DeviceLimits& limits, bool forced);

  // Begins an assignment. Whether it makes lists, or goes by those of the one before.
  bool begin();
  // The centroids moved since. work: of the scores that there are without lists, the share that is expected of the next
  // assignment; refined: distances a row of this one; carried: it had lists to go by.
  void moved(double work, double refined, bool carried);

 private:
  bool pays(double work, double refined, bool carried) const;

  double scan_, distance_;  // ns of a row: its scores, and a distance
  bool forced_;
  std::int64_t rests_ = 0, next_rest_ = 2;  // assignments
};

}  // namespace fastkmeans::cuda
