// SPDX-License-Identifier: Apache-2.0
#include "lloyd.hpp"

#include <chrono>
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

}  // namespace

Tolerances tolerances_of(const Params& params) { return {params.tol, params.inertia_tol, params.changed_tol}; }

void Progress::report(IterationStats& stats, Reducer& reducer) {
  stats.iteration = run_.n_iter++;
  run_.iterations.push_back(stats);
  run_.stopped = wants_stop(params_, stats, reducer);
}

void Progress::note(IterationStats stats, const Deadline& deadline, Reducer& reducer) {
  // Where a split cluster's new centroid gets rows, the next assignment will show.
  // mutant: split_is_not_filled
  run_.n_empty = stats.empty - (params_.empty_clusters == EmptyClusters::split ? 0 : stats.relocated);
  const double gain = metric_.gain(run_.inertia, stats.inertia);
  run_.note({stats.inertia, gain, stats.shift, stats.changed, stats.relocated != 0}, tolerances_);
  report(stats, reducer);
  if (run_.is_over) return;
  // Without a tolerance all iterations are asked for; once settled each is the identity: reported, not computed.
  stats.seconds = 0;
  while (run_.settled && goes_on()) report(stats, reducer);
  // mutant: no_time_for_more
  if (iteration() < params_.niter && !run_.stopped) run_.stopped = run_.timed_out = deadline.is_over(reducer);
}

Run lloyd(Shard& shard, Start start, int redo, const Metric& metric, const FixedPoint& scale, const Params& params,
          const Deadline& deadline, Reducer& reducer) {
  CentroidRule rule = {params.frozen_centroids && params.init ? params.init->rows : 0, params.int_centroids,
                       params.empty_clusters, params.seed, static_cast<std::uint32_t>(redo)};
  Progress progress(params, metric);
  shard.start_run(std::move(start));
  while (progress.goes_on()) {
    const auto begin = std::chrono::steady_clock::now();
    shard.assign(progress.iteration() + 1 < params.niter || params.labels);
    shard.accumulate(scale);
    rule.iteration = static_cast<std::uint32_t>(progress.iteration());  // mutant: random_rows_of_iterations
    shard.update(rule, reducer);

    const Assigned& assigned = shard.assigned();
    const Updated& updated = shard.updated();
    IterationStats stats;
    stats.redo = redo;
    stats.inertia = inertia_over_shards(assigned, metric, reducer);
    stats.shift = updated.shift;
    stats.changed = sum_over_shards(assigned.changed, reducer);
    stats.empty = updated.empty;
    stats.relocated = updated.relocated;
    stats.filter = assigned.filter;
    stats.filter.scored = sum_over_shards(assigned.filter.scored, reducer);
    stats.filter.refined = sum_over_shards(assigned.filter.refined, reducer);
    stats.seconds = seconds_since(begin);
    progress.note(stats, deadline, reducer);
  }
  return progress.take();
}

double inertia_over_shards(const Assigned& assigned, const Metric& metric, Reducer& reducer) {
  ExactSum inertia = assigned.inertia;
  inertia.merge_over_shards(reducer);
  return metric.inertia(inertia);
}

}  // namespace fastkmeans
