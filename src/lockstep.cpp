// SPDX-License-Identifier: Apache-2.0
#include "lockstep.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "fit.hpp"
#include "lloyd.hpp"
#include "make_shard.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"
#include "source/joined.hpp"
#include "source/sample.hpp"
#include "source/source.hpp"

namespace fastkmeans {
namespace {

bool all_given(const LockstepFit& fit) { return fit.init && fit.init->rows == fit.k; }

// Rough operations to read an element of a centroid.
constexpr double kOperationsPerElement = 2;
// Iterations at a time: fits that take more than others get the threads of those that are done.
constexpr int kIterations = 32;

class Lockstep {
 public:
  Lockstep(SmallShards& shards, std::span<const LockstepFit> fits, const LockstepOptions& options, Workers& workers)
      : shards_(shards), fits_(fits), options_(options), workers_(workers), timed_out_(fits.size(), false) {}

  void start() {
    if (!all_given(fits_[0])) return shards_.start_runs({{}, {}, drawn_rows()});
    std::vector<MatrixView> given;
    given.reserve(fits_.size());
    for (const LockstepFit& fit : fits_) given.push_back(*fit.init);
    const auto together = joined(given);
    const MatrixView& all = together[0];
    if (all.cuda_device != MatrixView::kHost)
      shards_.start_runs({{}, together, {}});
    else if (together.size() == 1 && is_packed(all))
      shards_.start_runs({{static_cast<const float*>(all.data), size_of(all)}, {}, {}});
    else
      shards_.start_runs({gathered(given), {}, {}});
  }

  void iterate() {
    const Params& params = options_.params;
    const bool any_time = params.max_runtime_secs == 0;
    SmallShards::Until until = {tolerances_of(params), params.niter, any_time ? kIterations : 1, params.labels};
    std::vector<std::int32_t> running(fits_.size());
    std::iota(running.begin(), running.end(), 0);
    while (!running.empty()) {
      states_ = shards_.iterate(running, until);
      std::erase_if(running, [&](std::int32_t fit) {
        const State& state = states_[static_cast<std::size_t>(fit)];
        return state.failed || !state.run.goes_on(until.niter);
      });
      if (running.empty() || !options_.deadline.is_over(alone_)) continue;
      for (const std::int32_t fit : running) timed_out_[static_cast<std::size_t>(fit)] = true;
      until.niter = 0;
    }
  }

  void take_results(const TakeResult& take) {
    copy_results();
    for (std::size_t fit = 0; fit < fits_.size(); ++fit) {
      const State& state = states_[fit];
      if (state.failed) continue;
      Run run(state.run);
      run.timed_out = timed_out_[fit];
      const auto& [rows, k, init, centroids, labels] = fits_[fit];
      take(static_cast<std::int64_t>(fit),
           result_of(std::move(run), {rows.rows, rows.rows, state.zero_rows}, k, rows.cols, options_.params));
    }
  }

 private:
  using State = SmallShards::State;

  // What stands together in memory at once.
  void copy_results() {
    const bool labels = options_.params.labels, there = options_.results_there;
    const auto follows = [&](const LockstepFit& next, const LockstepFit& fit) {
      return next.centroids == fit.centroids + fit.k * fit.rows.cols &&
             (!labels || next.labels == fit.labels + fit.rows.rows);
    };
    for (std::size_t first = 0, end = 0; first < fits_.size(); first = end) {
      for (end = first + 1; end < fits_.size() && follows(fits_[end], fits_[end - 1]);) ++end;
      const auto begin = static_cast<std::int64_t>(first), count = static_cast<std::int64_t>(end - first);
      shards_.copy_centroids(begin, count, fits_[first].centroids, there);
      if (labels) shards_.copy_labels(begin, count, fits_[first].labels, there);
    }
  }

  static bool is_packed(const MatrixView& x) {
    constexpr std::int64_t kItem = sizeof(float);
    return x.dtype == DType::f32 && x.col_stride == kItem && x.row_stride == x.cols * kItem &&
           reinterpret_cast<std::uintptr_t>(x.data) % alignof(float) == 0;
  }

  static std::size_t size_of(const MatrixView& x) { return static_cast<std::size_t>(x.rows * x.cols); }

  std::vector<float> gathered(const std::vector<MatrixView>& given) {
    std::vector<std::size_t> first = {0};  // value of each
    for (const MatrixView& x : given) first.push_back(first.back() + size_of(x));
    std::vector<float> values(first.back());
    const double operations = kOperationsPerElement * static_cast<double>(values.size());
    workers_.for_each(std::ssize(given), operations, [&](std::int64_t fit, int) {
      const auto at = static_cast<std::size_t>(fit);
      const MatrixView& x = given[at];
      for (std::int64_t c = 0; c < x.rows; ++c) read_row(x, c, values.data() + first[at] + c * x.cols);
    });
    return values;
  }

  // The first k of each fit in the random order: that of so many rows is the same in all fits.
  std::vector<std::int32_t> drawn_rows() {
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int32_t>> of_sizes;
    std::vector<std::int32_t> rows;
    for (const LockstepFit& fit : fits_) {
      std::vector<std::int32_t>& drawn = of_sizes[{fit.rows.rows, fit.k}];
      if (drawn.empty()) drawn = first_rows(fit.rows.rows, fit.k);
      rows.insert(rows.end(), drawn.begin(), drawn.end());
    }
    return rows;
  }

  std::vector<std::int32_t> first_rows(std::int64_t n, std::int64_t k) {
    const HostArray numbers({static_cast<const float*>(nullptr), n, 1});  // whose elements nobody reads
    RandomOrder order(numbers, k, options_.params.seed, 0, alone_, workers_);
    std::vector<std::int32_t> rows;
    while (std::ssize(rows) < k) {
      const auto drawn = order.next().value();
      for (const DrawnRow& row : drawn) rows.push_back(static_cast<std::int32_t>(row.number));
    }
    rows.resize(static_cast<std::size_t>(k));
    return rows;
  }

  SmallShards& shards_;
  std::span<const LockstepFit> fits_;
  const LockstepOptions& options_;
  Workers& workers_;
  NoReducer alone_;
  std::vector<bool> timed_out_;
  std::span<const State> states_;
};

}  // namespace

bool runs_in_lockstep(const LockstepFit& fit, const Params& params) {
  const auto& [x, k, init, centroids, labels] = fit;
  const bool draws = !init && params.init_method == InitMethod::random && params.nredo == 1;
  const std::int64_t most = k * std::min(params.max_points_per_centroid.value_or(kMostRows), kMostRows);
  // mutant: lockstep_takes
  return (all_given(fit) || draws) && k <= x.rows && x.rows <= most && params.weights.empty() &&
         !params.frozen_centroids && !params.int_centroids && x.dtype != DType::f64 &&
         required_metric(params.metric, params.spherical) != MetricType::inner_product;
}

void fit_in_lockstep(SmallShards& shards, std::span<const LockstepFit> fits, const LockstepOptions& options,
                     Workers& workers, const TakeResult& take) {
  Lockstep lockstep(shards, fits, options, workers);
  lockstep.start();
  lockstep.iterate();
  lockstep.take_results(take);
}

void fit_in_lockstep(std::span<const LockstepFit> fits, const LockstepOptions& options, Workers& workers,
                     const TakeResult& take) {
  const Params& params = options.params;
  const Metric& metric = metric_for(required_metric(params.metric, params.spherical));
  std::vector<SmallProblem> problems;
  problems.reserve(fits.size());
  for (const LockstepFit& fit : fits) problems.push_back({fit.rows, fit.k});
  for (std::size_t first = 0; first < fits.size();) {
    const auto shards = make_small_shards(std::span(problems).subspan(first), metric, params.execution, workers);
    if (!shards) return;
    const auto count = static_cast<std::size_t>(shards->count());
    fit_in_lockstep(*shards, fits.subspan(first, count), options, workers, [&](std::int64_t fit, Result&& result) {
      take(static_cast<std::int64_t>(first) + fit, std::move(result));
    });
    first += count;
  }
}

}  // namespace fastkmeans
