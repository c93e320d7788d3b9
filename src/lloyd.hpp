// SPDX-License-Identifier: Apache-2.0
// Lloyd's loop: one for all hardware, and for any number of shards.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "deadline.hpp"
#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

// One run: what it ends with. Centroids and labels are in the shard.
struct Run {
  std::vector<IterationStats> iterations;  // all, or none where nobody wants them
  int n_iter = 0;
  double inertia = 0;  // of the last assignment
  bool converged = false;
  // The last iteration changed nothing: labels and inertia belong to the centroids that the shard has.
  bool settled = false;
  bool stopped = false;    // by the callback, or at the deadline
  bool timed_out = false;  // at the deadline
  std::int64_t n_empty = 0;
};

// How far a run has come, and whether it goes on.
class Progress {
 public:
  // keeps: all iterations, in Run::iterations. What is given must outlive it.
  Progress(const Params& params, const Metric& metric, bool keeps) : params_(params), metric_(metric), keeps_(keeps) {}

  bool goes_on() const { return !is_over_ && !run_.stopped && iteration() < params_.niter; }
  // The number of the next iteration, from 0.
  int iteration() const { return run_.n_iter; }
  // What that came to, over all shards; its number is known. Iterations that would change nothing are noted with it.
  void note(IterationStats stats, const Deadline& deadline, Reducer& reducer);
  const Run& run() const { return run_; }
  Run take() { return std::move(run_); }

 private:
  const Params& params_;
  const Metric& metric_;
  bool keeps_;
  Run run_;
  std::int64_t first_changed_ = 0;  // rows that the first iteration changed: all
  bool is_over_ = false;            // within a tolerance

  void report(IterationStats& stats, Reducer& reducer);
  bool is_within_tolerance(const IterationStats& stats) const;
};

// The inertia of an assignment, rounded once.
double inertia_over_shards(const Assigned& assigned, const Metric& metric, Reducer& reducer);

// The shard's rows are all valid; scale is of all shards' rows. Runs on each shard of a fit, and
// returns the same there, but for `seconds`.
Run lloyd(Shard& shard, Start start, int redo, const Metric& metric, const FixedPoint& scale, const Params& params,
          const Deadline& deadline, Reducer& reducer);

}  // namespace fastkmeans
