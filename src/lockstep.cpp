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

bool all_given(const Params& params) { return params.init && params.init->rows == params.k; }

// Rough operations to read an element of a centroid.
constexpr double kOperationsPerElement = 2;

class Lockstep {
 public:
  Lockstep(SmallShards& shards, std::span<const LockstepFit> fits, const Metric& metric, const Deadline& deadline,
           Workers& workers)
      : shards_(shards), fits_(fits), metric_(metric), deadline_(deadline), workers_(workers), first_centroid_{0} {
    progress_.reserve(fits_.size());
    for (const LockstepFit& fit : fits_) {
      progress_.emplace_back(fit.params, metric_, false);
      first_centroid_.push_back(first_centroid_.back() + fit.params.k);
    }
    steps_.resize(fits_.size());
  }

  void start() {
    if (!all_given(fits_[0].params)) return shards_.start_runs({}, drawn_rows());
    std::vector<MatrixView> given;
    for (const LockstepFit& fit : fits_) given.push_back(*fit.params.init);
    const auto together = joined(given);
    const MatrixView& all = together[0];
    const std::int64_t size = first_centroid_.back() * all.cols;
    if (together.size() == 1 && is_packed(all))
      shards_.start_runs({static_cast<const float*>(all.data), static_cast<std::size_t>(size)}, {});
    else
      shards_.start_runs(gathered(given, size), {});
  }

  void iterate() {
    std::vector<std::int32_t> running(fits_.size());
    std::iota(running.begin(), running.end(), 0);
    while (!running.empty()) {
      note(running, shards_.iterate(running));
      std::erase_if(running, [&](std::int32_t fit) {
        const Step& step = steps_[static_cast<std::size_t>(fit)];
        if (step.failed) return true;
        Progress& progress = progress_[static_cast<std::size_t>(fit)];
        IterationStats stats;
        stats.inertia = step.inertia;
        stats.shift = step.shift;
        stats.changed = step.changed;
        progress.note(stats, deadline_, alone_);
        return !progress.goes_on();
      });
    }
  }

  // Of the centroids returned, where the last iteration's are not.
  void assign() {
    std::vector<std::int32_t> moved;
    for (std::size_t fit = 0; fit < fits_.size(); ++fit)
      // mutant: settled_in_lockstep
      if (fits_[fit].params.labels && !steps_[fit].failed && !progress_[fit].run().settled)
        moved.push_back(static_cast<std::int32_t>(fit));
    note(moved, shards_.assign(moved));
  }

  void take_results(const TakeResult& take) {
    copy_results();
    for (std::size_t fit = 0; fit < fits_.size(); ++fit) {
      const Step& step = steps_[fit];
      if (step.failed) continue;
      const LockstepFit& its = fits_[fit];
      const std::int64_t n = its.rows.rows;
      Result result = result_of(progress_[fit].take(), {n, n, step.zero_rows}, its.rows.cols, its.params);
      result.inertia = step.inertia;
      take(static_cast<std::int64_t>(fit), std::move(result));
    }
  }

 private:
  using Step = SmallShards::Step;

  void note(const std::vector<std::int32_t>& which, std::span<const Step> steps) {
    for (std::size_t i = 0; i < which.size(); ++i) steps_[static_cast<std::size_t>(which[i])] = steps[i];
  }

  // What stands together in memory at once.
  void copy_results() {
    const bool labels = fits_[0].params.labels;
    const auto follows = [&](const LockstepFit& next, const LockstepFit& fit) {
      return next.centroids == fit.centroids + fit.params.k * fit.rows.cols &&
             (!labels || next.labels == fit.labels + fit.rows.rows);
    };
    for (std::size_t first = 0, end = 0; first < fits_.size(); first = end) {
      for (end = first + 1; end < fits_.size() && follows(fits_[end], fits_[end - 1]);) ++end;
      const auto begin = static_cast<std::int64_t>(first), count = static_cast<std::int64_t>(end - first);
      shards_.copy_centroids(begin, count, fits_[first].centroids);
      if (labels) shards_.copy_labels(begin, count, fits_[first].labels);
    }
  }

  static bool is_packed(const MatrixView& x) {
    constexpr std::int64_t kItem = sizeof(float);
    return x.dtype == DType::f32 && x.col_stride == kItem && x.row_stride == x.cols * kItem &&
           reinterpret_cast<std::uintptr_t>(x.data) % alignof(float) == 0;
  }

  std::vector<float> gathered(const std::vector<MatrixView>& given, std::int64_t size) {
    std::vector<float> values(static_cast<std::size_t>(size));
    const double operations = kOperationsPerElement * static_cast<double>(size);
    workers_.for_each(std::ssize(given), operations, [&](std::int64_t fit, int) {
      const auto at = static_cast<std::size_t>(fit);
      float* to = values.data() + first_centroid_[at] * given[at].cols;
      for (std::int64_t c = 0; c < given[at].rows; ++c, to += given[at].cols) read_row(given[at], c, to);
    });
    return values;
  }

  // The first k of each fit in the random order: that of so many rows is the same in all fits.
  std::vector<std::int32_t> drawn_rows() {
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int32_t>> of_sizes;
    std::vector<std::int32_t> rows;
    for (const LockstepFit& fit : fits_) {
      std::vector<std::int32_t>& drawn = of_sizes[{fit.rows.rows, fit.params.k}];
      if (drawn.empty()) drawn = first_rows(fit.rows.rows, fit.params);
      rows.insert(rows.end(), drawn.begin(), drawn.end());
    }
    return rows;
  }

  std::vector<std::int32_t> first_rows(std::int64_t n, const Params& params) {
    const HostArray numbers({static_cast<const float*>(nullptr), n, 1});  // whose elements nobody reads
    RandomOrder order(numbers, params.k, params.seed, 0, alone_, workers_);
    std::vector<std::int32_t> rows;
    while (std::ssize(rows) < params.k) {
      const auto drawn = order.next().value();
      for (const DrawnRow& row : drawn) rows.push_back(static_cast<std::int32_t>(row.number));
    }
    rows.resize(static_cast<std::size_t>(params.k));
    return rows;
  }

  SmallShards& shards_;
  std::span<const LockstepFit> fits_;
  const Metric& metric_;
  const Deadline& deadline_;
  Workers& workers_;
  NoReducer alone_;
  std::vector<std::int64_t> first_centroid_;  // (fits + 1) among those of all
  std::vector<Progress> progress_;
  std::vector<Step> steps_;  // the last of each
};

}  // namespace

bool runs_in_lockstep(const MatrixView& x, const Params& params) {
  const bool draws = !params.init && params.init_method == InitMethod::random && params.nredo == 1;
  const std::int64_t most = params.k * std::min(params.max_points_per_centroid.value_or(kMostRows), kMostRows);
  // mutant: lockstep_takes
  return (all_given(params) || draws) && params.k <= x.rows && x.rows <= most && params.weights.empty() &&
         !params.frozen_centroids && !params.int_centroids && x.dtype != DType::f64 &&
         required_metric(params.metric, params.spherical) != MetricType::inner_product;
}

void fit_in_lockstep(SmallShards& shards, std::span<const LockstepFit> fits, const Metric& metric,
                     const Deadline& deadline, Workers& workers, const TakeResult& take) {
  Lockstep lockstep(shards, fits, metric, deadline, workers);
  lockstep.start();
  lockstep.iterate();
  lockstep.assign();
  lockstep.take_results(take);
}

void fit_in_lockstep(std::span<const LockstepFit> fits, const Deadline& deadline, Workers& workers,
                     const TakeResult& take) {
  std::vector<SmallProblem> problems;
  for (const LockstepFit& fit : fits) problems.push_back({fit.rows, fit.params.k});
  for (std::size_t first = 0; first < fits.size();) {
    const Params& params = fits[first].params;
    const Metric& metric = metric_for(required_metric(params.metric, params.spherical));
    const auto shards = make_small_shards(std::span(problems).subspan(first), metric, params.execution, workers);
    if (!shards) return;
    const auto count = static_cast<std::size_t>(shards->count());
    fit_in_lockstep(
        *shards, fits.subspan(first, count), metric, deadline, workers,
        [&](std::int64_t fit, Result&& result) { take(static_cast<std::int64_t>(first) + fit, std::move(result)); });
    first += count;
  }
}

}  // namespace fastkmeans
