// SPDX-License-Identifier: Apache-2.0
// Fits in lockstep are fits of their own, to the bit. On this machine: over shards of the CPU, each in turn.
#include "lockstep.hpp"

#include <map>
#include <memory>
#include <numeric>

#include "batch.hpp"
#include "cuda/small_tuning.hpp"
#include "lloyd.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// What SmallShards must do, by shards.
class ShardsInTurn final : public SmallShards {
 public:
  ShardsInTurn(const std::vector<LockstepFit>& fits, const Metric& metric, Workers& workers) : metric_(metric) {
    for (const auto& fit : fits) ones_.push_back(std::make_unique<One>(fit.rows, fit.k, metric, workers));
    states_.resize(ones_.size());
  }

  std::int64_t count() const override { return std::ssize(ones_); }

  void start_runs(const SmallStart& given) override {
    auto [values, matrices, rows] = given;
    EXPECT_NE(values.empty(), rows.empty());
    EXPECT_TRUE(matrices.empty());  // which lie on a device
    for (const auto& one : ones_) {
      const auto k = static_cast<std::size_t>(one->k), d = static_cast<std::size_t>(one->source.cols());
      Start start;
      if (rows.empty()) {
        start.values.assign(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(k * d));
        values = values.subspan(k * d);
        for (std::size_t c = 0; c < k && !metric_.keeps_rows(); ++c)
          metric_.transform(&start.values[c * d], one->source.cols());
      } else {
        start.rows.assign(rows.begin(), rows.begin() + one->k);
        rows = rows.subspan(k);
      }
      one->shard->start_run(std::move(start));
    }
    EXPECT_TRUE(values.empty() && rows.empty());
  }

  std::span<const State> iterate(std::span<const std::int32_t> problems, const Until& until) override {
    EXPECT_FALSE(problems.empty());
    ++calls_;
    for (const std::int32_t number : problems) {
      const auto at = static_cast<std::size_t>(number);
      step(*ones_[at], states_[at], until);
    }
    return states_;
  }
  void copy_centroids(std::int64_t first, std::int64_t count, float* out, bool there) override {
    EXPECT_FALSE(there);
    copies_.push_back(count);
    for (std::int64_t b = first; b < first + count; ++b) {
      const std::vector<float> its = ones_[static_cast<std::size_t>(b)]->shard->centroids();
      out = std::copy(its.begin(), its.end(), out);
    }
  }
  void copy_labels(std::int64_t first, std::int64_t count, std::int64_t* out, bool there) override {
    EXPECT_FALSE(there);
    for (std::int64_t b = first; b < first + count; ++b) {
      const One& one = *ones_[static_cast<std::size_t>(b)];
      one.shard->copy_labels(out);
      out += one.source.rows();
    }
  }

  const std::vector<std::int64_t>& copies() const { return copies_; }  // of so many problems
  std::int64_t assigned() const { return assigned_; }                  // problems
  std::int64_t most_steps() const { return most_steps_; }
  std::int64_t calls() const { return calls_; }

 private:
  struct One {
    One(const MatrixView& x, std::int64_t k_, const Metric& metric, Workers& workers)
        : source(x),
          k(k_),
          shard(make_shard(source, metric, on(""), workers)),
          statistics(shard->statistics()),
          scale(statistics.column_max, statistics.least_row_max, x.rows) {}
    HostArray source;
    std::int64_t k;
    std::unique_ptr<Shard> shard;
    Statistics statistics;
    FixedPoint scale;
    int steps = 0;
  };

  void step(One& one, State& state, const Until& until) {
    using enum Until::Step;
    Shard& shard = *one.shard;
    state.zero_rows = static_cast<std::int32_t>(one.statistics.zero_rows);
    std::int32_t done = 0;
    for (Until::Step next; !state.failed && (next = until.next(state.run, done)) != none;) {
      shard.assign(true);
      const double inertia = inertia_over_shards(shard.assigned(), metric_, alone_);
      if (next == assignment) {
        ++assigned_;
        state.run.inertia = inertia;
        return;
      }
      shard.accumulate(one.scale);
      shard.update({}, alone_);
      state.failed = shard.updated().empty > 0;
      until.note(
          {inertia, metric_.gain(state.run.inertia, inertia), shard.updated().shift, shard.assigned().changed, false},
          state.run);
      ++done;
      most_steps_ = std::max<std::int64_t>(most_steps_, ++one.steps);
    }
  }

  const Metric& metric_;
  NoReducer alone_;
  std::vector<std::unique_ptr<One>> ones_;
  std::vector<State> states_;
  std::vector<std::int64_t> copies_;
  std::int64_t assigned_ = 0, most_steps_ = 0, calls_ = 0;
};

struct Found {
  std::map<std::int64_t, Result> results;
  std::int64_t assigned = 0, most_steps = 0, calls = 0;
  std::vector<std::int64_t> copies;
};

// apart: the number of a fit whose results go elsewhere than between those of its neighbours.
Found in_lockstep(std::vector<LockstepFit> fits, const Params& params, std::size_t apart = 0) {
  Found found;
  Workers workers(1, {});
  const Metric& metric = params.spherical ? spherical() : euclidean();
  const Deadline deadline(params.max_runtime_secs);
  ShardsInTurn shards(fits, metric, workers);
  std::vector<float> centroids(10'000), other_centroids(1'000);
  std::vector<std::int64_t> labels(10'000), other_labels(1'000);
  float* centroid = centroids.data();
  std::int64_t* label = labels.data();
  for (std::size_t b = 0; b < fits.size(); ++b) {
    const bool elsewhere = apart > 0 && b == apart;
    fits[b].centroids = elsewhere ? other_centroids.data() : centroid;
    fits[b].labels = elsewhere ? other_labels.data() : label;
    if (elsewhere) continue;
    centroid += fits[b].k * fits[b].rows.cols;
    label += fits[b].rows.rows;
  }
  fit_in_lockstep(shards, fits, {params, false, deadline}, workers, [&](std::int64_t number, Result&& result) {
    const LockstepFit& fit = fits[static_cast<std::size_t>(number)];
    result.centroids.assign(fit.centroids, fit.centroids + fit.k * fit.rows.cols);
    if (params.labels) result.labels.assign(fit.labels, fit.labels + fit.rows.rows);
    found.results.emplace(number, std::move(result));
  });
  found.assigned = shards.assigned();
  found.most_steps = shards.most_steps();
  found.calls = shards.calls();
  found.copies = shards.copies();
  return found;
}

// Fits of their own sizes and k; starts: all centroids given, or none.
struct Fits {
  std::vector<Matrix> rows, init;
  std::vector<float> together;  // or all initial centroids, one after the other
  std::vector<MatrixView> starts;
  std::vector<LockstepFit> fits;

  Fits(bool given, Random& random, bool one_array = false) {
    for (const std::int64_t k : {4, 1, 9, 2, 17, 4}) {
      rows.push_back(random_rows(Kind::normal, 20 * k + std::ssize(rows), 5, random));
      init.push_back(random_rows(Kind::normal, k, 5, random));
    }
    for (const Matrix& x : init) together.insert(together.end(), x.values.begin(), x.values.end());
    const float* start = together.data();
    for (const Matrix& x : init) {
      starts.push_back(one_array ? MatrixView(start, x.rows, 5) : x.view());
      start += x.rows * 5;
    }
    for (std::size_t b = 0; b < rows.size(); ++b)
      fits.push_back({rows[b].view(), init[b].rows, given ? &starts[b] : nullptr, nullptr, nullptr});
  }
};

TEST(LockstepNoOracle, EachIsAFitOfItsOwn) {
  Random random(1410);
  std::int64_t done = 0;
  for (int round = 0; round < 12; ++round) {
    Params params;
    params.niter = 3 + 5 * (round % 3);
    params.seed = static_cast<std::uint64_t>(round);
    params.tol = round % 2 ? 0 : 1e-8;
    params.inertia_tol = round % 4 == 2 ? 0.02 : 0;
    params.changed_tol = round % 4 == 3 ? 0.1 : 0;
    params.spherical = round % 3 == 1;
    params.labels = round != 5;
    params.execution = on("");
    const Fits fits(round % 4 < 2, random, round % 4 == 1);
    const std::size_t apart = round % 3;
    const Found found = in_lockstep(fits.fits, params, apart);
    using Counts = std::vector<std::int64_t>;
    EXPECT_EQ(found.copies, apart == 0 ? Counts{6} : apart == 1 ? (Counts{1, 1, 4}) : (Counts{2, 1, 3}));
    for (const auto& [fit, result] : found.results) {
      const LockstepFit& own = fits.fits[static_cast<std::size_t>(fit)];
      Params alone = params;
      alone.k = own.k;
      if (own.init) alone.init = *own.init;
      Result expected = fastkmeans::fit(own.rows, alone);
      EXPECT_TRUE(result.iterations.empty());
      expected.iterations.clear();
      expect_same(result, expected);
      ++done;
    }
    EXPECT_LE(found.most_steps, params.niter);
  }
  EXPECT_GT(done, 12 * 4);  // the others had empty clusters
}

TEST(LockstepNoOracle, AFitThatFailsHasNoResult) {
  const Matrix apart(4, 1, {0, 1, 10, 11}), start(2, 1, {0, 1}), far(2, 1, {0, 1000});
  const MatrixView starts[] = {start.view(), far.view()};
  std::vector<LockstepFit> fits(3, {apart.view(), 2, &starts[0], nullptr, nullptr});
  fits[1].init = &starts[1];  // whose second cluster is empty
  const Found found = in_lockstep(fits, {});
  EXPECT_EQ(found.results.size(), 2u);
  EXPECT_FALSE(found.results.contains(1));
  EXPECT_EQ(found.results.at(2).labels, (std::vector<std::int64_t>{0, 0, 1, 1}));
}

TEST(LockstepNoOracle, OnlyWhatIsNotSettledIsAssignedAgain) {
  const Matrix apart(4, 1, {0, 1, 10, 11}), start(2, 1, {0, 1});
  const MatrixView init = start.view();
  const std::vector<LockstepFit> fits(3, {apart.view(), 2, &init, nullptr, nullptr});
  Params params;
  params.tol = 0;
  for (const auto& [niter, again] : {std::pair{1, 3}, {2, 3}, {3, 0}, {25, 0}}) {
    params.niter = niter;
    const Found found = in_lockstep(fits, params);
    EXPECT_EQ(found.calls, 1);
    EXPECT_EQ(found.assigned, again) << niter;
    EXPECT_EQ(found.most_steps, std::min(niter, 3));
    EXPECT_EQ(found.results.at(0).n_iter, niter);
  }
  params.niter = 1;
  params.labels = false;
  EXPECT_EQ(in_lockstep(fits, params).assigned, 0);
}

TEST(LockstepNoOracle, ALongRunTakesSeveralCalls) {
  Random random(1412);
  Params params;
  params.niter = 500;
  params.execution = on("");
  params.max_points_per_centroid.reset();
  const Matrix x = random_rows(Kind::normal, 10'000, 3, random);
  params.k = 20;
  const Found found = in_lockstep({{x.view(), params.k, nullptr, nullptr, nullptr}}, params);
  Result expected = fastkmeans::fit(x.view(), params);
  EXPECT_GT(expected.n_iter, 32);
  EXPECT_EQ(found.calls, (expected.n_iter + 31) / 32);
  expected.iterations.clear();
  expect_same(found.results.at(0), expected);
}

TEST(LockstepNoOracle, TimeEndsAllOfThem) {
  Random random(1411);
  const Fits fits(true, random);
  Params params;
  params.max_runtime_secs = 1e-9;
  const Found found = in_lockstep(fits.fits, params);
  EXPECT_FALSE(found.results.empty());
  EXPECT_EQ(found.calls, 2);  // an iteration, and the labels
  for (const auto& [fit, result] : found.results) {
    EXPECT_TRUE(result.timed_out);
    EXPECT_EQ(result.n_iter, 1);
    EXPECT_EQ(std::ssize(result.labels), fits.fits[static_cast<std::size_t>(fit)].rows.rows);
  }
}

#ifdef FASTKMEANS_CUDA
constexpr bool kHasCuda = true;
#else
constexpr bool kHasCuda = false;
#endif

TEST(LockstepNoOracle, WhatRunsSo) {
  const Matrix some(2, 4), all(3, 4);
  const std::vector<double> weights(600, 1.0);
  const auto runs = [&](const auto& change) {
    MatrixView x(static_cast<const float*>(nullptr), 600, 4);
    Params params;
    params.k = 3;
    change(x, params);
    return runs_in_lockstep({x, params.k, params.init ? &*params.init : nullptr, nullptr, nullptr}, params);
  };
  EXPECT_TRUE(runs([](auto&, auto&) {}));
  EXPECT_TRUE(runs([&](auto&, auto& params) { params.init = all.view(); }));
  EXPECT_TRUE(runs([&](auto&, auto& params) {
    params.init = all.view();
    params.nredo = 3;
  }));
  EXPECT_TRUE(runs([](auto&, auto& params) { params.spherical = true; }));
  EXPECT_TRUE(runs([](auto&, auto& params) { params.labels = false; }));
  EXPECT_TRUE(runs([](auto&, auto& params) { params.max_points_per_centroid = 200; }));
  EXPECT_TRUE(runs([](auto&, auto& params) { params.max_points_per_centroid.reset(); }));
  EXPECT_TRUE(runs([](auto&, auto& params) { params.k = 600; }));
  EXPECT_FALSE(runs([&](auto&, auto& params) { params.init = some.view(); }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.nredo = 2; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.init_method = InitMethod::kmeans_plus_plus; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.max_points_per_centroid = 199; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.k = 601; }));
  EXPECT_FALSE(runs([](auto& x, auto&) { x.rows = 0; }));
  EXPECT_FALSE(runs([&](auto&, auto& params) { params.weights = weights; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.frozen_centroids = true; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.int_centroids = true; }));
  EXPECT_FALSE(runs([](auto&, auto& params) { params.metric = MetricType::inner_product; }));
  EXPECT_FALSE(runs([](auto& x, auto&) { x.dtype = DType::f64; }));
  // Such a problem is for a device that can.
  for (const bool checked : {false, true}) {
    const Environment verify("FASTKMEANS_VERIFY", checked ? "1" : "0");
    EXPECT_EQ(takes_small_shards(64, 16), kHasCuda && !checked);
    EXPECT_FALSE(takes_small_shards(4000, 16));
  }
}

TEST(LockstepNoOracle, ProblemsOfADeviceForIt) {
  constexpr double k16 = 500 * 64 * 16;
  EXPECT_TRUE(is_for_lockstep(k16, 1000));
  EXPECT_TRUE(is_for_lockstep(k16, 32));
  EXPECT_FALSE(is_for_lockstep(k16, 31));
  EXPECT_TRUE(is_for_lockstep(1 << 26, 32));
  EXPECT_FALSE(is_for_lockstep((1 << 26) + 1, 1000));
}

TEST(LockstepNoOracle, SharedMemoryOfAProblem) {
  using cuda::small_shards_take, cuda::small_shared_bytes, cuda::small_warps;
  EXPECT_EQ(small_shared_bytes(64, 16, 2), 16 * 8 + 16 * 64 * 4 + 2 * 32 * 65 * 4);
  EXPECT_EQ(small_shared_bytes(7, 1, 1), 8 * 8 + 8 * 7 * 4 + 32 * 7 * 4);
  EXPECT_TRUE(small_shards_take(64, 256));
  EXPECT_TRUE(small_shards_take(8, 2048));
  EXPECT_TRUE(small_shards_take(512, 8));
  EXPECT_FALSE(small_shards_take(64, 400));
  EXPECT_FALSE(small_shards_take(800, 1));
  EXPECT_FALSE(small_shards_take(std::int64_t{1} << 19, 2'147'483'647));
  // As many warps as keep the device busy, and as there is room for.
  EXPECT_EQ(small_warps(1000, 64, 16, 132, 227 << 10), 2);
  EXPECT_EQ(small_warps(500, 64, 16, 132, 227 << 10), 4);
  EXPECT_EQ(small_warps(1, 64, 16, 132, 227 << 10), 8);
  EXPECT_EQ(small_warps(100'000, 64, 16, 132, 227 << 10), 2);
  for (const std::int64_t d : {1, 8, 64, 200, 512})
    for (const std::int64_t k : {1, 8, 100, 256, 2048})
      if (small_shards_take(d, k)) {
        const int warps = small_warps(40, d, k, 46, 99 << 10);
        EXPECT_GE(warps, 1);
        EXPECT_LE(small_shared_bytes(d, k, warps) + cuda::kSmallStatic, 99 << 10);
      }
}

}  // namespace
}  // namespace fastkmeans::testing
