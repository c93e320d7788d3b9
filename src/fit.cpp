// SPDX-License-Identifier: Apache-2.0
// The whole story of a fit, and of a prediction, on one page.
#include "fit.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "afk_mc2.hpp"
#include "checks.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "initial_rows.hpp"
#include "kmeans_parallel.hpp"
#include "kmeans_plus_plus.hpp"
#include "lloyd.hpp"
#include "make_shard.hpp"
#include "numeric/distance.hpp"
#include "numeric/fp_state.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"
#include "source/weights.hpp"

namespace fastkmeans {
namespace {

// Throws if there are bad ones among these centroids from outside; values: what they are as fp32.
void require_valid_centroids(std::span<const float> values, const HostArray& given, const char* name,
                             Workers& workers) {
  const std::int64_t d = given.cols();
  const auto bad = [&](float v) { return magnitude_bits(v) >= magnitude_limit_bits(d); };
  const std::int64_t block = std::max<std::int64_t>(1, (1 << 16) / d);  // centroids from checkpoint to checkpoint
  RowCheck all;
  std::mutex mutex;
  workers.for_blocks(given.rows(), block, static_cast<double>(values.size()),
                     [&](std::int64_t first, std::int64_t count, int worker) {
                       workers.checkpoint(worker);
                       RowCheck check;
                       for (std::int64_t c = first; c < first + count; ++c) {
                         const float* row = &values[static_cast<std::size_t>(c * d)];
                         if (std::any_of(row, row + d, bad)) check.note(c);
                       }
                       const std::lock_guard lock(mutex);
                       all.merge(check);
                     });
  NoReducer reducer;
  require_valid_rows(all, given, name, reducer, workers);
}

// Centroids from outside, as fp32.
std::vector<float> given_centroids(const MatrixView& given, const char* name, Workers& workers) {
  const HostArray source(given);
  std::vector<float> centroids(static_cast<std::size_t>(given.rows * given.cols));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(given.rows));
  std::iota(rows.begin(), rows.end(), 0);
  source.gather(rows.data(), given.rows, centroids.data(), workers);
  require_valid_centroids(centroids, source, name, workers);
  return centroids;
}

// A run that begins with them: where they lie, if that is how a shard reads them.
Start start_with(const MatrixView& given, const char* name, Workers& workers) {
  constexpr std::int64_t kFloat = sizeof(float);
  // mutant: borrowed_centroids
  const bool as_they_are = given.dtype == DType::f32 && given.col_stride == kFloat &&
                           given.row_stride == given.cols * kFloat &&  // mutant: borrowed_rows
                           reinterpret_cast<std::uintptr_t>(given.data) % alignof(float) == 0;
  if (!as_they_are) return {given_centroids(given, name, workers)};
  const std::span values(static_cast<const float*>(given.data), static_cast<std::size_t>(given.rows * given.cols));
  require_valid_centroids(values, HostArray(given), name, workers);
  return {.values = {}, .borrowed = values};
}

// A sample of the rows, if there are more than are to be used; else null.
std::unique_ptr<Source> sample_of(const Source& rows, std::int64_t n, const Params& params, Reducer& reducer,
                                  Workers& workers) {
  if (!params.max_points_per_centroid) return nullptr;
  const std::int64_t per_centroid = std::min(*params.max_points_per_centroid, kMostRows);
  if (n <= params.k * per_centroid) return nullptr;
  return rows.subset(sample_rows(rows, params.k * per_centroid, params.seed, reducer, workers), workers);
}

std::int64_t total_weight(const Source& rows, Reducer& reducer) {
  std::int64_t own = rows.rows();
  // mutant: total_of_weights
  if (rows.weights()) own = std::accumulate(rows.weights(), rows.weights() + rows.rows(), std::int64_t{0});
  return sum_over_shards(own, reducer);
}

// The given ones first.
Start completed(std::vector<float> given, Shard& of_fit, const Source& used, const Metric& metric, const Params& params,
                std::uint32_t redo, Reducer& reducer, Workers& workers) {
  // By distances, whatever decides labels.
  std::unique_ptr<Shard> by_distance;
  if (metric.loss() != Loss::distance && params.init_method != InitMethod::random)  // which asks for none
    by_distance = make_shard(used, euclidean(), params.execution, workers);
  Shard& shard = by_distance ? *by_distance : of_fit;  // mutant: initialisations_by_distance
  switch (params.init_method) {
    case InitMethod::random: break;
    case InitMethod::kmeans_plus_plus:
      return {kmeans_plus_plus(std::move(given), shard, used, metric, params.k, params.seed, redo, reducer, workers)};
    case InitMethod::kmeans_parallel:
      return {kmeans_parallel(std::move(given), shard, used, metric, params, redo, reducer, workers)};
    case InitMethod::afk_mc2: return {afk_mc2(std::move(given), shard, used, metric, params, redo, reducer, workers)};
  }
  return initial_rows(std::move(given), shard, used, metric, params, redo, reducer, workers);
}

Start initial(Shard& shard, const Source& used, const Metric& metric, const Params& params, std::uint32_t redo,
              Reducer& reducer, Workers& workers) {
  Start start;
  const bool all_given = params.init && params.init->rows == params.k;
  if (all_given && metric.keeps_rows()) {
    start = start_with(*params.init, "init", workers);
  } else {
    if (params.init) start.values = given_centroids(*params.init, "init", workers);
    if (params.init && !metric.keeps_rows())  // mutant: init_transformed
      for (std::int64_t c = 0; c < params.init->rows; ++c)
        metric.transform(start.values.data() + c * used.cols(), used.cols());
    if (!all_given) start = completed(std::move(start.values), shard, used, metric, params, redo, reducer, workers);
  }
  if (params.int_centroids) {
    shard.start_run(std::move(start));
    std::vector<float> centroids = shard.take_centroids();
    std::transform(centroids.begin(), centroids.end(), centroids.begin(), [](float v) { return std::rint(v); });
    start = {std::move(centroids)};
  }
  return start;
}

// The run of best inertia, ties to the first; the shard has its centroids, and labels and sums if it was the last.
Run best_run(Shard& shard, const Source& used, const Metric& metric, const FixedPoint& scale, const Params& params,
             const Deadline& deadline, Reducer& reducer, Workers& workers) {
  Run best;
  std::vector<float> centroids;
  const bool all_given = params.init && params.init->rows == params.k;
  bool is_last = true, more = true, timed_out = false;
  for (int redo = 0; more; ++redo) {
    Start start = initial(shard, used, metric, params, static_cast<std::uint32_t>(redo), reducer, workers);
    Run run = lloyd(shard, std::move(start), redo, metric, scale, params, deadline, reducer);
    more = !all_given && redo + 1 < params.nredo && !run.stopped;  // mutant: stopped_runs
    timed_out = run.timed_out || (more && deadline.is_over(reducer));
    more = more && !timed_out;  // mutant: no_time_for_more_runs
    // mutant: best_run_tie
    is_last = redo == 0 || metric.gain(best.inertia, run.inertia) > 0;
    if (!is_last) continue;
    best = std::move(run);
    if (more) centroids = shard.take_centroids();
  }
  if (!is_last) {
    shard.start_run({std::move(centroids)});
    best.settled = false;  // mutant: best_run_assigned
  }
  best.timed_out = timed_out;  // mutant: any_run_timed_out
  return best;
}

void add_warnings(std::int64_t n, const Params& params, Result& result) {
  if (result.n_used < n)
    result.warnings.push_back(
        {Warning::Kind::subsampled, "training on " + std::to_string(result.n_used) + " of " + std::to_string(n) +
                                        " points (k * max_points_per_centroid = " + std::to_string(result.k) + " * " +
                                        std::to_string(*params.max_points_per_centroid) +
                                        "); max_points_per_centroid=None trains on all"});
  if (params.min_points_per_centroid && result.n_used / result.k < *params.min_points_per_centroid)
    result.warnings.push_back(
        {Warning::Kind::few_points, "training on " + std::to_string(result.n_used) + " points for " +
                                        std::to_string(result.k) + " centroids, fewer than min_points_per_centroid = " +
                                        std::to_string(*params.min_points_per_centroid) + " each"});
  if (result.n_empty > 0)
    result.warnings.push_back(
        {Warning::Kind::empty_clusters, std::to_string(result.n_empty) + " of " + std::to_string(result.k) +
                                            " clusters ended empty" +
                                            (params.frozen_centroids || params.empty_clusters == EmptyClusters::split
                                                 ? ""
                                                 : ": the data has too few distinct points to fill them")});
  if (required_metric(params.metric, params.spherical) == MetricType::cosine && result.n_zero > 0)
    result.warnings.push_back(
        {Warning::Kind::zero_rows, std::to_string(result.n_zero) + " of " + std::to_string(result.n_used) +
                                       " points are zero: they have no direction, and stay zero"});
}

}  // namespace

const Metric& metric_for(MetricType type) {
  switch (type) {
    case MetricType::euclidean: break;
    case MetricType::cosine: return spherical();
    case MetricType::inner_product: return inner_product();
  }
  return euclidean();
}

Result result_of(Run run, const RowCounts& rows, std::int64_t k, std::int64_t d, const Params& params) {
  Result result;
  result.k = k;
  result.d = d;
  result.inertia = run.inertia;
  result.n_iter = run.n_iter;
  result.converged = run.converged;
  result.timed_out = run.timed_out;
  result.n_used = rows.used;
  result.n_zero = rows.zero;
  result.n_empty = run.n_empty;
  result.iterations = std::move(run.iterations);
  add_warnings(rows.given, params, result);
  return result;
}

Result fit_shard(const Source& rows, const Metric& metric, const Params& params, Reducer& reducer, Workers& workers) {
  const Deadline deadline(params.max_runtime_secs);
  const std::int64_t n = sum_over_shards(rows_of_weight(rows, workers), reducer);
  if (n < params.k && !params.allow_fewer_rows)
    throw std::invalid_argument("Number of training points" + std::string(rows.weights() ? " of weight > 0" : "") +
                                " (" + std::to_string(n) + ") is less than k (" + std::to_string(params.k) + ").");
  const std::unique_ptr<Source> sample = sample_of(rows, n, params, reducer, workers);
  const Source& used = sample ? *sample : rows;
  auto shard = make_shard(used, metric, params.execution, workers);
  Statistics statistics = shard->statistics();
  require_valid_rows(statistics.check, used, "data", reducer, workers);
  statistics.merge_over_shards(reducer);
  const FixedPoint scale(statistics.column_max, statistics.least_row_max, total_weight(used, reducer));

  Run run = best_run(*shard, used, metric, scale, params, deadline, reducer, workers);

  const bool settled = run.settled;
  const std::int64_t n_used = sum_over_shards(rows_of_weight(used, workers), reducer);
  Result result = result_of(std::move(run), {n, n_used, statistics.zero_rows}, params.k, rows.cols(), params);
  if (auto text = precision_warning(shard->moments(), reducer); !text.empty())
    result.warnings.push_back({Warning::Kind::precision, std::move(text)});
  if (params.labels) {  // of all rows, to the centroids returned
    if (sample) {
      auto centroids = shard->take_centroids();
      shard = make_shard(rows, metric, params.execution, workers);
      shard->start_run({std::move(centroids)});
    }
    if (sample || !settled) {
      shard->assign(false);
      require_valid_rows(shard->assigned().check, rows, "data", reducer, workers);
      result.inertia = inertia_over_shards(shard->assigned(), metric, reducer);
    }
    if (!params.on_device.centroids) {
      result.labels.resize(static_cast<std::size_t>(rows.rows()));
      shard->copy_labels(result.labels.data());
    }
  }
  if (params.on_device.centroids)
    shard->copy_to_device({params.on_device.centroids, params.labels ? params.on_device.labels : nullptr});
  else
    result.centroids = shard->take_centroids();
  return result;
}

Result fit_rows(const MatrixView& x, Params params, Workers& workers) {
  const IntegerWeights weights = integer_weights(params.weights, workers);
  // The inertia of integer weights, as one of the caller's.
  const auto restore = [&weights](double& inertia) {
    inertia = std::ldexp(inertia, -weights.exponent);  // mutant: inertia_of_weights
  };
  if (params.callback)
    params.callback = [restore, callback = params.callback](IterationStats stats) {
      restore(stats.inertia);
      return callback(stats);
    };
  NoReducer reducer;
  const auto rows = make_source(x, weights.values.empty() ? nullptr : weights.values.data(), params.execution, workers);
  const Metric& metric = metric_for(required_metric(params.metric, params.spherical));
  Result result = fit_shard(*rows, metric, params, reducer, workers);
  restore(result.inertia);
  for (IterationStats& stats : result.iterations) restore(stats.inertia);
  return result;
}

Result fit(const MatrixView& x, const Params& given) {
  FpState fp_state;
  require_options(given);
  require_problem(x, given.k, given.init ? &*given.init : nullptr, given.weights.size(), given.allow_fewer_rows);
  if (given.init) require_on_host("init", *given.init);
  if (given.on_device.centroids && x.cuda_device == MatrixView::kHost)
    refuse("the place of data", "the host", "the CUDA device of the results");
  Params params = given;
  params.callback = as_caller(fp_state, given.callback);
  params.execution.device = device_for(x, params.k, given.execution);
  Workers workers(params.execution.n_threads, as_caller(fp_state, given.execution.interrupt));
  return fit_rows(x, std::move(params), workers);
}

Prediction predict(const MatrixView& x, const MatrixView& centroids, const PredictParams& params) {
  FpState fp_state;
  require_shape("data", x, 0);
  require_shape("centroids", centroids);
  require_on_host("centroids", centroids);
  require_execution(params.execution);
  if (x.cols != centroids.cols)
    refuse("the number of columns of data", std::to_string(x.cols),
           "that of the centroids, " + std::to_string(centroids.cols));
  const MetricType metric = required_metric(params.metric, params.spherical);
  Execution execution = params.execution;
  execution.device = device_for(x, centroids.rows, params.execution);
  Workers workers(execution.n_threads, as_caller(fp_state, params.execution.interrupt));
  const auto source = make_source(x, nullptr, execution, workers);
  const Source& rows = *source;
  const auto shard = make_shard(rows, metric_for(metric), execution, workers);
  shard->start_run(start_with(centroids, "centroids", workers));

  shard->assign(false);
  NoReducer reducer;
  require_valid_rows(shard->assigned().check, rows, "data", reducer, workers);
  Prediction prediction;
  prediction.labels.resize(static_cast<std::size_t>(x.rows));
  shard->copy_labels(prediction.labels.data());
  if (params.distances) {
    prediction.distances.resize(prediction.labels.size());
    shard->copy_distances(prediction.distances.data());
  }
  return prediction;
}

Interrupted::Interrupted() : std::runtime_error("interrupted") {}
Interrupted::~Interrupted() = default;

}  // namespace fastkmeans
