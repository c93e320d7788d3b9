// SPDX-License-Identifier: Apache-2.0
// When the loop stops, and what it reports.
#include <algorithm>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Two pairs of points; from centroids 0 and 1 the loop needs three iterations: labels 0 1 1 1, then 0 0 1 1, then the
// same.
const Matrix kPairs(4, 1, {0, 1, 10, 11});
const std::vector<float> kStart = {0, 1};

Params params_of(int niter, double tol) {
  Params params;
  params.k = 2;
  params.niter = niter;
  params.tol = tol;
  params.init = MatrixView(kStart.data(), 2, 1);
  return params;
}

TEST(LloydNoOracle, ByHand) {
  const Result got = fit(kPairs.view(), params_of(25, 1e-8));
  EXPECT_EQ(got.centroids, (std::vector<float>{0.5f, 10.5f}));
  EXPECT_EQ(got.labels, (std::vector<std::int64_t>{0, 0, 1, 1}));
  EXPECT_EQ(got.inertia, 1.0);
  EXPECT_TRUE(got.converged);
  EXPECT_EQ(got.n_iter, 3);
  ASSERT_EQ(got.iterations.size(), 3u);
  // Centroids 0, 1: D = 0, 0, 81, 100. Then 0 and 22/3, then 1/2 and 21/2.
  EXPECT_EQ(got.iterations[0].inertia, 181.0);
  EXPECT_EQ(got.iterations[0].changed, 4);
  EXPECT_NEAR(got.iterations[0].shift, 22.0 / 3 - 1, 1e-6);
  EXPECT_EQ(got.iterations[1].changed, 1);
  EXPECT_NEAR(got.iterations[1].inertia, 0 + 1 + 64.0 / 9 + 121.0 / 9, 1e-5);
  EXPECT_EQ(got.iterations[2].changed, 0);
  EXPECT_EQ(got.iterations[2].shift, 0.0);
  EXPECT_EQ(got.iterations[2].inertia, 1.0);
  EXPECT_EQ(got.n_used, 4);
  EXPECT_EQ(got.n_empty, 0);
  EXPECT_TRUE(got.warnings.empty());
}

TEST(LloydNoOracle, StopsAfterNiter) {
  const Result got = fit(kPairs.view(), params_of(1, 1e-8));
  EXPECT_EQ(got.n_iter, 1);
  EXPECT_FALSE(got.converged);
  EXPECT_EQ(got.centroids[0], 0.0f);
  EXPECT_EQ(got.labels, (std::vector<std::int64_t>{0, 0, 1, 1}));  // of the centroids returned
  Params without = params_of(1, 1e-8);
  without.labels = false;
  const Result trained = fit(kPairs.view(), without);
  EXPECT_TRUE(trained.labels.empty());
  EXPECT_EQ(trained.inertia, 181.0);  // of the last iteration
}

TEST(LloydNoOracle, TolIsComparedWithTheTotalShift) {
  const double first = fit(kPairs.view(), params_of(1, 0)).iterations[0].shift;
  EXPECT_EQ(fit(kPairs.view(), params_of(25, std::nextafter(first, 100.0))).n_iter, 1);
  EXPECT_EQ(fit(kPairs.view(), params_of(25, first)).n_iter, 2);  // must be below; the second shift is smaller
}

TEST(LloydNoOracle, WithoutToleranceAllIterationsAreReported) {
  for (const double tol : {0.0, -1.0}) {
    int calls = 0;
    Params params = params_of(7, tol);
    params.callback = [&](const IterationStats& stats) {
      EXPECT_EQ(stats.iteration, calls++);
      return false;
    };
    const Result got = fit(kPairs.view(), params);
    EXPECT_EQ(calls, 7);
    EXPECT_EQ(got.n_iter, 7);
    EXPECT_TRUE(got.converged);
    for (std::size_t i = 2; i < 7; ++i) {
      EXPECT_EQ(got.iterations[i].iteration, static_cast<int>(i));
      EXPECT_EQ(got.iterations[i].inertia, 1.0);
      EXPECT_EQ(got.iterations[i].shift, 0.0);
      EXPECT_EQ(got.iterations[i].changed, 0);
    }
    EXPECT_EQ(got.inertia, 1.0);
  }
}

TEST(LloydNoOracle, TheCallbackStops) {
  for (const int last : {0, 1, 2, 4}) {
    Params params = params_of(7, 0);
    params.callback = [last](const IterationStats& stats) { return stats.iteration == last; };
    const Result got = fit(kPairs.view(), params);
    EXPECT_EQ(got.n_iter, last + 1);
    EXPECT_EQ(got.labels, (std::vector<std::int64_t>{0, 0, 1, 1}));
    EXPECT_NEAR(got.inertia, last == 0 ? 1 + 64.0 / 9 + 121.0 / 9 : 1.0, 1e-5);  // of the centroids returned
  }
}

TEST(LloydNoOracle, TheCallbackMayThrow) {
  Params params = params_of(7, 0);
  params.callback = [](const IterationStats&) -> bool { throw std::domain_error("mine"); };
  EXPECT_EQ(message_of<std::domain_error>([&] { fit(kPairs.view(), params); }), "mine");
}

TEST(LloydNoOracle, NredoKeepsTheLowestInertia) {
  Random random(50);
  const Matrix x = random_rows(Kind::normal, 120, 2, random);
  Params params;
  params.k = 9;
  params.niter = 4;
  params.nredo = 5;
  params.labels = false;
  std::vector<double> last(5);
  params.callback = [&](const IterationStats& stats) {
    last[static_cast<std::size_t>(stats.redo)] = stats.inertia;
    return false;
  };
  const Result got = fit(x.view(), params);
  const auto best = std::min_element(last.begin(), last.end());
  EXPECT_NE(best, last.begin()) << "choose other data: the first run is the best already";
  EXPECT_EQ(got.inertia, *best);
  EXPECT_EQ(got.iterations[0].redo, best - last.begin());
}

// Also where the best run was not the last.
TEST(LloydNoOracle, LabelsAreOfTheRunThatIsKept) {
  Random random(81);
  const Matrix x = random_rows(Kind::normal, 60, 2, random);
  Params params;
  params.k = 6;
  params.niter = 100;
  params.nredo = 3;
  for (params.seed = 0; params.seed < 10; ++params.seed) {
    const Result got = fit(x.view(), params);
    EXPECT_EQ(got.labels, predict(x.view(), MatrixView(got.centroids.data(), 6, 2), {}).labels) << params.seed;
  }
}

TEST(LloydNoOracle, NredoTiesGoToTheFirst) {
  // One cluster: every run ends with the same inertia.
  Params params;
  params.k = 1;
  params.niter = 5;
  params.nredo = 4;
  const Result got = fit(kPairs.view(), params);
  EXPECT_EQ(got.iterations[0].redo, 0);
  EXPECT_EQ(got.inertia, 101.0);
}

TEST(LloydNoOracle, StoppingStopsTheRunsToComeToo) {
  Params params;
  params.k = 2;
  params.nredo = 4;
  int most = 0;
  params.callback = [&](const IterationStats& stats) {
    most = stats.redo;
    return stats.redo == 1;
  };
  fit(kPairs.view(), params);
  EXPECT_EQ(most, 1);
}

TEST(LloydNoOracle, GivenCentroidsMakeOneRun) {
  Params params = params_of(3, 0);
  params.nredo = 5;
  params.callback = [](const IterationStats& stats) { return stats.redo > 0; };
  EXPECT_EQ(fit(kPairs.view(), params).iterations.back().redo, 0);
}

// A cluster starts empty and gets the farthest row: 0 0 1 at first, then the far row moves.
TEST(LloydNoOracle, AnEmptyClusterIsFilled) {
  const Matrix x(3, 1, {0, 1, 9});
  const std::vector<float> start = {1, 1000};
  Params params = params_of(10, 1e-8);
  params.init = MatrixView(start.data(), 2, 1);
  const Result got = fit(x.view(), params);
  EXPECT_EQ(got.iterations[0].empty, 1);
  EXPECT_EQ(got.iterations[0].relocated, 1);
  EXPECT_EQ(got.centroids, (std::vector<float>{0.5f, 9}));
  EXPECT_EQ(got.n_empty, 0);
  EXPECT_TRUE(got.warnings.empty());
}

TEST(LloydNoOracle, TooFewDistinctRowsLeaveEmptyClusters) {
  const Matrix x(6, 1, {3, 3, 3, 3, 5, 5});
  Params params;
  params.k = 4;
  const Result got = fit(x.view(), params);
  EXPECT_EQ(got.n_empty, 2);
  EXPECT_EQ(got.inertia, 0.0);
  EXPECT_TRUE(got.converged);
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_EQ(got.warnings[0].kind, Warning::Kind::empty_clusters);
  expect_contains(got.warnings[0].message, {"2 of 4"});
}

}  // namespace
}  // namespace fastkmeans::testing
