// SPDX-License-Identifier: Apache-2.0
// Empty clusters and shift, computed by hand.
#include "host/empty_clusters.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/host_shard.hpp"
#include "numeric/random.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

// Rows of one column with given labels and distances.
struct Clusters {
  Matrix x;
  std::vector<float> distances;
  std::vector<std::int32_t> labels;
  std::vector<std::uint64_t> members;  // (k)

  Clusters(std::size_t k, std::vector<float> values, std::vector<std::int32_t> labels_, std::vector<float> distances_)
      : x(static_cast<std::int64_t>(values.size()), 1, values),
        distances(std::move(distances_)),
        labels(std::move(labels_)),
        members(k) {
    for (const std::int32_t label : labels) ++members[static_cast<std::size_t>(label)];
  }

  // Returns how many clusters were filled.
  int fill() {
    Workers workers(3, {});
    NoReducer reducer;
    const HostArray rows(x.view());
    const auto relocations =
        fill_empty_clusters({rows, labels.data(), distances.data()}, members, x.rows, CentroidRule{}, reducer, workers);
    for (const auto& [row, from, to] : relocations) {
      EXPECT_EQ(labels[static_cast<std::size_t>(row)], from);
      labels[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(to);
    }
    return static_cast<int>(relocations.size());
  }
};

// Enough rows for several threads; few clusters, of which each thread has its own table, and many, which share one.
TEST(EmptyClustersNoOracle, OnThreadsAsByPlainLoops) {
  Random random(45);
  for (const std::size_t k : {5u, 50'000u}) {
    constexpr std::size_t n = 300'000;
    std::vector<float> distances(n);
    std::vector<std::int32_t> labels(n);
    for (std::size_t i = 0; i < n; ++i) {
      distances[i] = static_cast<float>(draw(random, 0, 100));  // many ties
      labels[i] = static_cast<std::int32_t>(2 * draw(random, 0, static_cast<std::int64_t>(k - 1) / 2));
    }
    Clusters c(k, std::vector<float>(n), labels, distances);
    std::vector<double> inertia(k);
    std::vector<std::size_t> farthest(k), donors;
    for (std::size_t i = n; i-- > 0;) {
      const auto at = static_cast<std::size_t>(labels[i]);
      inertia[at] += static_cast<double>(distances[i]);
      if (inertia[at] == static_cast<double>(distances[i]) || distances[i] >= distances[farthest[at]]) farthest[at] = i;
    }
    for (std::size_t at = 0; at < k; ++at)
      if (c.members[at] >= 2 && inertia[at] > 0) donors.push_back(at);
    std::stable_sort(donors.begin(), donors.end(),
                     [&](std::size_t a, std::size_t b) { return inertia[a] > inertia[b]; });
    for (std::size_t at = 0, next = 0; at < k && next < donors.size(); ++at)
      if (c.members[at] == 0) labels[farthest[donors[next++]]] = static_cast<std::int32_t>(at);
    EXPECT_GT(c.fill(), 0);
    EXPECT_EQ(c.labels, labels) << k;
  }
}

TEST(EmptyClustersNoOracle, TheFarthestRowOfTheLargestDonor) {
  //               cluster 0: inertia 1 + 9, cluster 2: inertia 4 + 4 + 4 (larger), cluster 1: empty
  Clusters c(3, {10, 13, 20, 21, 22}, {0, 0, 2, 2, 2}, {1, 9, 4, 4, 4});
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 0, 1, 2, 2}));  // the lowest row on ties
}

TEST(EmptyClustersNoOracle, DonorsInDescendingInertiaThenIndexOneRowEach) {
  // Inertias: cluster 1: 5, cluster 2: 8, cluster 4: 5, cluster 5: 1. Empty: 0, 3, 6.
  Clusters c(7, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 1, 2, 2, 4, 4, 5, 5}, {2, 3, 8, 0, 4, 1, 0.5f, 0.5f});
  EXPECT_EQ(c.fill(), 3);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{1, 3, 0, 2, 6, 4, 5, 5}));
}

TEST(EmptyClustersNoOracle, ClustersOfOneRowGiveNothing) {
  Clusters c(3, {1, 50, 52}, {0, 1, 1}, {1000, 1, 1});
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 2, 1}));
}

TEST(EmptyClustersNoOracle, RowsOnTheirCentroidGiveNothing) {
  Clusters zero(3, {1, 1, 2, 4}, {0, 0, 2, 2}, {0, 0, 0, 0});
  EXPECT_EQ(zero.fill(), 0);
  // Cluster 0 has two rows at distance 0, so only cluster 2 gives one, and empties 1 and 3 share it: the lower is
  // filled.
  Clusters c(4, {1, 1, 2, 4}, {0, 0, 2, 2}, {0, 0, 1, 1});
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 0, 1, 2}));
}

TEST(EmptyClustersNoOracle, ScaledDistancesAreComparedByTheirTrueValue) {
  // Stored with a sign bit: 2^-128 times as far.
  Clusters c(3, {1, 2, 3, 4}, {0, 0, 2, 2}, {-1000, -1000, 0x1p-100f, 0x1p-101f});
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 0, 1, 2}));
}

TEST(EmptyClustersNoOracle, VeryLargeAndVerySmallDistances) {
  Clusters c(3, {1, 2, 3, 4}, {0, 0, 2, 2}, {0x1p126f, 0x1p126f, 0x1.8p126f, 0x1.8p126f});
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 0, 1, 2}));
  Clusters tiny(3, {1, 2, 3, 4}, {0, 0, 2, 2}, {-0x1p-149f, -0x1p-149f, -0x1p-149f, -0x1p-148f});
  EXPECT_EQ(tiny.fill(), 1);
  EXPECT_EQ(tiny.labels, (std::vector<std::int32_t>{0, 0, 2, 1}));
}

// Equal rows far away: the lowest number has it, whoever of the threads came first.
TEST(EmptyClustersNoOracle, ManyThreadsAgree) {
  constexpr std::size_t n = 200'000;
  std::vector<float> distances(n, 1);
  for (std::size_t i = 70'001; i < n; i += 1000) distances[i] = 4;
  std::vector<std::int32_t> labels(n, 1);
  Clusters c(3, std::vector<float>(n), labels, distances);
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels[70'001], 0);
}

std::uint64_t worth_of(std::int64_t row, std::uint32_t iteration, std::uint64_t seed, std::uint32_t redo) {
  const auto out = philox({static_cast<std::uint32_t>(row), iteration, 5, redo},
                          {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return (out[0] | std::uint64_t{out[1]} << 32) | 1;
}

// Rows in descending order of their random numbers: one whose cluster has others, and gave none yet, goes.
TEST(EmptyClustersNoOracle, RandomRowsOfTheRule) {
  CentroidRule rule;
  rule.empty = EmptyClusters::random;
  rule.seed = 7 + (std::uint64_t{3} << 40);
  rule.redo = 2;
  rule.iteration = 9;
  const std::vector<std::int32_t> labels = {0, 0, 2, 2, 2, 0, 3, 5, 2, 0, 2, 5};
  const std::vector<float> distances = {1, 0, 0, 4, 0, 2, 9, 0, 3, 0, 0, 0};  // cluster 3 has one row, 5 all on it
  const std::vector<std::uint64_t> members = {4, 0, 5, 1, 0, 2, 0};
  std::vector<std::int64_t> order(12);
  std::iota(order.begin(), order.end(), 0);
  for (rule.seed = 0; rule.seed < 20; ++rule.seed) {
    std::sort(order.begin(), order.end(),
              [&](auto a, auto b) { return worth_of(a, 9, rule.seed, 2) > worth_of(b, 9, rule.seed, 2); });
    std::vector<std::int64_t> expected;
    std::vector<bool> may_give = {true, false, true, false, false, true, false};
    for (const std::int64_t row : order)
      if (const auto at = static_cast<std::size_t>(row);
          distances[at] > 0 && may_give[static_cast<std::size_t>(labels[at])]) {
        expected.push_back(row);
        may_give[static_cast<std::size_t>(labels[at])] = false;
      }
    const Matrix x(12, 1);
    for (const Ends& ends : {Ends{12}, Ends{4, 12}, Ends{0, 1, 9, 12}})
      on_shards(x.view(), nullptr, ends, [&](const Source& rows, Reducer& reducer, int) {
        Workers workers(2, {});
        const auto first = rows.rows() ? rows.number(0) : 0;
        const auto found = fill_empty_clusters({rows, labels.data() + first, distances.data() + first}, members, 12,
                                               rule, reducer, workers);
        ASSERT_EQ(found.size(), 2u);
        for (std::size_t i = 0; i < 2; ++i) {
          EXPECT_EQ(found[i].row, expected[i]);
          EXPECT_EQ(found[i].to, i == 0 ? 1 : 4);
        }
      });
  }
}

TEST(EmptyClustersNoOracle, EachIterationDrawsAgain) {
  const Matrix x(9, 1, {0, 1, 2, 4, 8, 16, 32, 64, 128}), start(4, 1, {0, 1e6f, 2e6f, 3e6f});
  Params params = params_of(4, 1, -1);
  params.init = start.view();
  params.empty_clusters = EmptyClusters::random;
  for (params.seed = 0; params.seed < 20; ++params.seed) {
    params.niter = 1;
    const auto before = fit(x.view(), params);
    params.niter = 2;
    const auto after = fit(x.view(), params);
    std::int64_t taken = -1;  // by cluster 2, in the second iteration
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const auto label = static_cast<std::size_t>(before.labels[static_cast<std::size_t>(i)]);
      const bool may_go =
          std::count(before.labels.begin(), before.labels.end(), label) > 1 && x.row(i)[0] != before.centroids[label];
      if (may_go && (taken < 0 || worth_of(i, 1, params.seed, 0) > worth_of(taken, 1, params.seed, 0))) taken = i;
    }
    EXPECT_EQ(after.centroids[2], x.row(taken)[0]);
  }
}

TEST(EmptyClustersNoOracle, TheLargestIsSplit) {
  CentroidRule rule;
  rule.frozen = 1;
  const float up = 1 + 0x1p-10f, down = 1 - 0x1p-10f;
  // Cluster 0 is frozen. Of 5, two go to cluster 1; then 3 and 3: cluster 3 gives, having the lower index.
  std::vector<float> c = {9, 9, 7, 7, 0, 0, 8, -4, 16, 32, 1, 1};
  EXPECT_EQ(split_clusters({100, 0, 0, 5, 3, 1}, rule, euclidean(), 2, c.data()), 2);
  EXPECT_EQ(c, (std::vector<float>{9, 9, 8 * up, -4 * down, 8 * down * up, -4 * up * down, 8 * down * down,
                                   -4 * up * up, 16, 32, 1, 1}));
  // The frozen one stays empty, and clusters of one row, or weight 1, give nothing.
  c = {9, 9, 7, 7, 1, 1};
  EXPECT_EQ(split_clusters({0, 1, 0}, rule, euclidean(), 2, c.data()), 0);
  EXPECT_EQ(c, (std::vector<float>{9, 9, 7, 7, 1, 1}));
  // Elements stay below the limit.
  rule.frozen = 0;
  const float most = std::nextafter(0x1p56f, 0.0f);
  c = {most, -most, 0, 0};
  EXPECT_EQ(split_clusters({4, 0}, rule, euclidean(), 2, c.data()), 1);
  EXPECT_EQ(c, (std::vector<float>{most * down, -most, most, -most * down}));
  // And have the length that the metric wants.
  c = {0.6f, 0.8f, 0, 0};
  EXPECT_EQ(split_clusters({4, 0}, rule, spherical(), 2, c.data()), 1);
  EXPECT_NEAR(std::hypot(c[0], c[1]), 1, 1e-6);
  EXPECT_NEAR(std::hypot(c[2], c[3]), 1, 1e-6);
  EXPECT_LT(c[0], c[2]);
}

TEST(EmptyClustersNoOracle, WhatASplitFilledIsNotKnown) {
  const Matrix x(4, 1, {1, 1, 1, 1}), start(3, 1, {1, 5, 6});
  Params params = params_of(3, 1, 0);
  params.init = start.view();
  params.empty_clusters = EmptyClusters::split;
  const Result got = fit(x.view(), params);
  EXPECT_EQ(got.iterations[0].relocated, 2);
  EXPECT_EQ(got.n_empty, 2);
}

TEST(ShiftNoOracle, APairwiseTree) {
  EXPECT_EQ(total_shift({4.0f}), 2.0);
  EXPECT_EQ(total_shift({4.0f, 9.0f, 16.0f}), 9.0);
  EXPECT_EQ(total_shift({0.0f, -0x1p64f}), 0x1p-32);  // scaled
  // (1 + 2^-53) + (2^-53 + 0): a chain would lose both halves, the tree adds them to 1 apart.
  const float half = 0x1p-106f;
  EXPECT_EQ(total_shift({1.0f, half, half, 0.0f}), (1.0 + 0x1p-53) + 0x1p-53);
  EXPECT_EQ(total_shift({1.0f, 0.0f, half, half}), 1.0 + 0x1p-52);
}

}  // namespace
}  // namespace fastkmeans::testing
