// SPDX-License-Identifier: Apache-2.0
// Lloyd's loop: one for all hardware, and for any number of shards.
#pragma once

#include <cstdint>
#include <vector>

#include "deadline.hpp"
#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

// One run: what it ends with. Centroids and labels are in the shard.
struct Run {
  std::vector<IterationStats> iterations;
  double inertia = 0;  // of the last assignment
  bool converged = false;
  // The last iteration changed nothing: labels and inertia belong to the centroids that the shard has.
  bool settled = false;
  bool stopped = false;    // by the callback, or at the deadline
  bool timed_out = false;  // at the deadline
  std::int64_t n_empty = 0;
};

// The inertia of an assignment, rounded once.
double inertia_over_shards(const Assigned& assigned, const Metric& metric, Reducer& reducer);

// The shard's rows are all valid; scale is of all shards' rows. Runs on each shard of a fit, and
// returns the same there, but for `seconds`.
Run lloyd(Shard& shard, Start start, int redo, const Metric& metric, const FixedPoint& scale, const Params& params,
          const Deadline& deadline, Reducer& reducer);

}  // namespace fastkmeans
