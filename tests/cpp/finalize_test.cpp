// SPDX-License-Identifier: Apache-2.0
// Empty clusters, means and shift, computed by hand.
#include "finalize.hpp"

#include "numeric/distance.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Rows of one column with given labels and distances, after the sums are taken.
struct Clusters {
  Matrix x;
  std::vector<float> distances;
  std::vector<std::int32_t> labels;
  FixedPoint scale;
  Sums sums;

  Clusters(std::int64_t k, std::vector<float> values, std::vector<std::int32_t> labels_, std::vector<float> distances_)
      : x(static_cast<std::int64_t>(values.size()), 1, values),
        distances(std::move(distances_)),
        labels(std::move(labels_)),
        scale({{1000.0f}, 1.0f, {}}, x.rows),
        sums(k, 1, false) {
    for (std::size_t i = 0; i < labels.size(); ++i) {
      add_row(scale, &x.values[i], 1, sums.hi_row(labels[i]), nullptr);
      ++sums.counts[static_cast<std::size_t>(labels[i])];
    }
  }

  std::int64_t fill() {
    Workers workers(1, {});
    return fill_empty_clusters(x.view(), distances, scale, labels, sums, workers);
  }

  std::vector<float> means(const std::vector<float>& old) {
    std::vector<float> next(old.size());
    Workers workers(1, {});
    update_centroids(scale, sums, old, next, workers);
    return next;
  }
};

TEST(EmptyClustersNoOracle, TheFarthestRowOfTheLargestDonor) {
  //               cluster 0: inertia 1 + 9, cluster 2: inertia 4 + 4 + 4 (larger), cluster 1: empty
  Clusters c(3, {10, 13, 20, 21, 22}, {0, 0, 2, 2, 2}, {1, 9, 4, 4, 4});
  EXPECT_EQ(count_empty(c.sums), 1);
  EXPECT_EQ(c.fill(), 1);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{0, 0, 1, 2, 2}));  // the lowest row on ties
  EXPECT_EQ(c.sums.counts, (std::vector<std::int64_t>{2, 1, 2}));
  EXPECT_EQ(c.means({0, 0, 0}), (std::vector<float>{11.5f, 20, 21.5f}));
}

TEST(EmptyClustersNoOracle, DonorsInDescendingInertiaThenIndexOneRowEach) {
  // Inertias: cluster 1: 5, cluster 2: 8, cluster 4: 5, cluster 5: 1. Empty: 0, 3, 6.
  Clusters c(7, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 1, 2, 2, 4, 4, 5, 5}, {2, 3, 8, 0, 4, 1, 0.5f, 0.5f});
  EXPECT_EQ(c.fill(), 3);
  EXPECT_EQ(c.labels, (std::vector<std::int32_t>{1, 3, 0, 2, 6, 4, 5, 5}));
  EXPECT_EQ(c.means(std::vector<float>(7, -1)), (std::vector<float>{3, 1, 4, 2, 6, 7.5f, 5}));
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
  EXPECT_EQ(count_empty(c.sums), 1);
  EXPECT_EQ(c.means({-1, -2, -3, -4}), (std::vector<float>{1, 2, 4, -4}));  // still empty: keeps its centroid
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
