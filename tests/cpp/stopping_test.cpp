// SPDX-License-Identifier: Apache-2.0
// What ends a run beside its shift: share of inertia, share of labels, time.
#include "deadline.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

// From centroids 0 and 1: inertia 181, 21.6, 1; labels changed: 4, 1, 0.
const Matrix kPairs(4, 1, {0, 1, 10, 11}), kStart(2, 1, {0, 1});

Params params_of(double inertia_tol, double changed_tol) {
  Params params = testing::params_of(2, 25, 0);
  params.inertia_tol = inertia_tol;
  params.changed_tol = changed_tol;
  params.init = kStart.view();
  return params;
}

int iterations(const Params& params) {
  const Result got = fit(kPairs.view(), params);
  EXPECT_EQ(got.converged, got.n_iter > 1);
  EXPECT_FALSE(got.timed_out);
  return got.n_iter;
}

TEST(StoppingNoOracle, ByTheShareOfLabels) {
  EXPECT_EQ(iterations(params_of(0, 0)), 25);
  EXPECT_EQ(iterations(params_of(0, 1e-9)), 3);
  EXPECT_EQ(iterations(params_of(0, 0.25)), 3);
  EXPECT_EQ(iterations(params_of(0, 0.26)), 2);
  EXPECT_EQ(iterations(params_of(0, 1)), 2);  // all labels change at first
}

TEST(StoppingNoOracle, ByTheShareOfInertia) {
  EXPECT_EQ(iterations(params_of(1e-9, 0)), 3);
  EXPECT_EQ(iterations(params_of(0.9, 0)), 2);
  const Result all = fit(kPairs.view(), params_of(0, 0));
  const double before = all.iterations[0].inertia, fall = before - all.iterations[1].inertia;
  ASSERT_EQ(fall / before * before, fall);
  EXPECT_EQ(iterations(params_of(fall / before, 0)), 3);
  EXPECT_EQ(iterations(params_of(std::nextafter(fall / before, 1), 0)), 2);
}

TEST(StoppingNoOracle, ByTime) {
  Params params = params_of(0, 0);
  params.max_runtime_secs = 1e-9;
  const Result got = fit(kPairs.view(), params);
  EXPECT_EQ(got.n_iter, 1);
  EXPECT_TRUE(got.timed_out);
  EXPECT_FALSE(got.converged);
  EXPECT_EQ(got.labels, (std::vector<std::int64_t>{0, 0, 1, 1}));
  params.max_runtime_secs = 1e9;
  EXPECT_EQ(iterations(params), 25);
  // Nothing was cut short.
  params.max_runtime_secs = 1e-9;
  params.niter = 1;
  EXPECT_FALSE(fit(kPairs.view(), params).timed_out);
  // Runs were.
  params.init.reset();
  params.nredo = 3;
  int most = 0;
  params.callback = [&](const IterationStats& stats) {
    most = stats.redo;
    return false;
  };
  EXPECT_TRUE(fit(kPairs.view(), params).timed_out);
  EXPECT_EQ(most, 0);
}

TEST(StoppingNoOracle, OverForOneShardIsOverForAll) {
  on_shards(kPairs.view(), nullptr, {2, 4}, [](const Source&, Reducer& reducer, int rank) {
    EXPECT_TRUE(Deadline(rank == 0 ? 1e-9 : 1e9).is_over(reducer));
    EXPECT_FALSE(Deadline(1e9).is_over(reducer));
  });
}

TEST(StoppingNoOracle, WhatIsLeftOfATimeIsATimeAgain) {
  EXPECT_EQ(Deadline(0).left(), 0);
  EXPECT_GT(Deadline(std::numeric_limits<double>::denorm_min()).left(), 0);
  EXPECT_LE(Deadline(1e9).left(), 1e9);
  EXPECT_GT(Deadline(1e9).left(), 1e8);
}

TEST(StoppingNoOracle, RefusesWhatIsNoShare) {
  for (const double wrong : {-0.5, 1.5, std::nan("")}) {
    expect_contains(message_of<std::invalid_argument>([&] { fit(kPairs.view(), params_of(wrong, 0)); }),
                    {"inertia_tol is ", "it must be between 0 and 1"});
    expect_contains(message_of<std::invalid_argument>([&] { fit(kPairs.view(), params_of(0, wrong)); }),
                    {"changed_tol is ", "it must be between 0 and 1"});
  }
  Params params = params_of(0, 0);
  params.max_runtime_secs = -1;
  expect_contains(message_of<std::invalid_argument>([&] { fit(kPairs.view(), params); }),
                  {"max_runtime_secs is -1; it must be between 0 and inf"});
}

}  // namespace
}  // namespace fastkmeans::testing
