// SPDX-License-Identifier: Apache-2.0
// Every option of fit, fit_batch and predict, each with something that it does; CI runs this on the installed library.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "fastkmeans/fastkmeans.hpp"

namespace {

using namespace fastkmeans;

constexpr std::int64_t kRows = 600, kColumns = 3, kClusters = 6;

const std::vector<float> values = [] {
  std::mt19937 random(7);
  std::vector<float> x(static_cast<std::size_t>(kRows * kColumns));
  for (float& value : x) value = static_cast<float>(random() % 1000) / 10;
  return x;
}();
const MatrixView x(values.data(), kRows, kColumns);
const std::vector<float> far_away(kColumns, 999);
const MatrixView far(far_away.data(), 1, kColumns);  // one initial centroid: its cluster has no rows at first
const MatrixView halves[] = {{values.data(), kRows / 2, kColumns}, {&values[values.size() / 2], kRows / 2, kColumns}};

using Set = std::function<void(Params&)>;
Result fit_with(const Set& set) {
  Params params;
  params.k = kClusters;
  set(params);
  return fit(x, params);
}
const Result usual = fit_with([](Params&) {});

BatchResult batch_with(const std::function<void(BatchParams&)>& set) {
  BatchParams params;
  params.each.k = kClusters;
  set(params);
  return fit_batch(halves, params);
}

Prediction predict_with(const std::function<void(PredictParams&)>& set) {
  PredictParams params;
  set(params);
  return predict(x, {usual.centroids.data(), kClusters, kColumns}, params);
}

bool warned(const Result& result, Warning::Kind kind) {
  return std::any_of(result.warnings.begin(), result.warnings.end(), [=](const auto& w) { return w.kind == kind; });
}

bool batch_refused(const std::function<void(BatchParams&)>& set) try {
  batch_with(set);
  return false;
} catch (const std::invalid_argument&) {
  return true;
}

template <class Error>
bool refused(const Set& set) try {
  fit_with(set);
  return false;
} catch (const Error&) {
  return true;
}

bool same_bits(const Set& set) {
  const Result got = fit_with(set);
  return got.centroids == usual.centroids && got.labels == usual.labels && got.inertia == usual.inertia;
}

bool starts_otherwise(InitMethod method) {
  const Result got = fit_with([=](Params& p) { p.init_method = method; });
  return got.iterations[0].inertia != usual.iterations[0].inertia;
}

Result fill_empty(EmptyClusters rule) {
  return fit_with([=](Params& p) {
    p.init = far;
    p.empty_clusters = rule;
  });
}

struct Option {
  const char* name;
  std::function<bool()> works;
};

const Option options[] = {
    {"k", [] { return fit_with([](Params& p) { p.k = 3; }).centroids.size() == 3 * kColumns; }},
    {"niter", [] { return fit_with([](Params& p) { p.niter = 2; }).n_iter == 2; }},
    {"tol", [] { return fit_with([](Params& p) { p.tol = 1e9; }).n_iter == 1; }},
    {"inertia_tol", [] { return fit_with([](Params& p) { p.inertia_tol = 1; }).n_iter == 2; }},
    {"changed_tol", [] { return fit_with([](Params& p) { p.changed_tol = 1; }).n_iter == 2; }},
    {"max_runtime_secs", [] { return fit_with([](Params& p) { p.max_runtime_secs = 1e-9; }).timed_out; }},
    {"seed", [] { return !same_bits([](Params& p) { p.seed = 1; }); }},
    {"max_points_per_centroid",
     [] {
       const Result got = fit_with([](Params& p) { p.max_points_per_centroid = 9; });
       return got.n_used == 9 * kClusters && warned(got, Warning::Kind::subsampled);
     }},
    {"nredo", [] { return fit_with([](Params& p) { p.nredo = 9; }).inertia < usual.inertia; }},
    {"metric",
     [] {
       const Result got = fit_with([](Params& p) { p.metric = MetricType::inner_product; });
       return got.labels != usual.labels && got.inertia > 0;
     }},
    {"spherical",
     [] {
       const Result got = fit_with([](Params& p) { p.spherical = true; });
       return std::abs(std::hypot(got.centroids[0], got.centroids[1], got.centroids[2]) - 1) < 1e-6;
     }},
    {"init_method",
     [] {
       return starts_otherwise(InitMethod::kmeans_plus_plus) && starts_otherwise(InitMethod::kmeans_parallel) &&
              starts_otherwise(InitMethod::afk_mc2) && !starts_otherwise(InitMethod::random);
     }},
    {"init", [] { return fit_with([](Params& p) { p.init = far; }).iterations[0].empty == 1; }},
    {"empty_clusters",
     [] {
       const auto farthest = fill_empty(EmptyClusters::farthest), split = fill_empty(EmptyClusters::split),
                  random = fill_empty(EmptyClusters::random);
       return farthest.iterations[0].relocated == 1 && split.iterations[0].relocated == 1 &&
              farthest.iterations[1].inertia != split.iterations[1].inertia &&
              farthest.iterations[1].inertia != random.iterations[1].inertia;
     }},
    {"frozen_centroids",
     [] {
       const Result got = fit_with([](Params& p) {
         p.init = far;
         p.frozen_centroids = true;
       });
       return std::equal(far_away.begin(), far_away.end(), got.centroids.begin());
     }},
    {"int_centroids",
     [] {
       const Result got = fit_with([](Params& p) { p.int_centroids = true; });
       return std::all_of(got.centroids.begin(), got.centroids.end(), [](float v) { return v == std::rint(v); });
     }},
    {"min_points_per_centroid",
     [] { return warned(fit_with([](Params& p) { p.min_points_per_centroid = 101; }), Warning::Kind::few_points); }},
    {"allow_fewer_rows",
     [] {
       const Set more = [](Params& p) { p.k = kRows + 1; };
       const Result got = fit_with([](Params& p) {
         p.k = kRows + 1;
         p.allow_fewer_rows = true;
       });
       return got.n_empty >= 1 && got.inertia == 0 && refused<std::invalid_argument>(more);
     }},
    {"labels", [] { return fit_with([](Params& p) { p.labels = false; }).labels.empty() && !usual.labels.empty(); }},
    {"weights",
     [] {
       std::vector<double> weights(kRows, 0.5);
       weights[3] = 0;
       return fit_with([&](Params& p) { p.weights = weights; }).n_used == kRows - 1;
     }},
    {"results on the device of the rows",
     [] {
       float centroids[1] = {};  // rows on the host have none
       return refused<std::invalid_argument>([&](Params& p) {
         p.on_device.centroids = centroids;
         p.labels = false;
       });
     }},
    {"callback",
     [] {
       return fit_with([](Params& p) { p.callback = [](const auto& stats) { return stats.iteration == 1; }; }).n_iter ==
              2;
     }},
    // How to compute: the bits are the same.
    {"execution.device", [] { return same_bits([](Params& p) { p.execution.device = "cpu"; }); }},
    {"execution.memory_limit", [] { return same_bits([](Params& p) { p.execution.memory_limit = 1 << 30; }); }},
    {"execution.cuda_stream", [] { return same_bits([](Params& p) { p.execution.cuda_stream = nullptr; }); }},
    {"execution.n_threads", [] { return same_bits([](Params& p) { p.execution.n_threads = 2; }); }},
    {"execution.isa",
     [] {
       const Set scalar = [](Params& p) { p.execution.isa = "scalar"; };
       const Set none = [](Params& p) { p.execution.isa = "none such"; };
       return same_bits(scalar) && refused<std::runtime_error>(none);
     }},
    {"execution.filter",
     [] {
       const Set fp32 = [](Params& p) { p.execution.filter = "fp32"; };
       return same_bits(fp32) && fit_with(fp32).iterations[0].filter.filter == "fp32";
     }},
    {"execution.chunk_size_data", [] { return same_bits([](Params& p) { p.execution.chunk_size_data = 7; }); }},
    {"execution.chunk_size_centroids",
     [] { return same_bits([](Params& p) { p.execution.chunk_size_centroids = 1; }); }},
    {"execution.interrupt",
     [] {
       return refused<Interrupted>([](Params& p) {
         p.execution.interrupt = [] { return true; };
         p.callback = [](const IterationStats&) {  // it is asked every 50 ms or so
           std::this_thread::sleep_for(std::chrono::milliseconds(100));
           return false;
         };
       });
     }},
    // fit_batch
    {"each",
     [] {
       return batch_with([](BatchParams& p) { p.each.niter = 2; }).n_iter == std::vector<int>{2, 2};
     }},
    {"results of a batch on the device of the rows",
     [] {
       float centroids[1] = {};  // rows on the host have none
       return batch_refused([&](BatchParams& p) { p.each.on_device.centroids = centroids; });
     }},
    {"k of each",
     [] {
       const std::int64_t k[] = {2, 5};
       return batch_with([&](BatchParams& p) { p.k = k; }).centroid_offsets == std::vector<std::int64_t>{0, 2, 7};
     }},
    {"init of each",
     [] {
       const MatrixView starts[] = {far, MatrixView(values.data(), 1, kColumns)};
       const BatchResult got = batch_with([&](BatchParams& p) {
         p.init = starts;
         p.each.frozen_centroids = true;
       });
       return got.centroids[0] == 999 && got.centroids[kClusters * kColumns] == values[0];
     }},
    // predict
    {"distances",
     [] {
       return predict_with([](PredictParams& p) { p.distances = true; }).distances.size() == kRows &&
              predict_with([](PredictParams&) {}).distances.empty();
     }},
    {"execution",
     [] { return predict_with([](PredictParams& p) { p.execution.n_threads = 1; }).labels == usual.labels; }},
    {"spherical, of predict",
     [] { return predict_with([](PredictParams& p) { p.spherical = true; }).labels != usual.labels; }},
    {"metric, of predict",
     [] { return predict_with([](PredictParams& p) { p.metric = MetricType::cosine; }).labels != usual.labels; }},
};

// Does not compile once there is an option more: then it needs a line above.
[[maybe_unused]] void all_are_there() {
  [[maybe_unused]] const auto& [k, niter, tol, inertia_tol, changed_tol, max_runtime_secs, seed, max_points, nredo,
                                metric, spherical, init_method, init, empty_clusters, frozen, integers, min_points,
                                fewer, labels, weights, execution, on_device, callback] = Params();
  [[maybe_unused]] const auto& [device, memory_limit, stream, n_threads, isa, filter, chunk_data, chunk_centroids,
                                interrupt] = Execution();
  [[maybe_unused]] const auto& [each, k_of_each, init_of_each] = BatchParams();
  [[maybe_unused]] const auto& [distances, execution_of_predict, spherical_of_predict, metric_of_predict] =
      PredictParams();
}

}  // namespace

int main() try {
  int wrong = 0;
  for (const Option& option : options) {
    if (option.works()) continue;
    std::fprintf(stderr, "%s does not do what it should\n", option.name);
    ++wrong;
  }
  std::printf("%zu options, %d wrong\n", std::size(options), wrong);
  return wrong == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
