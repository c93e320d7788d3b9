// SPDX-License-Identifier: Apache-2.0
// Cases built so that the filter drops the nearest centroid when a term of its bound, or a tie rule, is missing
// (scripts/mutation_check.py). Random data does not find such a fault. docs/filter.md section 6 names the terms.
#include <limits>

#include "numeric/distance.hpp"
#include "sketch/bound.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Row x stands exactly between `nearest` (index 0) and its mirror image 2 x - nearest (index 1), so D is the same to
// the bit and index 0 must win, though x had label 1 before. Zero rows, the majority, make the filter's centre mu zero.
void expect_tie_goes_to_the_lower(const std::vector<float>& x, const std::vector<float>& nearest,
                                  const std::vector<float>& other = {}) {
  const auto d = static_cast<std::int64_t>(x.size());
  Matrix rows(4, d), centroids(other.empty() ? 2 : 3, d);
  std::copy(x.begin(), x.end(), rows.row(3));
  std::copy(nearest.begin(), nearest.end(), centroids.row(0));
  for (std::size_t j = 0; j < x.size(); ++j) {
    centroids.row(1)[j] = 2 * x[j] - nearest[j];
    ASSERT_EQ(centroids.row(1)[j] - x[j], x[j] - nearest[j]) << "dimension " << j << ": the mirror image is not exact";
  }
  if (!other.empty()) std::copy(other.begin(), other.end(), centroids.row(2));
  for (const Path& path : kernel_paths()) {
    const Assignment got = assign(on(path), rows.view(), centroids, {0, 0, 0, 1});
    EXPECT_EQ(got.labels[3], 0) << path;
  }
}

// A short row near mu, long centroids. Each of the 2048 products is just below half an ulp of the score -|b|^2 / 2, so
// all are lost: 2048 roundings in one direction, which only the centroid's share of gamma covers.
TEST(FilterNoOracle, ScoreRoundingOfTheCentroid) {
  expect_tie_goes_to_the_lower(std::vector<float>(2048, 0x1.8p-15f), std::vector<float>(2048, 1.0f + 0x1p-9f));
}

// An outlier row: the first product makes the score 8.25, 2047 products of 0.875 half ulps are lost; the row's share.
TEST(FilterNoOracle, ScoreRoundingOfTheRow) {
  std::vector<float> x(2048, 0x1.cp-10f), nearest(2048, 0x1p-12f);
  x[0] = 8.75f;
  nearest[0] = 1.0f;
  expect_tie_goes_to_the_lower(x, nearest);
}

// The score's rounding is used up to 99 %: the first 32 products bring it to -1.003, 8160 more of 0.996 half ulps are
// lost. What is left is less than D's own rounding: each lane of D is 0.0836 after its first term, and 255 more of 0.98
// half ulps are lost, so D is below the true squared distance by 188 units in the last place.
TEST(FilterNoOracle, RoundingOfD) {
  std::vector<float> x(8192, 1157 * 0x1p-22f), nearest(8192, 903 * 0x1p-22f);
  std::fill_n(x.begin(), 32, 148 * 0x1p-10f);
  std::fill_n(nearest.begin(), 32, -148 * 0x1p-10f);
  expect_tie_goes_to_the_lower(x, nearest);
}

// All of D underflows to zero, the squared norm of the centroid does not. A third centroid is large, so nothing is
// scaled.
TEST(FilterNoOracle, UnderflowOfD) {
  expect_tie_goes_to_the_lower(std::vector<float>(2048, 0.0f), std::vector<float>(2048, 0x1p-75f),
                               std::vector<float>(2048, 1.0f));
}

// int8: the row's rotated elements are 31/32, just below half a step of 2, and become 0; those of the centroids are 2,
// a step. The sketches are 15.9 apart, the vectors 8.19.
TEST(FilterNoOracle, ErrorOfTheRowsSketch) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 31.0 / 32), unrotated(2 * levels, 2));
}

// The other way round: 33/32 becomes 2.
TEST(FilterNoOracle, ErrorOfTheCentroidsSketch) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 0), unrotated(2 * levels, 33.0 / 32));
}

// The centroid's error is 1 % of the distance: little beside it, but what is between the two in the square is not.
TEST(FilterNoOracle, SplitOfTheRadius) {
  for (const double levels : {63, 127})
    expect_tie_goes_to_the_lower(unrotated(2 * levels, 0), unrotated(2 * levels, 20 - 13.0 / 64));
}

// Row x = c0 = (alpha, 0, ...), hint c1 = (alpha, off, 0, ...): 0 must win, whose sketch is the row's own.
void expect_own_sketch(std::int64_t d, float alpha, float off, bool with_large) {
  Matrix rows(4, d), centroids(with_large ? 3 : 2, d);
  rows.row(3)[0] = centroids.row(0)[0] = centroids.row(1)[0] = alpha;
  centroids.row(1)[1] = off;
  if (with_large) centroids.row(2)[2] = 1;  // so that nothing is multiplied by 2^64
  for (const Path& path : kernel_paths())
    EXPECT_EQ(assign(on(path), rows.view(), centroids, {1, 1, 1, 1}).labels[3], 0) << path;
}

// The square of the scale is rounded down by almost half an ulp (alpha found by search, one for 63 levels, one for
// 127).
TEST(FilterNoOracle, RoundingOfInt8Scores) {
  for (const float alpha : {0x1.646418p+0f, 0x1.67398p+0f}) expect_own_sketch(64, alpha, 0x1p-17f, false);
}

// The square of the scale is 0.96 2^-150 and becomes 0, so that all of <v, w> is lost.
TEST(FilterNoOracle, UnderflowOfInt8Scores) {
  for (const double levels : {63, 127})
    expect_own_sketch(16384, static_cast<float>(levels * 128 * std::sqrt(0.96) * 0x1p-75), 0x1p-70f, true);
}

// A centroid so large that its sketch says nothing scores +infinity. Bad rows take no part all the same.
TEST(FilterNoOracle, AnInfiniteScorePassesForGoodRowsAlone) {
  Matrix x(33, 8192), centroids(2, 8192);
  std::fill_n(centroids.row(1), 8192, 0x1.fffffep55f);
  for (std::int64_t i = 1; i < x.rows; ++i) x.row(i)[0] = 0x1p56f;
  for (const Path& path : kernel_paths()) {
    const Assignment got = assign(on(path), x.view(), centroids);
    EXPECT_EQ(got.labels, std::vector<std::int32_t>(33)) << path;
    EXPECT_EQ(got.check.bad, 32) << path;
    EXPECT_LE(got.filter.refined, 2) << path;
  }
}

// Centroids left out score -infinity: no threshold may be as low.
TEST(FilterNoOracle, ThresholdsAreFinite) {
  const FilterBound bound = FilterBound::of_sketches(8192, 1);
  EXPECT_EQ(bound.threshold({0, 0x1p64f}, 0x1p63), std::numeric_limits<float>::lowest());
  const float start = FilterBound::of_sketches(8192, 0x1p-12).start({1, 0x1p63});
  EXPECT_EQ(start, std::numeric_limits<float>::infinity());  // always refined
}

// D decides where the true distances order otherwise: index 0 is farther by 2^29 + 2016 to 2^29 + 64, but its D is
// 2^29, since 2^24 + 1 is no fp32 number and so 63 ones are lost in each of 32 lanes.
TEST(FilterNoOracle, IntegersWhereDOrdersOtherwise) {
  Matrix x(3, 2048), centroids(2, 2048);
  std::fill_n(centroids.row(0), 2048, 1.0f);
  for (std::int64_t c = 0; c < 2; ++c) std::fill_n(centroids.row(c), 32, 4096.0f);
  centroids.row(1)[32] = 8;
  for (const Path& path : kernel_paths())
    for (const std::int32_t previous : {0, 1}) {
      const Assignment got = assign(on(path), x.view(), centroids, std::vector<std::int32_t>(3, previous));
      EXPECT_EQ(got.labels[0], 0) << path << " previous " << previous;
      EXPECT_EQ(got.distances[0], 0x1p29f) << path;
    }
}

TEST(FilterNoOracle, TiesGoToTheLowestIndexWhateverTheHint) {
  // Four centroids around each of the points, at distance 1, with copies.
  const Matrix x(2, 2, {0, 0, 10, 10});
  const Matrix centroids(9, 2, {50, 50, 0, 1, 1, 0, 0, -1, -1, 0, 0, 1, 10, 11, 11, 10, 10, 11});
  for (const Path& path : kernel_paths()) {
    EXPECT_EQ(assign(on(path), x.view(), centroids).labels, (std::vector<std::int32_t>{1, 6})) << path;
    for (std::int32_t previous = 0; previous < 9; ++previous)
      EXPECT_EQ(assign(on(path), x.view(), centroids, {previous, previous}).labels, (std::vector<std::int32_t>{1, 6}))
          << path << " previous " << previous;
  }
}

// Copies in one panel and in another, -0 for 0 (equal, other bits), the label before a copy of higher index.
TEST(FilterNoOracle, CopiesOfTheNearest) {
  Matrix centroids(200, 3);
  for (std::int64_t c = 0; c < 200; ++c) centroids.row(c)[0] = static_cast<float>(100 + c);
  for (const std::int64_t c : {11, 12, 90, 199}) centroids.row(c)[0] = 5;
  centroids.row(90)[1] = -0.0f;
  const Matrix x(3, 3, {5, 0, 0, 6, 0, 0, 5, 0, -0.0f});
  for (const Path& path : kernel_paths())
    for (const std::int32_t previous : {-1, 0, 11, 12, 90, 199}) {
      const auto hint = previous < 0 ? std::vector<std::int32_t>{} : std::vector<std::int32_t>(3, previous);
      const Assignment got = assign(on(path), x.view(), centroids, hint);
      EXPECT_EQ(got.labels, (std::vector<std::int32_t>{11, 11, 11})) << path << ' ' << previous;
      EXPECT_EQ(got.distances, (std::vector<float>{0, 1, 0})) << path;
    }
}

TEST(FilterNoOracle, TinyRowsAndCentroidsAreScaled) {
  const float unit = 0x1p-80f;  // its square underflows
  const Matrix x(4, 1, {1 * unit, 9 * unit, 0x1p-31f, 6 * unit}), centroids(2, 1, {0.0f, 10 * unit});
  for (const Path& path : kernel_paths())
    for (const std::int32_t previous : {0, 1}) {
      const Assignment got = assign(on(path), x.view(), centroids, std::vector<std::int32_t>(4, previous));
      EXPECT_EQ(got.labels, (std::vector<std::int32_t>{0, 1, 0, 1})) << path;  // 2^-31: unscaled, and a tie
      EXPECT_EQ(true_distance(got.distances[1]), 0x1p-160);
      EXPECT_EQ(true_distance(got.distances[2]), 0x1p-62);
      EXPECT_EQ(true_distance(got.distances[3]), 16 * 0x1p-160);
    }
}

TEST(FilterNoOracle, CentroidsOnEitherSideOfTheTinyLimit) {
  const Matrix x(2, 1, {0x1p-80f, 0.0f});
  for (const Path& path : kernel_paths()) {
    const Matrix below(2, 1, {0.0f, std::nextafter(0x1p-32f, 0.0f)}), at(2, 1, {0.0f, 0x1p-32f});
    EXPECT_EQ(true_distance(assign(on(path), x.view(), below).distances[0]), 0x1p-160);
    EXPECT_EQ(true_distance(assign(on(path), x.view(), at).distances[0]), 0.0);  // not scaled: D underflows
  }
}

// Of tiny centroids: a row at the limit is not multiplied, and its distance is stored without the sign; one below is.
TEST(FilterNoOracle, RowsOnEitherSideOfTheTinyLimit) {
  const float below = std::nextafter(kTinyBelow, 0.0f);
  const Matrix x(2, 1, {kTinyBelow, below}), centroids(1, 1, {0});
  for (const Path& path : kernel_paths()) {
    const Assignment got = assign(on(path), x.view(), centroids);
    EXPECT_EQ(got.distances[0], kTinyBelow * kTinyBelow) << path;
    EXPECT_EQ(got.distances[1], -(below * kTinyScale) * (below * kTinyScale)) << path;
  }
}

// Labels against fp64: the chosen distance is above the least by no more than D's own rounding.
TEST(FilterNoOracle, NearestByFp64) {
  Random random(15);
  for (const Kind kind : {Kind::normal, Kind::integers, Kind::offset, Kind::outliers, Kind::mixed_rows, Kind::huge})
    for (const std::int64_t d : {1, 2, 3, 30, 200}) {
      const Matrix x = random_rows(kind, 150, d, random), centroids = centroids_near(x, 100, random);
      for (const Path& path : kernel_paths()) {
        const Assignment got = assign(on(path), x.view(), centroids);
        for (std::int64_t i = 0; i < x.rows; ++i) {
          auto true_d = [&](std::int64_t c) {
            double sum = 0;
            for (std::int64_t j = 0; j < d; ++j)
              sum += std::pow(static_cast<double>(x.row(i)[j]) - static_cast<double>(centroids.row(c)[j]), 2);
            return sum;
          };
          double least = true_d(0);
          for (std::int64_t c = 1; c < centroids.rows; ++c) least = std::min(least, true_d(c));
          const double rounding = 2 * distance_rounding(d);
          ASSERT_LE(true_d(got.labels[static_cast<std::size_t>(i)]),
                    least * (1 + rounding) + static_cast<double>(d) * 0x1p-147)
              << path << " kind " << static_cast<int>(kind) << " d " << d << " row " << i;
        }
      }
    }
}

}  // namespace
}  // namespace fastkmeans::testing
