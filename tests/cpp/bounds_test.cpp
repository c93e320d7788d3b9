// SPDX-License-Identifier: Apache-2.0
// Lower bounds by hand: assignments of the same rows to centroids that move as a case wants, among them cases that fail
// where a term of the bound is missing (scripts/mutation_check.py).
#include <algorithm>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

class Moves {
 public:
  Moves(const Path& path, const Matrix& x, int threads = 1)
      : path_(path), assigner_(on(path, threads), x.view()), x_(x) {}

  std::vector<std::int32_t> assign(const Matrix& centroids, std::vector<std::int32_t> hint = {}) {
    if (!hint.empty()) before_ = std::move(hint);
    std::vector<std::int32_t> labels(static_cast<std::size_t>(x_.rows), -7);
    std::vector<float> distances(labels.size());
    filter =
        assigner_.assign(centroids, before_.empty() ? nullptr : before_.data(), true, labels.data(), distances.data())
            .filter;
    expect_ran(path_, filter, x_.cols, are_tiny(centroids));
    before_ = labels;
    return labels;
  }

  FilterStats filter;

 private:
  Path path_;
  Assigner assigner_;
  const Matrix& x_;
  std::vector<std::int32_t> before_;
};

std::vector<Path> bounded_paths() {
  std::vector<Path> paths = kernel_paths(true);
  std::erase_if(paths, [](const Path& path) { return !path.filter.ends_with("_bounds"); });
  return paths;
}

// 200 rows about `at`, d = 4.
Matrix rows_about(float at, Random& random) {
  Matrix x = random_rows(Kind::normal, 200, 4, random);
  for (std::int64_t i = 0; i < x.rows; ++i) x.row(i)[0] += at;
  return x;
}

// Centroids on a line, far from the rows, but for those that a case puts elsewhere.
Matrix far_centroids(std::int64_t k) {
  Matrix c(k, 4);
  for (std::int64_t i = 0; i < k; ++i) c.row(i)[0] = 1000 + 10 * static_cast<float>(i);
  return c;
}

void put(Matrix& centroids, std::int64_t c, float at) {
  std::fill_n(centroids.row(c), 4, 0.0f);
  centroids.row(c)[0] = at;
}

bool all_are(const std::vector<std::int32_t>& labels, std::int32_t expected) {
  return std::all_of(labels.begin(), labels.end(), [expected](std::int32_t label) { return label == expected; });
}

// A centroid comes from afar, in steps that are each too small to matter: their sum is not.
TEST(BoundsNoOracle, DriftAddsUp) {
  Random random(116);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths())
    for (const std::int64_t walker : {1, 77, 199}) {
      Matrix centroids = far_centroids(200);
      put(centroids, 0, 40);
      Moves moves(path, x);
      for (int step = 0; step < 40; ++step) {
        put(centroids, walker, 1000 - 25 * static_cast<float>(step));
        ASSERT_TRUE(all_are(moves.assign(centroids), 1000 - 25 * step < 40 ? static_cast<std::int32_t>(walker) : 0))
            << path << " step " << step;
        if (step > 2 && step < 30) {
          EXPECT_LT(moves.filter.scored, x.rows * 100) << path << ": nothing was skipped";
        }
      }
    }
}

// The rows' own centroid goes away: others, not looked at for long, become the nearest.
TEST(BoundsNoOracle, TheOwnCentroidLeaves) {
  Random random(117);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths()) {
    Matrix centroids = far_centroids(200);
    put(centroids, 150, 0);
    Moves moves(path, x);
    for (int step = 0; step < 5; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 150));
    put(centroids, 150, -2000);
    EXPECT_TRUE(all_are(moves.assign(centroids), 0)) << path;
    put(centroids, 0, -3000);
    EXPECT_TRUE(all_are(moves.assign(centroids), 1)) << path;
  }
}

// Movers: every 19th of 600 centroids, so that they stand in most groups and are scored apart.
constexpr std::int64_t kWalkers = 600;
Matrix walkers_at(float at, float apart, float own) {
  Matrix centroids = far_centroids(kWalkers);
  for (std::int64_t c = 10; c < kWalkers; c += 19) put(centroids, c, at + apart * static_cast<float>(c));
  put(centroids, 0, own);
  return centroids;
}

// They come near, but not to be the nearest; nothing but their scores tells their groups. Then the nearest leaves.
TEST(BoundsNoOracle, MoversLowerTheirGroups) {
  Random random(126);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths())
    for (const int threads : {1, 3}) {
      Moves moves(path, x, threads);
      for (int step = 0; step < 3; ++step) EXPECT_TRUE(all_are(moves.assign(far_centroids(kWalkers)), 0));
      Matrix centroids = far_centroids(kWalkers);
      put(centroids, 0, 0);
      for (int step = 0; step < 2; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0));
      EXPECT_TRUE(all_are(moves.assign(walkers_at(20, 1, 0)), 0)) << path;
      EXPECT_LT(moves.filter.scored, x.rows * 120) << path << ": they were not scored apart";
      EXPECT_TRUE(all_are(moves.assign(walkers_at(20, 1, 100)), 10)) << path << ": at 30 it is the nearest";
      EXPECT_TRUE(all_are(moves.assign(walkers_at(1, 0, 100)), 10))
          << path << ": one of them wins at once, ties go low";
    }
}

// Two of them at one place, in groups and panels far apart: the second is a copy, and no score speaks for its group.
TEST(BoundsNoOracle, MoversThatAreCopies) {
  Random random(127);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths()) {
    Moves moves(path, x);
    Matrix centroids = far_centroids(kWalkers);
    put(centroids, 0, 0);
    for (int step = 0; step < 3; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0));
    centroids = walkers_at(20000, 1, 0);
    put(centroids, 10, 20);
    put(centroids, 580, 20);
    EXPECT_TRUE(all_are(moves.assign(centroids), 0)) << path;
    EXPECT_LT(moves.filter.scored, x.rows * 120) << path << ": they were not scored apart";
    put(centroids, 10, 30000);
    put(centroids, 0, 100);
    EXPECT_TRUE(all_are(moves.assign(centroids), 580)) << path;
  }
}

// A row farther from all centroids than 16 bits of the others' unit reach.
TEST(BoundsNoOracle, RowsBeyondTheRange) {
  Random random(128);
  Matrix x = rows_about(0, random);
  x.row(77)[1] = 1e5f;
  for (const Path& path : bounded_paths()) {
    Moves moves(path, x);
    Matrix centroids = far_centroids(200);
    put(centroids, 0, 0);
    for (int step = 0; step < 3; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0));
    put(centroids, 199, 2000);
    centroids.row(199)[1] = 1e5f;
    for (int step = 0; step < 2; ++step) {
      const std::vector<std::int32_t> labels = moves.assign(centroids);
      EXPECT_EQ(labels[77], 199) << path;
      EXPECT_EQ(labels[76], 0) << path;
    }
  }
}

// A copy is not scored, so the best score of its group says nothing about it. Here the twin, whose group is far and may
// have several panels, becomes a copy of 0, the nearest; then it moves a little, and is the nearest itself.
TEST(BoundsNoOracle, CopiesThatPart) {
  Random random(118);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths())
    for (const auto& [k, twin] : {std::pair{200, 199}, {1200, 1199}, {1200, 1160}, {1200, 1130}}) {
      SCOPED_TRACE(::testing::Message() << path << ' ' << k << ' ' << twin);
      Matrix centroids = far_centroids(k);
      put(centroids, 0, 30);
      Moves moves(path, x);
      for (int step = 0; step < 3; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0));
      put(centroids, twin, 30);
      for (int step = 0; step < 2; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0)) << "ties to the lower";
      put(centroids, twin, 10);
      EXPECT_TRUE(all_are(moves.assign(centroids), twin));
      put(centroids, 0, 5);
      EXPECT_TRUE(all_are(moves.assign(centroids), 0));
    }
}

// The same where few rows of a tile need the group of the copy, and are gathered: those at 500, whose nearest is 1.
TEST(BoundsNoOracle, CopiesThatPartFromGatheredRows) {
  Matrix x(200, 4);
  std::vector<std::int32_t> before(200, 0), after(200, 0);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const bool few = i % 5 == 4;
    x.row(i)[0] = few ? 500 : -1000;
    before[static_cast<std::size_t>(i)] = few ? 1 : 0;
    after[static_cast<std::size_t>(i)] = few ? 199 : 0;
  }
  for (const Path& path : bounded_paths()) {
    Matrix centroids = far_centroids(200);
    for (std::int64_t c = 2; c < 200; ++c) put(centroids, c, 1000 + 0.01f * static_cast<float>(c));
    put(centroids, 0, -990);
    put(centroids, 1, 510);
    Moves moves(path, x);
    for (int step = 0; step < 3; ++step) EXPECT_EQ(moves.assign(centroids), before) << path;
    put(centroids, 199, 510);
    EXPECT_EQ(moves.assign(centroids), before) << "ties to the lower";
    EXPECT_LT(moves.filter.scored, x.rows * 60) << path << ": all rows needed the group";
    put(centroids, 199, 505);
    EXPECT_EQ(moves.assign(centroids), after) << path;
  }
}

// Few rows of a tile need a group: they are gathered, and each keeps its own label and bound.
TEST(BoundsNoOracle, SomeRowsOfATile) {
  Random random(119);
  Matrix x = rows_about(0, random);
  for (std::int64_t i = 3; i < x.rows; i += 7) x.row(i)[0] += 500 + static_cast<float>(i);  // strays, each its own way
  for (const Path& path : bounded_paths())
    for (const int threads : {1, 3}) {
      Matrix centroids = far_centroids(200);
      put(centroids, 0, 0);
      Moves moves(path, x, threads);
      for (int step = 0; step < 12; ++step) {
        std::vector<std::int32_t> expected(static_cast<std::size_t>(x.rows));
        for (std::int64_t i = 0; i < x.rows; ++i) {  // on a line, all else 0: the nearest by the first element
          float least = INFINITY;
          for (std::int32_t c = 0; c < 200; ++c)
            if (const float distance = std::abs(x.row(i)[0] - centroids.row(c)[0]); distance < least)
              least = distance, expected[static_cast<std::size_t>(i)] = c;
        }
        ASSERT_EQ(moves.assign(centroids), expected) << path << " step " << step;
        if (step > 1) {
          EXPECT_LT(moves.filter.scored, x.rows * 150) << path;
        }
        for (std::int64_t c = 1; c < 200; ++c) centroids.row(c)[0] -= 0.5f * static_cast<float>(c % 5) + 7;
      }
    }
}

// Strays, off the line, come near their bounds of a far group first, and are gathered. What they learn, larger than
// what the others know, is theirs alone: when the others' own centroid leaves, that group has their nearest.
TEST(BoundsNoOracle, GatheredRowsLearnForThemselves) {
  Random random(121);
  Matrix x = rows_about(0, random);
  // Most rows are with centroid 70, so that few of a tile need a group, and those are gathered.
  std::vector<std::int32_t> expected(200, 70);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const bool aside = i >= 40 && i % 6 == 4;
    if (aside) x.row(i)[1] += 1000;
    if (i >= 12 && !aside)
      x.row(i)[0] -= 4700;
    else
      expected[static_cast<std::size_t>(i)] = 0;
  }
  for (const Path& path : bounded_paths()) {
    // 64 far centroids on one side; 63 and the own one on the other, so that no panel has of both.
    Matrix centroids(128, 4);
    for (std::int64_t c = 1; c < 128; ++c)
      put(centroids, c, static_cast<float>(c < 65 ? 1100 + 10 * c : -4000 - 10 * c));
    Moves moves(path, x);
    for (const float aside : {0, 0, 260, 0}) {
      for (std::int64_t c = 1; c < 65; ++c) centroids.row(c)[2] = aside;
      ASSERT_EQ(moves.assign(centroids), expected) << path;
    }
    put(centroids, 0, -1300);
    std::vector<std::int32_t> then = expected;
    std::replace(then.begin(), then.end(), 0, 1);
    EXPECT_EQ(moves.assign(centroids), then) << path;
  }
}

TEST(BoundsNoOracle, AnotherNumberOfCentroids) {
  Random random(122);
  Matrix x = rows_about(0, random);
  for (std::int64_t i = 1; i < x.rows; i += 2) x.row(i)[0] += 2605;
  for (const Path& path : bounded_paths()) {
    Moves moves(path, x);
    for (const std::int64_t k : {200, 120, 200}) {
      Matrix centroids = far_centroids(k);
      put(centroids, 7, 0);
      for (int step = 0; step < 3; ++step) {
        const std::vector<std::int32_t> labels = moves.assign(centroids, std::vector<std::int32_t>(200, 3));
        for (std::size_t i = 0; i < labels.size(); ++i)
          EXPECT_NEAR(labels[i], i % 2 == 0 ? 7 : k == 200 ? 160 : 119, i % 2 && k == 200 ? 1 : 0) << path;
      }
    }
  }
}

// c0 (index 0) and its mirror image 2 x - c0 (128), both among far ones: bounds must not exclude 0, which wins the tie.
void expect_tie_goes_to_the_lower(const std::vector<float>& x, const std::vector<float>& nearest) {
  const auto d = static_cast<std::int64_t>(x.size());
  Matrix rows(4, d), centroids(256, d);
  for (std::int64_t i = 1; i < 4; ++i) std::copy(x.begin(), x.end(), rows.row(i));
  for (std::int64_t c = 0; c < 256; ++c) {
    for (std::size_t j = 0; j < x.size(); ++j) centroids.row(c)[j] = c < 128 ? nearest[j] : 2 * x[j] - nearest[j];
    centroids.row(c)[0] += static_cast<float>((c < 128 ? 4096 : -4096) * (c % 128));
  }
  for (const Path& path : bounded_paths()) {
    Moves moves(path, rows);
    moves.assign(centroids);
    const std::vector<std::int32_t> mirror(4, 128);
    moves.assign(centroids, mirror);
    EXPECT_EQ(moves.assign(centroids, mirror)[3], 0) << path;
  }
}

TEST(BoundsNoOracle, ErrorOfTheRow) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 31.0 / 32), unrotated(2 * levels, 2));
}

TEST(BoundsNoOracle, ErrorOfTheCentroid) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 0), unrotated(2 * levels, 33.0 / 32));
}

TEST(BoundsNoOracle, SplitOfTheRadius) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 0), unrotated(2 * levels, 20 - 13.0 / 64));
}

// Rows at 0 in one dimension; centroids 0 to 31 on one side, from `near` on, 32 to 63 on the other.
Matrix on_a_line(float near, float far) {
  Matrix centroids(64, 1);
  for (std::int64_t c = 0; c < 64; ++c)
    centroids.row(c)[0] = c < 32 ? near + static_cast<float>(c) : far - static_cast<float>(c - 32);
  return centroids;
}

// A drift of 132, then steps of 2^-18, each less than half an ulp of it: rounded to nearest it would stand still.
TEST(BoundsNoOracle, SmallStepsOfDrift) {
  const Matrix x(4, 1);
  for (const Path& path : bounded_paths()) {
    Matrix centroids = on_a_line(1, -100);
    centroids.values[0] = -0x1p-20f;
    Moves moves(path, x);
    for (const float at : {-131.0f, -131.0f, -132.0f}) {
      centroids.values[32] = at;
      ASSERT_TRUE(all_are(moves.assign(centroids), 0));
    }
    std::vector<std::int32_t> labels;
    for (float at = -0x1p-13f; at <= 0; at += 0x1p-18f) {
      centroids.values[32] = at;
      labels = moves.assign(centroids);
    }
    EXPECT_TRUE(all_are(labels, 32)) << path;
  }
}

// A bound of a few 2^-24 beside a drift of 1: the roundings of their sum are as large as the bound.
TEST(BoundsNoOracle, RoundingOfBoundAndDrift) {
  const Matrix x(4, 1);
  for (const Path& path : bounded_paths())
    for (const double units : {1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9}) {
      Matrix centroids = on_a_line(100, -132);
      centroids.values[0] = static_cast<float>((units + 0.1) * 0x1p-24);
      centroids.values[32] = -1 - 0x1p-23f;
      Moves moves(path, x);
      moves.assign(centroids);
      moves.assign(centroids, {0, 0, 0, 0});
      centroids.values[32] = static_cast<float>(-units * 0x1p-24);
      moves.assign(centroids, {0, 0, 0, 0});
      EXPECT_TRUE(all_are(moves.assign(centroids, {0, 0, 0, 0}), 32)) << path << ' ' << units;
    }
}

// Panels of copies alone have no score at all, hence no bound.
TEST(BoundsNoOracle, PanelsOfCopies) {
  const Matrix x(4, 1);
  for (const Path& path : bounded_paths()) {
    Matrix centroids(128, 1);
    for (std::int64_t c = 0; c < 128; ++c) centroids.row(c)[0] = c < 96 ? 1 : 10 + static_cast<float>(c);
    centroids.values[127] = 2;
    Moves moves(path, x);
    for (int step = 0; step < 2; ++step) ASSERT_TRUE(all_are(moves.assign(centroids, {127, 127, 127, 127}), 0));
    std::fill_n(centroids.values.begin(), 64, 5000.0f);
    EXPECT_TRUE(all_are(moves.assign(centroids, {127, 127, 127, 127}), 64)) << path;
  }
}

// In one dimension a group has many panels: its bound is of the best score of all of them.
TEST(BoundsNoOracle, SeveralPanelsAGroup) {
  Matrix centroids(2048, 1);
  for (std::int64_t c = 0; c < 2048; ++c) centroids.row(c)[0] = static_cast<float>(c) - 1000.25f;
  centroids.values[0] = 3000;
  for (const Path& path : bounded_paths())
    for (int t = 0; t < 64; t += 3) {
      const auto at = static_cast<float>(t * 29 - 900);
      const Matrix x(4, 1, {at, at, at, at});
      Moves moves(path, x);
      std::vector<std::int32_t> labels = moves.assign(centroids);
      for (int step = 0; step < 2; ++step) labels = moves.assign(centroids, {0, 0, 0, 0});
      EXPECT_EQ(centroids.row(labels[3])[0], at - 0.25f) << path;
    }
}

}  // namespace
}  // namespace fastkmeans::testing
