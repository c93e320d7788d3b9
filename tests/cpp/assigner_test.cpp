// SPDX-License-Identifier: Apache-2.0
// Assignments of one shard, one after the other: what is counted, and what is kept for how long.
#include "cpu/assigner.hpp"

#include <algorithm>
#include <limits>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// An assigner with what it refers to, its labels and distances.
struct Shard {
  Execution execution;
  Workers workers;
  cpu::Assigner assigner;
  std::vector<std::int32_t> labels;
  std::vector<float> distances;

  Shard(const Path& path, const MatrixView& x, const Metric& metric = euclidean(), int threads = 2)
      : execution(on(path, threads)),
        workers(threads, {}),
        assigner({x, metric, *cpu::choose(path.isa).kernels, workers}, execution),
        labels(static_cast<std::size_t>(x.rows), -7),
        distances(labels.size(), -7) {}

  Assigned assign(const Matrix& centroids, bool known, bool more = true) {
    return assigner.assign(centroids.centroids(), known ? labels.data() : nullptr, more, labels.data(),
                           distances.data());
  }
};

TEST(AssignerNoOracle, NoRows) {
  const Matrix x(0, 5), centroids(3, 5);
  for (const Path& path : kernel_paths(true)) {
    Shard shard(path, x.view());
    for (const bool known : {false, true}) {
      const Assigned got = shard.assign(centroids, known);
      EXPECT_EQ(got.check.bad, 0) << path;
      EXPECT_EQ(got.changed, 0) << path;
      EXPECT_EQ(got.filter.scored, 0) << path;
      EXPECT_EQ(got.inertia.value(), 0.0) << path;
    }
    shard.assigner.forget();
  }
}

// By every filter, for tiny rows and for rows of which some are bad.
TEST(AssignerNoOracle, CountsWhatChangedAndSumsDistances) {
  Random random(130);
  for (const Kind kind : {Kind::normal, Kind::duplicates, Kind::half_tiny, Kind::denormal, Kind::outliers})
    for (const bool bad : {false, true}) {
      Matrix x = random_rows(kind, 700, 9, random);
      const Matrix centroids = centroids_near(x, 80, random);
      if (bad) x.row(33)[2] = x.row(34)[0] = x.row(699)[8] = std::numeric_limits<float>::quiet_NaN();
      for (const Path& path : kernel_paths(true)) {
        SCOPED_TRACE(::testing::Message() << path << " kind " << static_cast<int>(kind) << " bad " << bad);
        Shard shard(path, x.view());
        for (int step = 0; step < 4; ++step) {
          if (step == 2)
            for (auto& label : shard.labels) label = static_cast<std::int32_t>(draw(random, 0, 79));
          const std::vector<std::int32_t> before = shard.labels;
          const Assigned got = shard.assign(centroids, step > 0);
          std::int64_t changed = 0;
          ExactSum inertia;
          for (std::size_t i = 0; i < 700; ++i) {
            changed += step == 0 || before[i] != shard.labels[i];
            inertia.add(shard.distances[i]);
          }
          EXPECT_EQ(got.changed, changed) << step;
          EXPECT_EQ(got.inertia.value(), inertia.value()) << step;
          EXPECT_EQ(got.check.bad, bad ? 3 : 0);
        }
      }
    }
}

// The last row of a tile is bad, and there are gaps between rows.
TEST(AssignerNoOracle, BadRowsApart) {
  Random random(134);
  Matrix wide = random_rows(Kind::normal, 64, 32, random);
  const Matrix centroids = random_rows(Kind::normal, 9, 16, random);
  wide.row(63)[3] = std::numeric_limits<float>::infinity();
  const MatrixView x(wide.values.data(), 64, 16, DType::f32, 32 * 4, 4);
  for (const Path& path : kernel_paths(true)) {
    Shard shard(path, x);
    for (const bool known : {false, true}) EXPECT_EQ(shard.assign(centroids, known).check.bad, 1) << path;
  }
}

// Bounds are of the assignments of one run; sketches are of the rows.
TEST(AssignerNoOracle, AnotherRunForgetsBounds) {
  Random random(131);
  const Matrix x = random_rows(Kind::normal, 600, 20, random);
  for (const Path& path : kernel_paths(true)) {
    Shard shard(path, x.view());
    for (int run = 0; run < 3; ++run) {
      // Far from the last run's: bounds of that run, were they kept, would exclude the nearest.
      const Matrix centroids = random_rows(run % 2 ? Kind::normal : Kind::integers, 150, 20, random);
      Shard fresh(path, x.view());
      fresh.assign(centroids, false, false);
      for (int step = 0; step < 4; ++step) {
        const Assigned got = shard.assign(centroids, run > 0 || step > 0);
        EXPECT_EQ(shard.labels, fresh.labels) << path << " run " << run << " step " << step;
        EXPECT_TRUE(same_bits(shard.distances, fresh.distances)) << path;
        if (step == 0) {
          EXPECT_EQ(got.filter.scored, 600 * 150) << path << " run " << run;
        }
      }
      shard.assigner.forget();
    }
  }
}

// Tiles that share a group of rows would wipe each other's sketches. How often depends on the threads: once in
// thousands of tiles on two busy cores. The labels before are of centroids aside, from where only its sketch leads a
// row home.
// Most rows are centroids, at distance 0: bounds count in a unit that the others' distances reach all the same.
TEST(AssignerNoOracle, BoundsWhereMostRowsAreCentroids) {
  constexpr std::int64_t n = 600, d = 8, k = 400;
  Random random(132);
  Matrix x = random_rows(Kind::normal, n, d, random), centroids(k, d);
  for (float& value : x.values) value *= 0x1p-10f;
  for (std::int64_t c = 0; c < k; ++c) std::copy_n(x.row(c), d, centroids.row(c));
  for (const Path& path : kernel_paths(true)) {
    if (path.filter != "fp32_bounds" && path.filter != "int8_bounds") continue;
    Shard shard(path, x.view());
    shard.assign(centroids, false);
    shard.assign(centroids, true);
    EXPECT_LT(shard.assign(centroids, true).filter.scored, n * k / 2) << path;
  }
}

TEST(AssignerNoOracle, TilesOfLessThanAGroupKeepNoSketches) {
  constexpr std::int64_t n = 1000, d = 64;
  Random random(133);
  const Matrix blobs = random_rows(Kind::normal, 3, d, random);
  Matrix x = random_rows(Kind::normal, n, d, random), centroids(6, d);
  std::vector<std::int32_t> home(n), aside(n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j) x.row(i)[j] += 1000 * blobs.row(i % 3)[j];
    home[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % 3);
    aside[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % 3 + 3);
  }
  for (std::int64_t c = 0; c < 6; ++c) std::copy_n(x.row(c % 3), d, centroids.row(c));
  for (std::int64_t c = 3; c < 6; ++c) centroids.row(c)[0] += 100;
  for (const cpu::Isa* isa : kernel_isas()) {
    if (!isa->kernels->sketch) continue;
    for (int repeat = 0; repeat < 100; ++repeat) {
      Shard shard({std::string(isa->name), "int8"}, x.view(), euclidean(), 4);
      shard.execution.chunk_size_data = 1;
      for (int step = 0; step < 2; ++step) {
        shard.labels = aside;
        shard.assign(centroids, true);
        ASSERT_EQ(shard.labels, home) << isa->name << " repeat " << repeat << " step " << step;
      }
    }
  }
}

// The metric's rows, whatever they are read from: as if they had been transformed before.
TEST(AssignerNoOracle, RowsOfTheMetric) {
  Random random(132);
  for (const std::int64_t d : {3, 16, 33}) {
    Matrix x = random_rows(Kind::outliers, 300, d, random), unit = x;
    x.row(7)[d - 1] = unit.row(7)[d - 1] = std::numeric_limits<float>::infinity();
    std::fill_n(x.row(8), d, 0.0f);
    std::fill_n(unit.row(8), d, 0.0f);
    for (std::int64_t i = 0; i < 300; ++i)
      if (i != 7) spherical().transform(unit.row(i), d);
    Matrix centroids(60, d);
    for (std::int64_t c = 0; c < 60; ++c) std::copy_n(unit.row(4 * c + 9), d, centroids.row(c));
    for (const Path& path : kernel_paths(true)) {
      Shard before(path, unit.view()), by_metric(path, x.view(), spherical());
      for (int step = 0; step < 3; ++step) {
        before.assign(centroids, step > 0);
        const Assigned got = by_metric.assign(centroids, step > 0);
        EXPECT_EQ(got.check.bad, 1) << path;
        EXPECT_EQ(got.check.first, 7) << path;
        EXPECT_EQ(by_metric.labels, before.labels) << path << " d " << d;
        EXPECT_TRUE(same_bits(by_metric.distances, before.distances)) << path << " d " << d;
      }
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
