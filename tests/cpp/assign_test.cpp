// SPDX-License-Identifier: Apache-2.0
// Every instruction set against the oracle, to the bit.
#include <limits>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

void expect_same(const Assignment& got, const Assignment& expected) {
  EXPECT_EQ(got.labels, expected.labels);
  EXPECT_TRUE(same_bits(got.distances, expected.distances));
  EXPECT_EQ(got.check.bad, expected.check.bad);
  EXPECT_EQ(got.check.first, expected.check.first);
}

// Any label in [0, k) is a legal hint: none, the right ones, any.
std::vector<std::int32_t> hint(int which, const Assignment& expected, std::int64_t k, Random& random) {
  if (which == 0) return {};
  std::vector<std::int32_t> previous = expected.labels;
  if (which == 2)
    for (auto& label : previous) label = static_cast<std::int32_t>(draw(random, 0, k - 1));
  return previous;
}

void compare_with_oracle(const Matrix& x, const Matrix& centroids, Random& random) {
  const Assignment expected = assign(on("scalar"), x.view(), centroids);
  for (const Path& path : kernel_paths())
    for (int which = 0; which < 3; ++which) {
      Execution execution = on(path, static_cast<int>(draw(random, 1, 5)));
      const std::int64_t sizes[] = {1, 3, 17, 100, 51'200};
      execution.chunk_size_data = sizes[draw(random, 0, 4)];
      execution.chunk_size_centroids = sizes[draw(random, 0, 4)];
      SCOPED_TRACE(::testing::Message() << path << " n " << x.rows << " d " << x.cols << " k " << centroids.rows
                                        << " hint " << which << " threads " << execution.n_threads << " chunk "
                                        << execution.chunk_size_data);
      expect_same(assign(execution, x.view(), centroids, hint(which, expected, centroids.rows, random)), expected);
    }
}

TEST(Assign, EqualsTheOracle) {
  Random random(8);
  for (int repeat = 0; repeat < 15; ++repeat)
    for (const Kind kind : kKinds) {
      const std::int64_t d = repeat % 5 == 4 ? draw(random, 100, 400) : draw(random, 1, 70);
      const Matrix x = random_rows(kind, draw(random, 1, 200), d, random);
      compare_with_oracle(x, centroids_near(x, draw(random, 1, 90), random), random);
      if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
    }
}

// A row of one size among centroids of another: both preparations, and rows on either side of 2^-32.
TEST(Assign, EqualsTheOracleWhenRowsAndCentroidsDifferInSize) {
  Random random(9);
  for (const Kind rows : kKinds)
    for (const Kind centres :
         {Kind::tiny, Kind::half_tiny, Kind::denormal, Kind::mixed_rows, Kind::huge, Kind::outliers}) {
      const std::int64_t d = draw(random, 1, 40);
      compare_with_oracle(random_rows(rows, draw(random, 1, 60), d, random),
                          random_rows(centres, draw(random, 1, 70), d, random), random);
    }
}

TEST(Assign, ManyThreadsManyTilesHeavy) {
  Random random(10);
  const Matrix x = random_rows(Kind::integers, 5000, 20, random);
  for (int repeat = 0; repeat < 3; ++repeat) compare_with_oracle(x, centroids_near(x, 150, random), random);
}

TEST(Assign, LongRows) {
  Random random(11);
  for (const std::int64_t d : {1024, 2050, 8193}) {
    const Matrix x = random_rows(Kind::integers, 9, d, random);
    compare_with_oracle(x, centroids_near(x, 40, random), random);
  }
}

TEST(Assign, BadRowsAreCountedAndChangeNoOther) {
  Random random(12);
  Matrix x = random_rows(Kind::normal, 150, 20, random);
  const Matrix centroids = centroids_near(x, 12, random);
  x.row(37)[19] = std::numeric_limits<float>::quiet_NaN();
  x.row(21)[0] = -std::numeric_limits<float>::infinity();
  x.row(140)[3] = 0x1p56f;
  x.row(141)[3] = -0x1.fffffep55f;  // the largest legal one
  compare_with_oracle(x, centroids, random);
  for (const Path& path : kernel_paths()) {
    const Assignment got = assign(on(path, 3), x.view(), centroids);
    EXPECT_EQ(got.check.bad, 3);
    EXPECT_EQ(got.check.first, 21);
    EXPECT_EQ(got.labels[37], 0);
    EXPECT_EQ(got.distances[140], 0.0f);
  }
}

TEST(Assign, PreviousMayBeTheLabelsThemselves) {
  Random random(13);
  for (const Kind kind : {Kind::normal, Kind::half_tiny}) {
    const Matrix x = random_rows(kind, 300, 9, random), centroids = centroids_near(x, 40, random);
    const Assignment expected = assign(on("scalar"), x.view(), centroids);
    for (const Path& path : kernel_paths()) {
      const Execution execution = on(path, 2);
      std::vector<std::int32_t> labels = hint(2, expected, 40, random);
      std::vector<float> distances(labels.size());
      const Assigned got =
          Assigner(execution, x.view()).assign(centroids, labels.data(), false, labels.data(), distances.data());
      expect_ran(path, got.filter, x.cols, are_tiny(centroids));
      EXPECT_EQ(labels, expected.labels) << path;
      EXPECT_TRUE(same_bits(distances, expected.distances)) << path;
    }
  }
}

// Centroids that move in one update, by all paths: those of the means, and how far they went.
TEST(Assign, ShiftEqualsTheOracle) {
  Random random(14);
  for (const Kind kind : kKinds) {
    const std::int64_t k = draw(random, 1, 600), d = draw(random, 1, 50);
    const Matrix x = random_rows(kind, 2 * k, d, random), start = random_rows(kind, k, d, random);
    Params params;
    params.k = k;
    params.niter = 1;
    params.init = start.view();
    const auto by = [&](std::string_view isa) {
      params.execution = on(isa, 2);
      return fit(x.view(), params);
    };
    const Result expected = by("scalar");
    for (const cpu::Isa* isa : kernel_isas()) {
      const Result got = by(isa->name);
      EXPECT_EQ(got.iterations[0].shift, expected.iterations[0].shift) << isa->name;
      EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << isa->name;
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
