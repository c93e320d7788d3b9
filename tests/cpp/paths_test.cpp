// SPDX-License-Identifier: Apache-2.0
// Many assignments in a row: every filter of every instruction set, with what is kept from one to the next (sketches,
// lower bounds), gives the oracle's bits.
#include <algorithm>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Fits by all paths, with threads and chunks drawn; the planner's own choice is one of them.
void compare_fits(const Matrix& x, Params params, Random& random) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  params.execution = on("scalar");
  const Result expected = fit(x.view(), params);
  const std::optional<bool> tiny = all_tiny(x);
  std::vector<Path> paths = fit_paths(true);
  for (const cpu::Isa* isa : kernel_isas()) paths.push_back({std::string(isa->name), ""});
  for (const Path& path : paths) {
    params.execution = on(path, static_cast<int>(draw(random, 1, 4)));
    const std::int64_t sizes[] = {5, 33, 64, 51'200};
    params.execution.chunk_size_data = sizes[draw(random, 0, 3)];
    params.execution.chunk_size_centroids = sizes[draw(random, 0, 3)];
    SCOPED_TRACE(::testing::Message() << path << " n " << x.rows << " d " << x.cols << " k " << params.k << " threads "
                                      << params.execution.n_threads << " chunk " << params.execution.chunk_size_data);
    const Result got = fit(x.view(), params);
    expect_same(got, expected);
    for (const IterationStats& stats : got.iterations) expect_ran(path, stats.filter, x.cols, tiny);
  }
}

Params params_of(std::int64_t k, int niter, double tol) {
  Params params;
  params.k = k;
  params.niter = niter;
  params.tol = tol;
  return params;
}

TEST(Paths, FitsEqualTheOracle) {
  Random random(110);
  for (int repeat = 0; repeat < 3; ++repeat)
    for (const Kind kind : kKinds) {
      const std::int64_t n = draw(random, 150, 300), d = repeat == 2 ? draw(random, 65, 100) : draw(random, 1, 40);
      compare_fits(random_rows(kind, n, d, random), params_of(draw(random, 1, n / 2), 9, draw(random, -1, 0)), random);
      if (::testing::Test::HasFailure()) FAIL() << "kind " << static_cast<int>(kind);
    }
}

TEST(Paths, RunsToTheEnd) {
  Random random(111);
  for (const std::int64_t d : {2, 20}) {
    const Matrix x = random_rows(Kind::normal, 700, d, random);
    compare_fits(x, params_of(130, 40, 0), random);
    compare_fits(x, params_of(130, 40, 0.5), random);
  }
}

TEST(Paths, SeveralRunsOfASample) {
  Random random(112);
  const Matrix x = random_rows(Kind::normal, 900, 12, random);
  Params params = params_of(70, 8, 0);
  params.nredo = 3;
  compare_fits(x, params, random);
  params.max_points_per_centroid = 6;
  compare_fits(x, params, random);
  params.labels = false;
  compare_fits(x, params, random);
}

// Starts with copies that part when empty clusters are filled, and with centroids that nobody is near.
TEST(Paths, EmptyClustersAndCopiesThatPart) {
  Random random(113);
  for (const Kind kind : {Kind::normal, Kind::duplicates, Kind::outliers, Kind::half_tiny, Kind::tiny}) {
    const Matrix x = random_rows(kind, 400, 10, random);
    Matrix start(100, 10);
    for (std::int64_t c = 0; c < 100; ++c)
      std::copy_n(x.row(draw(random, 0, 49)), 10, start.row(c));  // about 60 copies
    for (const std::int64_t c : {0, 40, 99})
      for (std::int64_t j = 0; j < 10; ++j) start.row(c)[j] *= 50;
    Params params = params_of(100, 12, -1);
    params.init = start.view();
    compare_fits(x, params, random);
  }
}

// More panels than a row of two dimensions may have bounds.
TEST(Paths, SeveralPanelsAGroup) {
  Random random(114);
  compare_fits(random_rows(Kind::normal, 1500, 2, random), params_of(700, 8, -1), random);
}

Matrix blobs(std::int64_t n, std::int64_t count, std::int64_t d, Random& random) {
  const Matrix centres = random_rows(Kind::normal, count, d, random);
  Matrix x = random_rows(Kind::normal, n, d, random);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < d; ++j) x.row(i)[j] = 0.3f * x.row(i)[j] + 4 * centres.row(i % count)[j];
  return x;
}

TEST(PathsNoOracle, BoundsSkipMostPairsOfBlobs) {
  Random random(115);
  const std::int64_t n = 1000, k = 315, d = 24;  // k is off every panel
  const Matrix x = blobs(n, 40, d, random);
  for (const Path& path : fit_paths(true)) {
    Params params = params_of(k, 10, -1);
    params.execution = on(path, 2);
    const Result got = fit(x.view(), params);
    ASSERT_GE(got.iterations[9].shift, 0);
    const bool bounds = path.filter.ends_with("_bounds");
    for (const IterationStats& stats : got.iterations) {
      if (stats.changed == 0) break;  // reported, not computed
      expect_ran(path, stats.filter, d, false);
      // The first assignment knows nothing, the second has no bounds yet.
      const std::int64_t pairs = n * k;
      if (bounds && stats.iteration > 1) {
        EXPECT_LT(stats.filter.scored, pairs / 2) << path << " iteration " << stats.iteration;
      } else {
        EXPECT_EQ(stats.filter.scored, pairs) << path << " iteration " << stats.iteration;
      }
      if (path.filter != "none") {
        EXPECT_LT(stats.filter.refined, pairs / 4) << path << " iteration " << stats.iteration;
      }
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
