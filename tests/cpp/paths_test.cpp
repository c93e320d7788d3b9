// SPDX-License-Identifier: Apache-2.0
// Many assignments in a row: every filter of every instruction set, with what is kept from one to the next (sketches,
// drift bounds), gives the oracle's bits.
#include <algorithm>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

void expect_same(const Result& got, const Result& expected) {
  EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
  EXPECT_EQ(got.labels, expected.labels);
  EXPECT_EQ(got.inertia, expected.inertia);
  EXPECT_EQ(got.n_iter, expected.n_iter);
  EXPECT_EQ(got.n_empty, expected.n_empty);
  EXPECT_EQ(got.converged, expected.converged);
  ASSERT_EQ(got.iterations.size(), expected.iterations.size());
  for (std::size_t i = 0; i < got.iterations.size(); ++i) {
    const IterationStats &mine = got.iterations[i], &theirs = expected.iterations[i];
    EXPECT_EQ(mine.inertia, theirs.inertia) << "iteration " << i;
    EXPECT_EQ(mine.shift, theirs.shift) << "iteration " << i;
    EXPECT_EQ(mine.changed, theirs.changed) << "iteration " << i;
    EXPECT_EQ(mine.empty, theirs.empty) << "iteration " << i;
    EXPECT_EQ(mine.relocated, theirs.relocated) << "iteration " << i;
  }
}

// Fits by all paths, with threads and chunks drawn; the planner's own choice is one of them.
void compare_fits(const Matrix& x, Params params, Random& random) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  params.execution = on("scalar");
  const Result expected = fit(x.view(), params);
  std::vector<Path> paths = kernel_paths(true);
  for (const cpu::Isa* isa : kernel_isas()) paths.push_back({std::string(isa->name), ""});
  for (const Path& path : paths) {
    params.execution = on(path, static_cast<int>(draw(random, 1, 4)));
    const std::int64_t sizes[] = {5, 33, 64, 51'200};
    params.execution.chunk_size_data = sizes[draw(random, 0, 3)];
    params.execution.chunk_size_centroids = sizes[draw(random, 0, 3)];
    SCOPED_TRACE(::testing::Message() << path << " n " << x.rows << " d " << x.cols << " k " << params.k << " threads "
                                      << params.execution.n_threads << " chunk " << params.execution.chunk_size_data);
    expect_same(fit(x.view(), params), expected);
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
      const std::int64_t n = draw(random, 150, 500), d = repeat == 2 ? draw(random, 70, 150) : draw(random, 1, 40);
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
  const std::int64_t n = 1000, k = 320, d = 24;
  const Matrix x = blobs(n, 40, d, random);
  for (const Path& path : kernel_paths(true)) {
    Params params = params_of(k, 10, -1);
    params.execution = on(path, 2);
    const Result got = fit(x.view(), params);
    ASSERT_GE(got.iterations[9].shift, 0);
    const bool bounds = path.filter.ends_with("_bounds");
    for (const IterationStats& stats : got.iterations) {
      if (stats.changed == 0) break;  // reported, not computed
      EXPECT_EQ(stats.filter.filter, path.filter.substr(0, path.filter.find('_'))) << path;
      // All pairs, places that fill a panel among them; the first assignment knows nothing, the second no bounds.
      const std::int64_t pairs = n * k;
      if (bounds && stats.iteration > 1) {
        EXPECT_LT(stats.filter.scored, pairs / 2) << path << " iteration " << stats.iteration;
      } else {
        EXPECT_EQ(stats.filter.scored, pairs) << path << " iteration " << stats.iteration;
      }
      EXPECT_LT(stats.filter.refined, pairs / 4) << path << " iteration " << stats.iteration;
    }
  }
}

// --- Bounds by hand: assignments of the same rows to centroids that move as a case wants ---

class Moves {
 public:
  Moves(const Path& path, const Matrix& x, int threads = 1)
      : workers_(threads, {}), execution_(on(path, threads)), backend_(make_backend(execution_, workers_)), x_(x) {}

  std::vector<std::int32_t> assign(const Matrix& centroids) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(x_.rows), -7);
    std::vector<float> distances(labels.size());
    filter = backend_
                 ->assign(x_.view(), centroids.centroids(), before_.empty() ? nullptr : before_.data(), true,
                          labels.data(), distances.data())
                 .filter;
    before_ = labels;
    return labels;
  }

  FilterStats filter;

 private:
  Workers workers_;
  Execution execution_;
  std::unique_ptr<Backend> backend_;
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
TEST(PathsNoOracle, DriftAddsUp) {
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
TEST(PathsNoOracle, TheOwnCentroidLeaves) {
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

// A copy is not scored, so the best score of its group says nothing about it. Here 199, whose group is far, becomes a
// copy of 0, the nearest; then it moves a little, and is the nearest itself.
TEST(PathsNoOracle, CopiesThatPart) {
  Random random(118);
  const Matrix x = rows_about(0, random);
  for (const Path& path : bounded_paths()) {
    Matrix centroids = far_centroids(200);
    put(centroids, 0, 30);
    Moves moves(path, x);
    for (int step = 0; step < 3; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0));
    put(centroids, 199, 30);
    for (int step = 0; step < 2; ++step) EXPECT_TRUE(all_are(moves.assign(centroids), 0)) << "ties to the lower";
    put(centroids, 199, 10);
    EXPECT_TRUE(all_are(moves.assign(centroids), 199)) << path;
    put(centroids, 0, 5);
    EXPECT_TRUE(all_are(moves.assign(centroids), 0)) << path;
  }
}

// Few rows of a tile need a group: they are gathered, and each keeps its own label and bound.
TEST(PathsNoOracle, SomeRowsOfATile) {
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

// Bounds and sketches are of rows and centroids: other rows, or another number of centroids, begin anew.
TEST(PathsNoOracle, OtherRowsBeginAnew) {
  Random random(120);
  const Matrix near = rows_about(0, random), far = rows_about(1500, random);
  for (const Path& path : kernel_paths(true)) {
    Workers workers(2, {});
    const Execution execution = on(path, 2);
    const auto backend = make_backend(execution, workers);
    std::vector<std::int32_t> labels(200);
    std::vector<float> distances(200);
    for (const std::int64_t k : {200, 120}) {
      Matrix centroids = far_centroids(k);
      put(centroids, 7, 0);
      for (const bool first : {true, false})
        for (const Matrix* x : {&near, &near, &far, &far, &near}) {
          if (!first) std::fill(labels.begin(), labels.end(), 3);
          backend->assign(x->view(), centroids.centroids(), first ? nullptr : labels.data(), true, labels.data(),
                          distances.data());
          if (x == &near) {
            EXPECT_TRUE(all_are(labels, 7)) << path;
          } else {
            for (const std::int32_t label : labels) EXPECT_NEAR(label, 50, 1) << path;
          }
        }
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
