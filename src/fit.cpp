// SPDX-License-Identifier: Apache-2.0
// The whole story of a fit, and of a prediction, on one page.
#include <algorithm>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include "backend.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "finalize.hpp"
#include "lloyd.hpp"
#include "numeric/distance.hpp"
#include "numeric/fp_state.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"
#include "source/sample.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kMostRows = std::numeric_limits<std::int32_t>::max();  // ExactSum's bins; labels of k <= n
// The filter's rounding bound needs (d + 2) 2^-24 well below 1, and a group of rows must fit kMostScratch.
constexpr std::int64_t kMostDims = 1 << 19;

[[noreturn]] void refuse(const std::string& name, const std::string& value, const std::string& allowed) {
  throw std::invalid_argument(name + " is " + value + "; it must be " + allowed);
}

void require_at_least(const char* name, std::int64_t value, std::int64_t least) {
  if (value < least) refuse(name, std::to_string(value), "at least " + std::to_string(least));
}

std::string shape_text(std::int64_t rows, std::int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

void require_shape(const char* name, const MatrixView& x, std::int64_t least_rows = 1) {
  const std::string shape = shape_text(x.rows, x.cols);
  if (x.rows < least_rows || x.cols < 1)
    refuse(std::string("the shape of ") + name, shape, "at least " + shape_text(least_rows, 1));
  if (x.rows > kMostRows || x.cols > kMostDims)
    refuse(std::string("the shape of ") + name, shape, "at most " + shape_text(kMostRows, kMostDims));
  if (!x.data && x.rows > 0) refuse(std::string("the address of ") + name, "null", "that of the data");
}

void require_execution(const Execution& execution) {
  require_at_least("n_threads", execution.n_threads, 0);
  require_at_least("chunk_size_data", execution.chunk_size_data, 1);
  require_at_least("chunk_size_centroids", execution.chunk_size_centroids, 1);
}

void require_params(const MatrixView& x, const Params& params) {
  require_shape("data", x);
  require_at_least("k", params.k, 1);
  require_at_least("niter", params.niter, 1);
  require_at_least("nredo", params.nredo, 1);
  if (params.max_points_per_centroid) require_at_least("max_points_per_centroid", *params.max_points_per_centroid, 1);
  if (params.tol != params.tol) refuse("tol", "NaN", "a number");
  require_execution(params.execution);
  if (x.rows < params.k)
    throw std::invalid_argument("Number of training points (" + std::to_string(x.rows) + ") is less than k (" +
                                std::to_string(params.k) + ").");
  if (params.init) require_shape("init", *params.init);
  if (params.init && (params.init->rows != params.k || params.init->cols != x.cols))
    refuse("the shape of init", shape_text(params.init->rows, params.init->cols),
           "(k, d) = " + shape_text(params.k, x.cols));
}

// The caller's own functions run in the caller's floating-point mode.
template <class Result, class... Args>
std::function<Result(Args...)> as_caller(FpState& fp_state, const std::function<Result(Args...)>& function) {
  if (!function) return {};
  return [&fp_state, &function](Args... args) {
    const FpState::Lent lent(fp_state);
    return function(args...);
  };
}

// Centroids from outside, as fp32.
std::vector<float> given_centroids(const MatrixView& given, const char* name, Workers& workers) {
  std::vector<float> centroids(static_cast<std::size_t>(given.rows * given.cols));
  std::mutex mutex;
  RowCheck check;
  workers.for_each(given.rows, 4.0 * static_cast<double>(centroids.size()), [&](std::int64_t c, int) {
    float* row = &centroids[static_cast<std::size_t>(c * given.cols)];
    read_row(given, c, row);
    const auto bad = [&](float v) { return magnitude_bits(v) >= magnitude_limit_bits(given.cols); };
    if (std::none_of(row, row + given.cols, bad)) return;
    const std::lock_guard lock(mutex);
    check.note(c);
  });
  require_valid_rows(check, given, name);
  return centroids;
}

// The rows to train on: all of x, or a copy of a sample of them.
struct TrainingRows {
  MatrixView x;
  std::vector<std::int64_t> rows;  // their numbers in the caller's array; empty: all
  std::vector<char> copy;

  TrainingRows(const MatrixView& all, const Params& params, Workers& workers) : x(all) {
    if (!params.max_points_per_centroid) return;
    const std::int64_t per_centroid = std::min(*params.max_points_per_centroid, kMostRows);
    if (all.rows <= params.k * per_centroid) return;
    rows = sample_rows(all.rows, params.k * per_centroid, params.seed, workers);
    copy = gather_rows(all, rows, workers);
    x = MatrixView(copy.data(), static_cast<std::int64_t>(rows.size()), all.cols, all.dtype);
  }
};

// Labels as the caller gets them.
std::vector<std::int64_t> widened(const std::vector<std::int32_t>& labels, Workers& workers) {
  std::vector<std::int64_t> wide(labels.size());
  const auto n = static_cast<std::int64_t>(labels.size());
  workers.for_blocks(n, kRowsPerPass, static_cast<double>(n), [&](std::int64_t first, std::int64_t count, int) {
    std::copy_n(labels.begin() + first, count, wide.begin() + first);
  });
  return wide;
}

// Labels and inertia of every row of x under the final centroids.
void label_all(const MatrixView& x, const TrainingRows& used, Run& run, Backend& backend, Workers& workers,
               Result& result) {
  const bool sampled = !used.rows.empty();
  if (sampled || !run.settled) {
    std::vector<float> distances(static_cast<std::size_t>(x.rows));
    const std::int32_t* previous = sampled ? nullptr : run.labels.data();
    if (sampled) run.labels.resize(distances.size());
    const auto check = backend
                           .assign(x, {result.centroids.data(), result.k, result.d}, previous, false, run.labels.data(),
                                   distances.data())
                           .check;
    require_valid_rows(check, x, "data");
    result.inertia = inertia_of(distances, workers);
  }
  result.labels = widened(run.labels, workers);
}

void add_warnings(const MatrixView& x, const TrainingRows& used, const Params& params, Workers& workers,
                  Result& result) {
  if (!used.rows.empty())
    result.warnings.push_back(
        {Warning::Kind::subsampled, "training on " + std::to_string(result.n_used) + " of " + std::to_string(x.rows) +
                                        " points (k * max_points_per_centroid = " + std::to_string(params.k) + " * " +
                                        std::to_string(*params.max_points_per_centroid) +
                                        "); max_points_per_centroid=None trains on all"});
  if (result.n_empty > 0)
    result.warnings.push_back({Warning::Kind::empty_clusters,
                               std::to_string(result.n_empty) + " of " + std::to_string(result.k) +
                                   " clusters ended empty: the data has too few distinct points to fill them"});
  if (auto text = precision_warning(used.x, workers); !text.empty())
    result.warnings.push_back({Warning::Kind::precision, std::move(text)});
}

}  // namespace

Result fit(const MatrixView& x, const Params& given) {
  FpState fp_state;
  require_params(x, given);
  Params params = given;
  params.callback = as_caller(fp_state, given.callback);
  Workers workers(params.execution.n_threads, as_caller(fp_state, given.execution.interrupt));
  const auto backend = make_backend(params.execution, workers);

  const TrainingRows used(x, params, workers);
  const Statistics statistics = backend->statistics(used.x);
  require_valid_rows(statistics.check, used.x, "data",
                     [&](std::int64_t i) { return used.rows.empty() ? i : used.rows[static_cast<std::size_t>(i)]; });
  const FixedPoint scale(statistics, used.x.rows);

  Run best;
  for (int redo = 0; redo < (params.init ? 1 : params.nredo) && !best.stopped; ++redo) {
    auto initial = params.init ? given_centroids(*params.init, "init", workers)
                               : initial_centroids(used.x, used.rows, params.k, params.seed,
                                                   static_cast<std::uint32_t>(redo), workers);
    Run run = lloyd(used.x, std::move(initial), redo, scale, params, *backend, workers);
    const bool stopped = run.stopped;
    if (redo == 0 || run.inertia < best.inertia) best = std::move(run);
    best.stopped = stopped;
  }

  Result result;
  result.k = params.k;
  result.d = x.cols;
  result.centroids = std::move(best.centroids);
  result.inertia = best.inertia;
  result.n_iter = static_cast<int>(best.iterations.size());
  result.converged = best.converged;
  result.n_used = used.x.rows;
  result.n_empty = best.n_empty;
  result.iterations = std::move(best.iterations);
  if (params.labels) label_all(x, used, best, *backend, workers, result);
  add_warnings(x, used, params, workers, result);
  return result;
}

Prediction predict(const MatrixView& x, const MatrixView& centroids, const PredictParams& params) {
  FpState fp_state;
  require_shape("data", x, 0);
  require_shape("centroids", centroids);
  require_execution(params.execution);
  if (x.cols != centroids.cols)
    refuse("the number of columns of data", std::to_string(x.cols),
           "that of the centroids, " + std::to_string(centroids.cols));
  Workers workers(params.execution.n_threads, as_caller(fp_state, params.execution.interrupt));
  const auto backend = make_backend(params.execution, workers);
  const auto given = given_centroids(centroids, "centroids", workers);
  if (x.rows == 0) return {};

  std::vector<std::int32_t> labels(static_cast<std::size_t>(x.rows));
  std::vector<float> distances(labels.size());
  const auto check =
      backend
          ->assign(x, {given.data(), centroids.rows, centroids.cols}, nullptr, false, labels.data(), distances.data())
          .check;
  require_valid_rows(check, x, "data");
  Prediction prediction;
  prediction.labels = widened(labels, workers);
  if (params.distances) {
    prediction.distances.resize(labels.size());
    std::transform(distances.begin(), distances.end(), prediction.distances.begin(), true_distance);
  }
  return prediction;
}

Interrupted::Interrupted() : std::runtime_error("interrupted") {}
Interrupted::~Interrupted() = default;

}  // namespace fastkmeans
