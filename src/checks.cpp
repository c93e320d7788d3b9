// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <limits>
#include <stdexcept>

#include "numeric/text.hpp"

namespace fastkmeans {
namespace {

void require_at_least(const char* name, std::int64_t value, std::int64_t least) {
  if (value < least) refuse(name, std::to_string(value), "at least " + std::to_string(least));
}

void require_between(const char* name, double value, double least, double most) {
  if (value >= least && value <= most) return;  // not NaN
  refuse(name, text_of(value), "between " + text_of(least) + " and " + text_of(most));
}

std::string shape_text(std::int64_t rows, std::int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

}  // namespace

void refuse(const std::string& name, const std::string& value, const std::string& allowed) {
  throw std::invalid_argument(name + " is " + value + "; it must be " + allowed);
}

void require_shape(const char* name, const MatrixView& x, std::int64_t least_rows) {
  const auto shape = [&] { return shape_text(x.rows, x.cols); };  // of thousands of problems for those that are wrong
  if (x.rows < least_rows || x.cols < 1)
    refuse(std::string("the shape of ") + name, shape(), "at least " + shape_text(least_rows, 1));
  if (x.rows > kMostRows || x.cols > kMostDims)
    refuse(std::string("the shape of ") + name, shape(), "at most " + shape_text(kMostRows, kMostDims));
  if (!x.data && x.rows > 0) refuse(std::string("the address of ") + name, "null", "that of the data");
}

void require_on_host(const char* name, const MatrixView& x) {
  // mutant: centroids_on_the_host
  if (x.cuda_device != MatrixView::kHost)
    refuse(std::string("the memory of ") + name, "that of cuda:" + std::to_string(x.cuda_device), "that of the host");
}

void require_execution(const Execution& execution) {
  require_at_least("n_threads", execution.n_threads, 0);
  if (execution.memory_limit < 0) refuse("memory_limit", std::to_string(execution.memory_limit), "at least 0");
  require_at_least("chunk_size_data", execution.chunk_size_data, 1);
  require_at_least("chunk_size_centroids", execution.chunk_size_centroids, 1);
}

MetricType required_metric(const std::optional<MetricType>& metric, bool spherical) {
  const MetricType type = metric.value_or(spherical ? MetricType::cosine : MetricType::euclidean);
  if (spherical && type != MetricType::cosine)  // mutant: contradictory_metrics
    refuse("metric, with spherical = true,", type == MetricType::euclidean ? "euclidean" : "inner_product", "cosine");
  return type;
}

void require_options(const Params& params) {
  require_at_least("niter", params.niter, 1);
  require_at_least("nredo", params.nredo, 1);
  if (params.max_points_per_centroid) require_at_least("max_points_per_centroid", *params.max_points_per_centroid, 1);
  if (params.min_points_per_centroid) require_at_least("min_points_per_centroid", *params.min_points_per_centroid, 1);
  if (params.tol != params.tol) refuse("tol", "NaN", "a number");
  require_between("inertia_tol", params.inertia_tol, 0, 1);
  require_between("changed_tol", params.changed_tol, 0, 1);
  require_between("max_runtime_secs", params.max_runtime_secs, 0, std::numeric_limits<double>::infinity());
  require_execution(params.execution);
  required_metric(params.metric, params.spherical);
  if (params.on_device.centroids && params.labels && !params.on_device.labels)
    refuse("the address of labels on the device", "null", "that of room for them, as for centroids");
}

void require_problem(const MatrixView& x, std::int64_t k, const MatrixView* init, std::size_t weights,
                     bool allow_fewer_rows) {
  require_shape("data", x, allow_fewer_rows ? 0 : 1);
  require_at_least("k", k, 1);
  if (k > kMostRows) refuse("k", std::to_string(k), "at most " + std::to_string(kMostRows));
  if (weights != 0 && static_cast<std::int64_t>(weights) != x.rows)
    refuse("the length of weights", std::to_string(weights), "that of the data, " + std::to_string(x.rows));
  if (init) require_shape("init", *init);
  if (init && (init->rows > k || init->cols != x.cols))
    refuse("the shape of init", shape_text(init->rows, init->cols),
           "(k, d) = " + shape_text(k, x.cols) + ", or fewer rows");
}

}  // namespace fastkmeans
