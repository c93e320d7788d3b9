// SPDX-License-Identifier: Apache-2.0
// Shards, weights, metrics and what initialisations need, without the oracle: values by hand, and one shard beside
// many.
#include <cmath>
#include <set>

#include "shards.hpp"
#include "source/sample.hpp"

namespace fastkmeans::testing {
namespace {

using Weights = std::vector<std::int64_t>;
using Rows = std::vector<std::int64_t>;  // which

// --- Shards ---

TEST(ShardsByHandNoOracle, ManyShardsAreOne) {
  Random random(230);
  for (const Kind kind : {Kind::integers, Kind::duplicates, Kind::mixed_rows, Kind::half_tiny, Kind::outliers}) {
    const Matrix x = random_rows(kind, 150, 3, random);
    Matrix near(40, 3);  // most of them end empty
    for (std::int64_t c = 0; c < near.rows; ++c) std::copy_n(x.row(draw(random, 0, 9)), 3, near.row(c));
    Params redone = params_of(20, 4, 0), sampled = redone, filled = params_of(40, 6, -1);
    redone.nredo = 2;
    sampled.max_points_per_centroid = 3;
    filled.init = near.view();
    for (const Params& params : {redone, sampled, filled}) {
      const Result expected = fit_on_shards(x.view(), {x.rows}, params)[0];
      for (const Ends& ends : spreads(x.rows)) {
        SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(kind) << ", " << ends.size() << " shards");
        const std::vector<Result> got = fit_on_shards(x.view(), ends, params);
        for (const Result& shard : got) expect_same(shard, expected, &shard == &got[0]);
      }
    }
  }
}

// The sums of a run before, and who was in which cluster, are of no account.
TEST(ShardsByHandNoOracle, AnotherRunStartsAfresh) {
  Random random(231);
  const Matrix x = random_rows(Kind::normal, 60, 3, random);
  const Matrix first = centroids_near(x, 5, random);
  Matrix second = centroids_near(x, 5, random);
  std::fill_n(second.row(2), 3, 1000.0f);  // empty, unless members of the run before are left
  Weights weights(60);
  for (auto& weight : weights) weight = draw(random, 1, 3);
  const FixedPoint scale({8.0f, 8.0f, 8.0f}, 1.0f, 200);
  for (const std::int64_t* of_rows : {static_cast<const std::int64_t*>(nullptr), std::as_const(weights).data()}) {
    const HostArray rows(x.view(), 0, of_rows);
    const Execution execution;
    Workers workers(2, {});
    NoReducer reducer;
    const auto run = [&](fastkmeans::Shard& shard, const Matrix& centroids) {
      shard.start_run({centroids.values});
      std::int64_t empty = 0;
      for (int iteration = 0; iteration < 2; ++iteration) {
        shard.assign(true);
        shard.accumulate(scale);
        shard.update({}, reducer);
        empty += shard.updated().empty;
      }
      return std::pair(shard.centroids(), empty);
    };
    const auto used = make_shard(rows, euclidean(), execution, workers),
               fresh = make_shard(rows, euclidean(), execution, workers);
    run(*used, first);
    EXPECT_EQ(run(*used, second), run(*fresh, second)) << (of_rows ? "weighted" : "");
  }
}

// Each thread sums and looks at rows of its own: enough of them for several threads.
TEST(ShardsByHandNoOracle, ManyThreadsAreOne) {
  Random random(234);
  Matrix x = random_rows(Kind::normal, 100'000, 32, random);
  x.row(3)[2] = 1000;  // the largest of its column, seen by one thread
  const Matrix start = centroids_near(x, 9, random);
  Params params = params_of(9, 3, 0);
  params.max_points_per_centroid.reset();
  params.init = start.view();
  params.execution.n_threads = 1;
  const Result expected = fit(x.view(), params);
  params.execution.n_threads = 4;
  for (int repeat = 0; repeat < 5; ++repeat) expect_same(fit(x.view(), params), expected);
}

// --- Weights ---

// One iteration of one column from given centroids.
Result weighted_step(const std::vector<float>& values, const Weights& weights, const std::vector<float>& start,
                     int niter = 1) {
  const Matrix x(static_cast<std::int64_t>(values.size()), 1, values);
  Params params = params_of(static_cast<std::int64_t>(start.size()), niter, -1);
  params.init = MatrixView(start.data(), params.k, 1);
  return fit_on_shards(x.view(), {x.rows}, params, euclidean(), weights.data())[0];
}

TEST(WeightsByHandNoOracle, AWeightIsThatManyRows) {
  Random random(232);
  for (const Kind kind : {Kind::normal, Kind::mixed_rows, Kind::half_tiny}) {
    const Matrix x = random_rows(kind, 300, 6, random);
    Weights weights(300);
    for (auto& weight : weights) weight = draw(random, 0, 4);
    const Matrix start = centroids_near(x, 3, random);
    Params params = params_of(3, 1, 0);
    params.init = start.view();
    params.execution.n_threads = 3;
    const Result expected = fit(repeated(x, weights).view(), params);
    ASSERT_EQ(expected.iterations[0].empty, 0) << "choose other data: a donor gives a row with all its weight";
    const Result got = fit_on_shards(x.view(), {300}, params, euclidean(), weights.data())[0];
    EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << static_cast<int>(kind);
    EXPECT_EQ(got.inertia, expected.inertia);
    EXPECT_EQ(got.iterations[0].empty, 0);
  }
}

TEST(WeightsByHandNoOracle, LargeWeightsDoNotOverflow) {
  const std::int64_t two = std::int64_t{1} << 39, one = std::int64_t{1} << 38;
  const Result got = weighted_step({0.75f, 0.25f}, {two, one}, {0});
  EXPECT_EQ(got.centroids[0], static_cast<float>((0.75 * 2 + 0.25) / 3));
}

TEST(WeightsByHandNoOracle, RowsOfNoWeightAreNoMembers) {
  const Result got = weighted_step({0, 0.5f, 10}, {1, 0, 1}, {1, 9});
  EXPECT_EQ(got.iterations[0].empty, 0);
  EXPECT_EQ(got.centroids, (std::vector<float>{0, 10}));
  // 100 is farthest, yet counts for nothing.
  EXPECT_EQ(weighted_step({0, 1, 3, 100}, {1, 1, 1, 0}, {1, 1000}).centroids, (std::vector<float>{0.5f, 3}));
}

TEST(WeightsByHandNoOracle, DonorsHaveTwoRowsAndTheLargestWeightedInertia) {
  // Cluster 0 has inertia 45, but one row.
  EXPECT_EQ(weighted_step({0, 10, 12}, {5, 1, 1}, {3, 11, 1000}).centroids, (std::vector<float>{0, 12, 10}));
  // Inertias 10 (1/4 + 1/4) and 9/4 + 9/4; the row takes its weight with it, and belongs to the new cluster afterwards.
  const Result got = weighted_step({0, 1, 10, 13}, {10, 10, 1, 1}, {0.5f, 11.5f, 1000}, 2);
  EXPECT_EQ(got.centroids, (std::vector<float>{1, 11.5f, 0}));
  EXPECT_EQ(got.iterations[0].inertia, 9.5);
  EXPECT_EQ(got.iterations[1].changed, 0);
  EXPECT_EQ(got.inertia, 4.5);
}

TEST(WeightsByHandNoOracle, OnlyRowsOfWeightAreDrawn) {
  Matrix x(400, 1);
  Weights weights(400);
  for (std::int64_t i = 0; i < 400; ++i) {
    x.row(i)[0] = static_cast<float>(i);
    weights[static_cast<std::size_t>(i)] = i % 10 == 3 ? i : 0;
  }
  const HostArray rows(x.view(), 0, weights.data());
  Workers workers(2, {});
  NoReducer reducer;
  EXPECT_EQ(rows_of_weight(rows, workers), 40);
  for (const float centroid : initial_centroids(rows, 40, 7)) EXPECT_EQ(static_cast<int>(centroid) % 10, 3);
  const std::vector<std::int64_t> drawn = sample_rows(rows, 20, 7, reducer, workers);
  const auto sample = rows.subset(drawn, workers);
  for (std::int64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(drawn[static_cast<std::size_t>(i)] % 10, 3);
    EXPECT_EQ(sample->weight(i), drawn[static_cast<std::size_t>(i)]);
  }
  expect_contains(message_of<std::invalid_argument>([&] {
                    weighted_step({1, 2, 3}, {1, 0, 0}, {1, 2});
                  }),
                  {"(1) is less than k (2)"});
}

// --- Metrics ---

TEST(MetricsByHandNoOracle, ZeroRowsStayZero) {
  float row[] = {0, -0.0f, 0};
  spherical().transform(row, 3);
  for (const float value : row) EXPECT_EQ(value, 0.0f);
}

TEST(MetricsByHandNoOracle, ZeroRowsOfAllShardsAreCounted) {
  const Matrix x(6, 1, {0, 1, -0.0f, 2, 0, 0});
  const std::int64_t weights[] = {1, 1, 3, 1, 0, 1};
  for (const Result& got : fit_on_shards(x.view(), {2, 4, 6}, params_of(1, 1, 0), spherical(), weights)) {
    EXPECT_EQ(got.n_zero, 3);
    EXPECT_EQ(got.n_used, 5);
  }
}

TEST(MetricsByHandNoOracle, GivenCentroidsAndRelocatedRowsHaveLengthOne) {
  const Matrix x(3, 2, {3, 0, 0, 5, 4, 4});
  // As they are given, all rows would be nearest to the first.
  const Matrix start(2, 2, {10, 1, 1, 100});
  Params params = params_of(2, 1, 0);
  params.init = start.view();
  const Result got = fit_on_shards(Matrix(2, 2, {3, 0, 0, 5}).view(), {2}, params, spherical())[0];
  EXPECT_EQ(got.iterations[0].empty, 0);
  EXPECT_EQ(got.centroids, (std::vector<float>{1, 0, 0, 1}));
  // (0, 5) is farthest from (1, 0), and moves to the empty cluster.
  const Matrix lopsided(2, 2, {1, 0, -1, -1});
  params.init = lopsided.view();
  const Result filled = fit_on_shards(x.view(), {3}, params, spherical())[0];
  EXPECT_EQ(filled.iterations[0].relocated, 1);
  EXPECT_NEAR(filled.centroids[0], std::cos(std::acos(-1.0) / 8), 1e-6);
  EXPECT_NEAR(filled.centroids[1], std::sin(std::acos(-1.0) / 8), 1e-6);
  EXPECT_EQ(filled.centroids[2], 0.0f);
  EXPECT_EQ(filled.centroids[3], 1.0f);
}

TEST(MetricsByHandNoOracle, InitialCentroidsHaveLengthOne) {
  Random random(233);
  const Matrix x = random_rows(Kind::normal, 50, 5, random);
  const HostArray rows(x.view());
  Workers workers(2, {});
  NoReducer reducer;
  std::vector<float> expected = initial_centroids(rows, 9, 3);
  for (std::int64_t c = 0; c < 9; ++c) spherical().transform(expected.data() + 5 * c, 5);
  EXPECT_TRUE(same_bits(initial_centroids(rows, 9, 3, 0, spherical()), expected));
  // Rows of one direction are equal.
  Matrix twice(100, 5);
  for (std::int64_t i = 0; i < 100; ++i)
    std::transform(x.row(i % 50), x.row(i % 50) + 5, twice.row(i), [i](float v) { return i < 50 ? v : 2 * v; });
  const std::vector<float> all = initial_centroids(HostArray(twice.view()), 50, 3, 0, spherical());
  std::set<float> first;
  for (std::int64_t c = 0; c < 50; ++c) first.insert(all[static_cast<std::size_t>(5 * c)]);
  EXPECT_EQ(first.size(), 50u);
}

// --- What initialisations need ---

// A shard of one column, on the instruction set that is taken by default.
struct Column {
  Matrix x;
  HostArray rows;
  Execution execution;
  Workers workers{2, {}};
  std::unique_ptr<fastkmeans::Shard> shard;

  explicit Column(const std::vector<float>& values, const Weights& weights = {})
      : x(static_cast<std::int64_t>(values.size()), 1, values),
        rows(x.view(), 0, weights.empty() ? nullptr : weights.data()),
        shard(make_shard(rows, euclidean(), execution, workers)) {}

  std::vector<double> lower(const std::vector<float>& added, bool first) {
    shard->lower_distances({added.data(), static_cast<std::int64_t>(added.size()), 1}, first);
    std::vector<double> distances(static_cast<std::size_t>(x.rows));
    shard->copy_distances(distances.data());
    return distances;
  }
};

TEST(InitialisationByHandNoOracle, DistancesToTheNearestSoFar) {
  Column column({0, 3, 10, 11});
  EXPECT_EQ(column.lower({-1}, true), (std::vector<double>{1, 16, 121, 144}));
  EXPECT_EQ(column.lower({0}, true), (std::vector<double>{0, 9, 100, 121})) << "a first one is the only one";
  EXPECT_EQ(column.lower({10, 40}, false), (std::vector<double>{0, 9, 0, 1}));
  Column tiny({0x1p-100f, 0x1p-99f});
  EXPECT_EQ(tiny.lower({0}, true), (std::vector<double>{0x1p-200, 0x1p-198}));
  EXPECT_EQ(tiny.lower({0x1.8p-99f}, false), (std::vector<double>{0x1p-200, 0x1p-200}));
}

TEST(InitialisationByHandNoOracle, MassesOfRows) {
  const Weights weights = {1, 0, 2, 1, 0};
  Column column({0, 3, 10, 11, 12}, weights);
  column.lower({0}, true);
  EXPECT_EQ(column.shard->largest_distance(), 121) << "12 counts for nothing";
  EXPECT_TRUE(column.shard->total_mass(0) == 2 * 100 + 121);
  EXPECT_TRUE(column.shard->total_mass(-1) == 2 * 50 + 60) << "rounded down";
  for (const auto& [mass, row] : {std::pair{0, 2}, {199, 2}, {200, 3}, {320, 3}})
    EXPECT_EQ(column.shard->rows_at(0, {static_cast<Mass>(mass)}), Rows{row}) << mass;
}

TEST(InitialisationByHandNoOracle, TheRowAtAMassAmongMany) {
  constexpr std::int64_t n = 200'000;
  std::vector<float> ones(n, 1);
  ones[5] = 3;
  Column column(ones);
  column.lower({0}, true);
  EXPECT_TRUE(column.shard->total_mass(0) == n + 8);
  for (const std::int64_t row : {0, 4, 65'535, 65'536, 131'072, 199'999})
    EXPECT_EQ(column.shard->rows_at(0, {static_cast<Mass>(row + (row > 5 ? 8 : 0))}), Rows{row});
}

// D of each row to the nearest of the centroids, by a shard that is asked for nothing else.
std::vector<double> distances_to(CentroidsView centroids, const Source& rows, const Execution& execution,
                                 Workers& workers) {
  const auto shard = make_shard(rows, euclidean(), execution, workers);
  shard->lower_distances(centroids, true);
  std::vector<double> distances(static_cast<std::size_t>(rows.rows()));
  shard->copy_distances(distances.data());
  return distances;
}

std::vector<double> lesser(std::vector<double> a, const std::vector<double>& b) {
  std::transform(a.begin(), a.end(), b.begin(), a.begin(), [](double v, double w) { return std::min(v, w); });
  return a;
}

// Greedy steps, one after the other: most often a candidate becomes a centroid, but anything else may.
TEST(InitialisationByHandNoOracle, CandidatesStepByStep) {
  Random random(211);
  for (const Kind kind : {Kind::normal, Kind::half_tiny, Kind::duplicates, Kind::mixed_rows, Kind::huge}) {
    const std::int64_t n = draw(random, 40, 200), d = kind == Kind::half_tiny ? 1 : draw(random, 1, 70);
    const Matrix x = random_rows(kind, n, d, random);
    Weights weights(static_cast<std::size_t>(n));
    for (auto& weight : weights) weight = draw(random, 0, 3);
    const HostArray rows(x.view(), 0, weights.data());
    Workers workers(3, {});
    for (const cpu::Isa* isa : kernel_isas()) {
      const Execution execution = on(std::string(isa->name), 3);
      const auto shard = make_shard(rows, euclidean(), execution, workers);
      std::vector<double> kept, got(weights.size());
      const auto lower = [&](CentroidsView added, bool first) {
        shard->lower_distances(added, first);
        shard->copy_distances(got.data());
        const std::vector<double> to_added = distances_to(added, rows, execution, workers);
        kept = first ? to_added : lesser(kept, to_added);
        ASSERT_EQ(got, kept);
      };
      for (int redo = 0; redo < 2; ++redo) {  // the second begins with all that the first left
        lower(centroids_near(x, 1, random).centroids(), true);
        for (int step = 0; step < 9; ++step) {
          SCOPED_TRACE(::testing::Message()
                       << isa->name << ' ' << static_cast<int>(kind) << ' ' << redo << ' ' << step);
          const int exponent = 30 - std::ilogb(shard->largest_distance());
          const Matrix candidates = candidates_near(x, step == 7 ? 40 : 5, step % 2 == 0, random);
          for (const int scale : {exponent, exponent - 5}) {
            const std::vector<Mass> masses = shard->masses_with(candidates.centroids(), scale);
            for (std::int64_t c = 0; c < candidates.rows; ++c) {
              const std::vector<double> with =
                  lesser(kept, distances_to({candidates.row(c), 1, d}, rows, execution, workers));
              Mass mass = 0;
              for (std::size_t i = 0; i < with.size(); ++i)
                if (weights[i] > 0)
                  mass += static_cast<Mass>(std::ldexp(with[i], scale)) * static_cast<Mass>(weights[i]);
              ASSERT_TRUE(masses[static_cast<std::size_t>(c)] == mass) << c;
            }
          }
          if (step == 6)
            lower(centroids_near(x, 3, random).centroids(), false);
          else
            lower({step == 5 ? x.row(0) : candidates.row(step % 5), 1, d}, false);
        }
      }
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
