// SPDX-License-Identifier: Apache-2.0
#include "source/sample.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>
#include <utility>

#include "numeric/random.hpp"
#include "numeric/row_hash.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

// All rows in order of (key, row).
std::vector<std::int64_t> in_key_order(std::int64_t n, std::uint64_t seed, Purpose purpose, std::uint32_t redo = 0) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> keys;
  for (std::int64_t i = 0; i < n; ++i)
    keys.emplace_back(row_key(seed, static_cast<std::uint64_t>(i), purpose, redo), i);
  std::sort(keys.begin(), keys.end());
  std::vector<std::int64_t> rows;
  for (const auto& [key, row] : keys) rows.push_back(row);
  return rows;
}

// Of n rows, which are never looked at.
std::vector<std::int64_t> sample(std::int64_t n, std::int64_t m, std::uint64_t seed, Workers& workers) {
  NoReducer reducer;
  return sample_rows(HostArray({nullptr, n, 1}), m, seed, reducer, workers);
}

TEST(SampleNoOracle, TheSmallestKeysInRowOrder) {
  for (const auto& [n, m] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {2, 1}, {10, 9}, {100, 1}, {5000, 17}, {5000, 4999}, {150'000, 9000}})
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{42}, ~std::uint64_t{0}}) {
      Workers workers(3, {});
      auto expected = in_key_order(n, seed, Purpose::sample);
      expected.resize(static_cast<std::size_t>(m));
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(sample(n, m, seed, workers), expected) << n << ' ' << m << ' ' << seed;
    }
}

TEST(SampleNoOracle, EachRowIsEquallyLikely) {
  Workers workers(1, {});
  std::vector<int> count(20);
  for (std::uint64_t seed = 0; seed < 4000; ++seed)
    for (const std::int64_t row : sample(20, 5, seed, workers)) ++count[static_cast<std::size_t>(row)];
  for (const int c : count) EXPECT_NEAR(c, 1000, 5 * std::sqrt(4000 * 0.25 * 0.75));
}

TEST(SampleNoOracle, GatheredRowsAreCopiesInTheirOwnType) {
  Workers workers(2, {});
  std::vector<std::uint16_t> values(3000);
  std::iota(values.begin(), values.end(), std::uint16_t{0});
  const std::vector<std::int64_t> rows = {0, 7, 500, 999};
  const MatrixView c_order(values.data(), 1000, 3, DType::u16), fortran(values.data(), 1000, 3, DType::u16, 2, 2000);
  for (const MatrixView& x : {c_order, fortran}) {
    const auto copy = HostArray(x).subset(rows, workers);
    ASSERT_EQ(copy->rows(), 4);
    EXPECT_EQ(copy->dtype(), DType::u16);
    std::vector<float> values_of(12);
    const std::int64_t all[] = {0, 1, 2, 3};
    copy->gather(all, 4, values_of.data(), workers);
    for (std::size_t i = 0; i < 12; ++i) {
      const auto row = rows[i / 3], j = static_cast<std::int64_t>(i % 3);
      EXPECT_EQ(values_of[i], static_cast<float>(x.row_stride == 6 ? 3 * row + j : row + 1000 * j));
      EXPECT_EQ(copy->number(static_cast<std::int64_t>(i / 3)), row);
      EXPECT_EQ(copy->index(row), static_cast<std::int64_t>(i / 3));
    }
    EXPECT_EQ(copy->index(8), -1);
    const auto again = copy->subset({1, 3}, workers);
    EXPECT_EQ(again->number(1), 999);
  }
}

// x: one column.
std::vector<float> chosen(const std::vector<float>& values, std::int64_t k, std::uint64_t seed,
                          std::uint32_t redo = 0) {
  const HostArray all({values.data(), static_cast<std::int64_t>(values.size()), 1});
  return initial_centroids(all, k, seed, redo);
}

TEST(InitialCentroidsNoOracle, InKeyOrderForEachSeedAndRedo) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0f);
  for (const std::uint64_t seed : {1, 2})
    for (const std::uint32_t redo : {0u, 3u})
      for (const std::int64_t k : {1, 10, 1000}) {
        const auto order = in_key_order(1000, seed, Purpose::initial_centroids, redo);
        EXPECT_EQ(chosen(values, k, seed, redo), std::vector<float>(order.begin(), order.begin() + k));
      }
}

// More rows than are sorted at a time, and equal ones, so that several bands of keys are needed.
TEST(InitialCentroidsNoOracle, ManyBandsOfKeysHeavy) {
  constexpr std::int64_t n = 3'000'000, k = 400'000;
  std::vector<float> values(n);
  for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i % (k + 10));
  std::vector<char> seen(k + 10);
  std::vector<float> expected;
  for (const std::int64_t row : in_key_order(n, 6, Purpose::initial_centroids)) {
    if (static_cast<std::int64_t>(expected.size()) == k) break;
    if (!std::exchange(seen[static_cast<std::size_t>(row % (k + 10))], 1))
      expected.push_back(values[static_cast<std::size_t>(row)]);
  }
  EXPECT_TRUE(same_bits(chosen(values, k, 6), expected));
}

// Of those rows of 0, 1, 2, ... 999 alone, in one column.
std::vector<float> chosen_of(const std::vector<std::int64_t>& rows, std::int64_t k, std::uint64_t seed) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0f);
  Workers workers(2, {});
  const auto some = HostArray({values.data(), 1000, 1}).subset(rows, workers);
  return initial_centroids(*some, k, seed);
}

TEST(InitialCentroidsNoOracle, TheKeyIsOfTheCallersRow) {
  const std::vector<std::int64_t> rows = {3, 50, 51, 900};
  std::vector<float> expected;
  for (const std::int64_t row : in_key_order(1000, 5, Purpose::initial_centroids))
    if (std::find(rows.begin(), rows.end(), row) != rows.end()) expected.push_back(static_cast<float>(row));
  EXPECT_EQ(chosen_of(rows, 4, 5), expected);
}

TEST(InitialCentroidsNoOracle, EqualRowsAreSkipped) {
  Random random(40);
  std::vector<float> values(500);
  for (float& value : values) value = static_cast<float>(draw(random, 0, 30));
  values[0] = -0.0f;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<float> expected;
    for (const std::int64_t row : in_key_order(500, seed, Purpose::initial_centroids)) {
      const float value = values[static_cast<std::size_t>(row)];
      if (std::find(expected.begin(), expected.end(), value) == expected.end()) expected.push_back(value);  // -0 == 0
    }
    ASSERT_EQ(expected.size(), 31u);
    EXPECT_EQ(chosen(values, 31, seed), expected);
    EXPECT_EQ(chosen(values, 7, seed), std::vector<float>(expected.begin(), expected.begin() + 7));
  }
}

TEST(InitialCentroidsNoOracle, MinusZeroEqualsZero) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const auto got = chosen({0.0f, -0.0f, 1.0f}, 2, seed);
    EXPECT_EQ((std::set<float>(got.begin(), got.end())), (std::set<float>{0.0f, 1.0f})) << seed;
  }
}

// Three distinct rows for k = 6: the distinct ones, then the skipped ones, each in key order.
TEST(InitialCentroidsNoOracle, FewerDistinctRowsThanCentroids) {
  const std::vector<float> values = {5, 5, 7, 5, 7, 9, 5, 5};
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    std::vector<float> distinct, skipped;
    for (const std::int64_t row : in_key_order(8, seed, Purpose::initial_centroids)) {
      const float value = values[static_cast<std::size_t>(row)];
      (std::find(distinct.begin(), distinct.end(), value) == distinct.end() ? distinct : skipped).push_back(value);
    }
    distinct.insert(distinct.end(), skipped.begin(), skipped.begin() + 3);
    EXPECT_EQ(chosen(values, 6, seed), distinct);
  }
}

// Four rows that differ, of the same hash: the first element of a chain leaves the same upper half in it, and the
// second makes up for the lower half. Found by trying all differences of the first. Each of two chains has either pair.
Matrix rows_of_equal_hash() {
  const auto number = [](std::uint32_t bits) { return std::bit_cast<float>(bits); };
  const float pairs[2][2] = {{number(0x3f80000c), number(0x420051ec)}, {number(0xc37ea80f), number(0x4967da59)}};
  Matrix x(4, 6);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t chain = 0; chain < 2; ++chain)
      for (std::int64_t step = 0; step < 2; ++step) x.row(i)[chain + 4 * step] = pairs[chain ? i / 2 : i % 2][step];
  return x;
}

// More rows than are looked at together, all but one of the same hash.
TEST(InitialCentroidsNoOracle, RowsOfEqualHashAreCompared) {
  const Matrix four = rows_of_equal_hash();
  constexpr std::int64_t kRows = 101, kWanted = 6;
  Matrix x(kRows, four.cols);  // the last is another row
  for (std::int64_t i = 0; i + 1 < kRows; ++i) {
    // The fourth is rare.
    const std::int64_t which = i % 25 == 7 ? 3 : i % 3;
    std::copy_n(four.row(which), four.cols, x.row(i));
    ASSERT_EQ(row_hash(x.row(i), x.cols), row_hash(four.row(0), x.cols));
  }
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    std::vector<float> expected, equal;
    std::set<std::vector<float>> seen;
    for (const std::int64_t row : in_key_order(kRows, seed, Purpose::initial_centroids)) {
      std::vector<float>& to = seen.emplace(x.row(row), x.row(row) + x.cols).second ? expected : equal;
      to.insert(to.end(), x.row(row), x.row(row) + x.cols);
    }
    ASSERT_EQ(seen.size(), 5u);
    expected.insert(expected.end(), equal.begin(), equal.begin() + x.cols);
    EXPECT_EQ(initial_centroids(HostArray(x.view()), kWanted, seed), expected) << seed;
    // One is given: rows that it equals are not taken, those of the same hash are.
    Params params = params_of(5, 0, 0);
    params.seed = seed;
    params.init = MatrixView(four.row(1), 1, four.cols);
    for (const Result& shard : fit_on_shards(x.view(), {20, 40, kRows}, params)) {
      std::set<std::vector<float>> taken;
      for (auto at = shard.centroids.begin(); at != shard.centroids.end(); at += x.cols) taken.emplace(at, at + x.cols);
      EXPECT_EQ(taken, seen) << seed;
    }
  }
}

TEST(SampleNoOracle, FitTrainsOnTheSampledRows) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0f);
  const MatrixView x(values.data(), 1000, 1);
  Params params;
  params.k = 5;
  params.niter = 3;
  params.seed = 9;
  params.max_points_per_centroid = 20;
  const Result got = fit(x, params);
  EXPECT_EQ(got.n_used, 100);
  EXPECT_EQ(got.labels.size(), 1000u);
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_EQ(got.warnings[0].kind, Warning::Kind::subsampled);
  expect_contains(got.warnings[0].message, {"100", "1000", "20"});

  Workers workers(1, {});
  const auto rows = sample(1000, 100, 9, workers);
  const std::vector<float> sampled(rows.begin(), rows.end());
  const std::vector<float> initial = chosen_of(rows, 5, 9);
  params.init = MatrixView(initial.data(), 5, 1);
  params.max_points_per_centroid.reset();
  EXPECT_TRUE(same_bits(fit({sampled.data(), 100, 1}, params).centroids, got.centroids));
}

}  // namespace
}  // namespace fastkmeans::testing
