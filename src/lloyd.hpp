// SPDX-License-Identifier: Apache-2.0
// Lloyd's loop: one for all hardware, and for any number of shards.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "deadline.hpp"
#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "numeric/convergence.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

// One run: what it ends with. Centroids and labels are in the shard.
struct Run : Convergence {
  Run() : Convergence{} {}
  explicit Run(const Convergence& end) : Convergence(end) {}

  std::vector<IterationStats> iterations;  // all, or none where nobody wants them
  bool stopped = false;                    // by the callback, or at the deadline
  bool timed_out = false;                  // at the deadline
  std::int64_t n_empty = 0;
};

Tolerances tolerances_of(const Params& params);

// How far a run has come, and whether it goes on.
class Progress {
 public:
  // What is given must outlive it.
  Progress(const Params& params, const Metric& metric)
      : params_(params), tolerances_(tolerances_of(params)), metric_(metric) {}

  bool goes_on() const { return !run_.stopped && run_.goes_on(params_.niter); }
  // The number of the next iteration, from 0.
  int iteration() const { return run_.n_iter; }
  // What that came to, over all shards; its number is known. Iterations that would change nothing are noted with it.
  void note(IterationStats stats, const Deadline& deadline, Reducer& reducer);
  Run take() { return std::move(run_); }

 private:
  const Params& params_;
  Tolerances tolerances_;
  const Metric& metric_;
  Run run_;

  void report(IterationStats& stats, Reducer& reducer);
};

// The inertia of an assignment, rounded once.
double inertia_over_shards(const Assigned& assigned, const Metric& metric, Reducer& reducer);

// The shard's rows are all valid; scale is of all shards' rows. Runs on each shard of a fit, and
// returns the same there, but for `seconds`.
Run lloyd(Shard& shard, Start start, int redo, const Metric& metric, const FixedPoint& scale, const Params& params,
          const Deadline& deadline, Reducer& reducer);

}  // namespace fastkmeans
