// SPDX-License-Identifier: Apache-2.0
#include "lloyd.hpp"

#include <chrono>
#include <cmath>
#include <utility>

namespace fastkmeans {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Whether the callback of any shard wants to stop: callers have one on the shard of rank 0 alone.
bool wants_stop(const Params& params, const IterationStats& stats, Reducer& reducer) {
  return sum_over_shards(params.callback && params.callback(stats), reducer) > 0;
}

// Whether a tolerance ends the run (docs/algorithm.md section 3); before: its iterations so far.
bool is_within_tolerance(const Params& params, const Metric& metric, const IterationStats& stats,
                         const std::vector<IterationStats>& before) {
  // mutant: below_tol
  if (params.tol > 0 && stats.shift < params.tol) return true;
  const auto rows = static_cast<double>(before.empty() ? stats.changed : before[0].changed);  // all, in the first
  if (static_cast<double>(stats.changed) < params.changed_tol * rows) return true;            // mutant: changed_tol
  if (params.inertia_tol == 0 || before.empty()) return false;
  const double inertia = before.back().inertia;
  return metric.gain(inertia, stats.inertia) < params.inertia_tol * std::abs(inertia);  // mutant: inertia_tol
}

}  // namespace

Run lloyd(Shard& shard, Start start, int redo, const Metric& metric, const FixedPoint& scale, const Params& params,
          const Deadline& deadline, Reducer& reducer) {
  CentroidRule rule = {params.frozen_centroids && params.init ? params.init->rows : 0, params.int_centroids,
                       params.empty_clusters, params.seed, static_cast<std::uint32_t>(redo)};
  // mutant: any_tolerance
  const bool has_tolerance = params.tol > 0 || params.inertia_tol > 0 || params.changed_tol > 0;
  Run run;
  shard.start_run(std::move(start));
  for (int iteration = 0; iteration < params.niter && !run.stopped; ++iteration) {
    const auto begin = std::chrono::steady_clock::now();
    shard.assign(iteration + 1 < params.niter || params.labels);
    shard.accumulate(scale);
    rule.iteration = static_cast<std::uint32_t>(iteration);  // mutant: random_rows_of_iterations
    shard.update(rule, reducer);

    const Assigned& assigned = shard.assigned();
    const Updated& updated = shard.updated();
    IterationStats stats;
    stats.redo = redo;
    stats.iteration = iteration;
    stats.inertia = run.inertia = inertia_over_shards(assigned, metric, reducer);
    stats.shift = updated.shift;
    stats.changed = sum_over_shards(assigned.changed, reducer);
    stats.empty = updated.empty;
    stats.relocated = updated.relocated;
    stats.filter = assigned.filter;
    stats.filter.scored = sum_over_shards(assigned.filter.scored, reducer);
    stats.filter.refined = sum_over_shards(assigned.filter.refined, reducer);
    // Where a split cluster's new centroid gets rows, the next assignment will show.
    // mutant: split_is_not_filled
    run.n_empty = stats.empty - (params.empty_clusters == EmptyClusters::split ? 0 : stats.relocated);
    // mutant: settled
    run.settled = stats.changed == 0 && stats.relocated == 0;
    run.converged = run.settled || is_within_tolerance(params, metric, stats, run.iterations);
    stats.seconds = seconds_since(begin);
    run.iterations.push_back(stats);
    run.stopped = wants_stop(params, stats, reducer);
    if (has_tolerance && run.converged) break;
    // Without a tolerance all iterations are asked for; once settled each is the identity: reported, not computed.
    while (run.settled && !run.stopped && ++iteration < params.niter) {
      stats.iteration = iteration;
      stats.seconds = 0;
      run.iterations.push_back(stats);
      run.stopped = wants_stop(params, stats, reducer);
    }
    // mutant: no_time_for_more
    if (iteration + 1 < params.niter && !run.stopped) run.stopped = run.timed_out = deadline.is_over(reducer);
  }
  return run;
}

double inertia_over_shards(const Assigned& assigned, const Metric& metric, Reducer& reducer) {
  ExactSum inertia = assigned.inertia;
  inertia.merge_over_shards(reducer);
  return metric.inertia(inertia);
}

}  // namespace fastkmeans
