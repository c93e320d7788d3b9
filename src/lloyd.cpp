// SPDX-License-Identifier: Apache-2.0
#include "lloyd.hpp"

#include <chrono>
#include <utility>

#include "finalize.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Run lloyd(const MatrixView& x, std::vector<float> initial, int redo, const FixedPoint& scale, const Params& params,
          Backend& backend, Workers& workers) {
  const auto n = static_cast<std::size_t>(x.rows);
  const std::int64_t k = params.k, d = x.cols;
  Run run;
  run.centroids = std::move(initial);
  run.labels.resize(n);
  std::vector<std::int32_t> before(n);
  std::vector<float> distances(n), next(run.centroids.size()), moved(static_cast<std::size_t>(k));
  Sums sums(k, d, scale.two_limbs());

  for (int iteration = 0; iteration < params.niter && !run.stopped; ++iteration) {
    const auto start = std::chrono::steady_clock::now();
    const bool first = iteration == 0;
    IterationStats stats;
    stats.redo = redo;
    stats.iteration = iteration;
    std::swap(before, run.labels);
    const std::int32_t* previous = first ? nullptr : before.data();

    const bool again = iteration + 1 < params.niter || params.labels;
    stats.filter =
        backend.assign(x, {run.centroids.data(), k, d}, previous, again, run.labels.data(), distances.data()).filter;
    backend.accumulate(x, previous, run.labels.data(), scale, sums);
    stats.inertia = run.inertia = inertia_of(distances, workers);
    stats.changed = first ? x.rows : count_changed(before, run.labels, workers);
    stats.empty = count_empty(sums);
    if (stats.empty > 0) stats.relocated = fill_empty_clusters(x, distances, scale, run.labels, sums, workers);
    run.n_empty = stats.empty - stats.relocated;

    run.settled = stats.changed == 0 && stats.relocated == 0;
    if (!run.settled) {
      update_centroids(scale, sums, run.centroids, next, workers);
      backend.moved({next.data(), k, d}, {run.centroids.data(), k, d}, moved.data());
      stats.shift = total_shift(moved);
      std::swap(run.centroids, next);
    }
    run.converged = run.settled || (params.tol > 0 && stats.shift < params.tol);
    stats.seconds = seconds_since(start);
    run.iterations.push_back(stats);
    run.stopped = params.callback && params.callback(stats);
    if (params.tol > 0 && run.converged) break;
    // Without a tolerance all iterations are asked for; once settled each is the identity: reported, not computed.
    while (run.settled && !run.stopped && ++iteration < params.niter) {
      stats.iteration = iteration;
      stats.seconds = 0;
      run.iterations.push_back(stats);
      run.stopped = params.callback && params.callback(stats);
    }
  }
  return run;
}

}  // namespace fastkmeans
