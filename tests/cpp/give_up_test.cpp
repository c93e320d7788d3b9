// SPDX-License-Identifier: Apache-2.0
// Real runs of what the planner chose, or was forced to: names that are refused, filters that are given up on the way,
// tiles left undone.
#include "cpu/give_up.hpp"

#include <atomic>
#include <limits>
#include <thread>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// A name that is wrong is refused by the calls, wherever it comes from.
TEST(GiveUpNoOracle, WrongNamesAreRefused) {
  const Environment wrong("FASTKMEANS_FILTER", "fp64");
  const Matrix x(2, 1, {0, 1});
  Params params;
  params.k = 1;
  params.execution.isa = "baseline";
  expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"FASTKMEANS_FILTER", "fp64"});
  expect_contains(message_of<std::runtime_error>([&] {
                    predict(x.view(), x.view(), {false, params.execution});
                  }),
                  {"FASTKMEANS_FILTER", "fp64"});
  params.execution.filter = "fp32";
  for (const IterationStats& stats : fit(x.view(), params).iterations)
    expect_ran({"baseline", "fp32"}, stats.filter, 1, false);
}

TEST(GiveUpNoOracle, ForcedInt8WhereThereIsNone) {
  Params params;
  params.k = 1;
  const Matrix x(2, 1, {1, 2});
  for (const cpu::Isa* isa : kernel_isas()) {
    const Path path = {std::string(isa->name), "int8"};
    params.execution = on(path);
    if (isa->kernels->sketch) {
      expect_ran(path, fit(x.view(), params).iterations[0].filter, 1, false);
    } else {
      expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"int8", "not available"});
    }
  }
}

// Blobs far apart, each with many centroids close together: a sketch of 8 bits tells the blobs apart, and no more; fp32
// does.
struct Hopeless {
  Matrix x, centroids;
  Hopeless(std::int64_t n, std::int64_t k, Random& random) {
    constexpr std::int64_t d = 128;  // too many for the low_dim filter
    Matrix all = random_rows(Kind::normal, n + k, d, random);
    const Matrix blobs = random_rows(Kind::normal, 3, d, random);
    for (std::int64_t i = 0; i < n + k; ++i)
      for (std::int64_t j = 0; j < d; ++j) all.row(i)[j] += 120 * blobs.row(i % 3)[j];
    x = Matrix(n, d, {all.values.begin(), all.values.begin() + n * d});
    centroids = Matrix(k, d, {all.values.begin() + n * d, all.values.end()});
  }
};

// One assignment by the planner's choice, or by a filter.
Assigned assign_once(Execution execution, const Matrix& x, const Matrix& centroids, std::vector<std::int32_t>& labels,
                     std::vector<float>& distances, bool hint) {
  distances.assign(static_cast<std::size_t>(x.rows), -7);
  const bool known = hint && !labels.empty();
  labels.resize(distances.size());
  const Assigned assigned =
      Assigner(execution, x.view())
          .assign(centroids, known ? labels.data() : nullptr, false, labels.data(), distances.data());
  expect_ran(path_of(execution), assigned.filter, x.cols, are_tiny(centroids));
  return assigned;
}

double cost_of(const Effort& effort, const cpu::Kernels& kernels, std::int64_t d, bool int8) {
  const FilterCosts& costs = int8 ? kernels.costs.int8 : kernels.costs.fp32;
  return static_cast<double>(effort.scored) * (costs.pair + costs.element * static_cast<double>(d)) +
         static_cast<double>(effort.refined) *
             (kernels.costs.distance + kernels.costs.distance_element * static_cast<double>(d));
}

TEST(GiveUpNoOracle, GivingUpChangesNoBitAndCostsLittle) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(100);
  for (const std::int64_t n : {500, 2000}) {
    const Hopeless data(n, 400, random);
    for (const cpu::Isa* isa : kernel_isas()) {
      if (!isa->kernels->sketch) continue;
      for (const int threads : {1, 3})
        for (const std::int64_t chunk : {40, 51'200})
          for (const bool hint : {false, true}) {
            SCOPED_TRACE(::testing::Message() << isa->name << " n " << n << " threads " << threads << " chunk " << chunk
                                              << " hint " << hint);
            Execution execution = on(isa->name, threads);
            execution.chunk_size_data = chunk;
            std::vector<std::int32_t> expected, labels;
            std::vector<float> expected_d, d;
            execution.filter = "fp32";
            const FilterStats brute =
                assign_once(execution, data.x, data.centroids, expected, expected_d, false).filter;
            if (hint) labels = expected;
            execution.filter = "int8";
            const FilterStats sketched_all = assign_once(execution, data.x, data.centroids, labels, d, hint).filter;
            if (hint) labels = expected;
            execution.filter = "";
            const Assigned given_up = assign_once(execution, data.x, data.centroids, labels, d, hint);
            EXPECT_EQ(given_up.filter.filter, "int8+fp32") << "choose other data: int8 went through";
            EXPECT_LT(given_up.filter.refined + given_up.abandoned.refined, sketched_all.refined);
            // Every pair is scored, and counted once, whoever did it.
            EXPECT_EQ(brute.scored, n * 400);
            EXPECT_EQ(given_up.filter.scored, n * 400);
            EXPECT_LE(given_up.filter.refined, n * 400);
            EXPECT_EQ(labels, expected);
            EXPECT_TRUE(same_bits(d, expected_d));
            // Nothing is cheap on a single tile of few rows.
            const double total =
                cost_of(given_up.abandoned, *isa->kernels, data.x.cols, true) +
                cost_of({given_up.filter.scored, given_up.filter.refined}, *isa->kernels, data.x.cols, false);
            EXPECT_LE(total, 2 * cost_of({brute.scored, brute.refined}, *isa->kernels, data.x.cols, false));
          }
    }
  }
}

// Half of the rows are tiny, so each tile is scanned twice, for its tiny rows and for the others; k is off every panel.
TEST(GiveUpNoOracle, NoPairIsCountedTwice) {
  Random random(104);
  Matrix x = random_rows(Kind::normal, 300, 5, random);
  for (std::int64_t i = 0; i < x.rows; i += 2)
    for (std::int64_t j = 0; j < 5; ++j) x.row(i)[j] *= 0x1p-40f;
  Matrix centroids = random_rows(Kind::normal, 37, 5, random);
  for (float& value : centroids.values) value *= 0x1p-50f;  // all of them: else no row counts as tiny
  std::vector<std::int32_t> labels;
  std::vector<float> distances;
  for (const Path& path : kernel_paths(true))
    EXPECT_EQ(assign_once(on(path), x, centroids, labels, distances, false).filter.scored, 300 * 37) << path;
}

// A tile that was refused, or begun and not finished, is undone. While one thread asks again and again, another gives
// up: as long as refuses() marked tiles itself, and read the flag twice for it, 5 to 27 of these 3000 rounds failed.
TEST(GiveUpNoOracle, ARefusedTileIsUndone) {
  for (int repeat = 0; repeat < 3000; ++repeat) {
    cpu::GiveUp give_up(/*rows=*/4, /*tile_rows=*/1, /*most_refined=*/1, /*only=*/nullptr);
    std::atomic<bool> asking{false};
    std::thread other([&] {
      asking = true;
      while (!give_up.refuses(3)) continue;
    });
    while (!asking) std::this_thread::yield();
    give_up.note(0, 1, 0, true);
    give_up.note(1, 1, 100, false);
    other.join();
    ASSERT_EQ(give_up.undone(), (cpu::TileSet{0, 1, 1, 1})) << repeat;
  }
}

// A bad row is seen by both passes, and counted once.
TEST(GiveUpNoOracle, BadRowsOfATileGivenUpAreCountedOnce) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(101);
  Hopeless data(1000, 400, random);
  for (const std::int64_t row : {5, 6, 500, 999}) data.x.row(row)[3] = std::numeric_limits<float>::quiet_NaN();
  data.centroids = Hopeless(400, 400, random).centroids;
  for (const cpu::Isa* isa : kernel_isas())
    for (const int threads : {1, 3}) {
      const Assignment got = assign(on(isa->name, threads), data.x.view(), data.centroids);
      EXPECT_EQ(got.check.bad, 4) << isa->name;
      EXPECT_EQ(got.check.first, 5) << isa->name;
    }
}

TEST(GiveUpNoOracle, LabelsAsHintsSurviveGivingUp) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(102);
  const Hopeless data(2000, 400, random);
  for (const cpu::Isa* isa : kernel_isas()) {
    const Assignment expected = assign(on({std::string(isa->name), "fp32"}), data.x.view(), data.centroids);
    std::vector<std::int32_t> labels(2000);
    for (auto& label : labels) label = static_cast<std::int32_t>(draw(random, 0, 399));
    std::vector<float> distances;
    assign_once(on(isa->name, 2), data.x, data.centroids, labels, distances, true);
    EXPECT_EQ(labels, expected.labels) << isa->name;
    EXPECT_TRUE(same_bits(distances, expected.distances)) << isa->name;
  }
}

// Sketches are kept for the assignments to come; those of tiles given up and of assignments that end a run are not. The
// labels before are of other centroids near by: from there, only what is known of the row itself leads to the nearest.
TEST(GiveUpNoOracle, SketchesThatAreNotThereAreNotUsed) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(105);
  const Hopeless data(1000, 400, random);
  // Where int8 is of use: a centroid at each blob, another aside, and many far away.
  Matrix clear = random_rows(Kind::huge, 400, 128, random);
  std::vector<std::int32_t> clear_expected(1000), clear_others(1000);
  for (std::int64_t c = 0; c < 6; ++c) std::copy_n(data.x.row(c % 3), 128, clear.row(c));
  for (std::int64_t c = 3; c < 6; ++c) clear.row(c)[0] += 100;
  for (std::int32_t i = 0; i < 1000; ++i) {
    clear_expected[static_cast<std::size_t>(i)] = i % 3;
    clear_others[static_cast<std::size_t>(i)] = 3 + i % 3;
  }
  for (const cpu::Isa* isa : kernel_isas()) {
    if (!isa->kernels->sketch) continue;
    const std::vector<std::int32_t> expected =
        assign(on({std::string(isa->name), "fp32"}), data.x.view(), data.centroids).labels;
    std::vector<std::int32_t> others = expected;
    for (auto& label : others) label += label < 397 ? 3 : -3;
    for (const char* filter : {"int8", ""})
      for (const int threads : {1, 4})
        for (const std::int64_t chunk : {5, 51'200}) {
          SCOPED_TRACE(::testing::Message() << isa->name << ' ' << filter << " threads " << threads << ' ' << chunk);
          Execution execution = on({std::string(isa->name), filter}, threads);
          execution.chunk_size_data = chunk;
          Assigner assigner(execution, data.x.view());
          for (int step = 0; step < 6; ++step) {
            const bool hopeless = step < 3;
            std::vector<std::int32_t> labels = hopeless ? others : clear_others;
            std::vector<float> distances(labels.size());
            const FilterStats stats =
                assigner
                    .assign(hopeless ? data.centroids : clear, labels.data(), step > 0, labels.data(), distances.data())
                    .filter;
            EXPECT_EQ(labels, hopeless ? expected : clear_expected) << step;
            if (step == 5) {
              EXPECT_EQ(stats.filter, "int8") << "choose other data: the planner took another filter";
            }
          }
        }
  }
}

// Whole fits in which the planner gives up, rests and tries again.
TEST(GiveUp, FitsThatGiveUpEqualTheOracle) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  Random random(103);
  const Hopeless data(1500, 1, random);
  Params params;
  params.k = 400;
  params.niter = 12;
  params.tol = -1;
  params.execution.isa = "scalar";
  const Result expected = fit(data.x.view(), params);
  for (const cpu::Isa* isa : kernel_isas())
    for (const int threads : {1, 3}) {
      params.execution = on(isa->name, threads);
      if (threads == 3) params.execution.chunk_size_data = 100;
      const Result got = fit(data.x.view(), params);
      EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << isa->name;
      EXPECT_EQ(got.labels, expected.labels) << isa->name;
      EXPECT_EQ(got.inertia, expected.inertia) << isa->name;
      int int8 = 0;
      for (const IterationStats& stats : got.iterations) {
        int8 += stats.filter.filter.starts_with("int8");
        EXPECT_LE(stats.filter.scored, 1500 * 400) << isa->name;
      }
      if (isa->kernels->sketch) {
        EXPECT_GT(int8, 1) << isa->name;
        EXPECT_LT(int8, 12) << isa->name << ": never rests";
      }
    }
}

}  // namespace
}  // namespace fastkmeans::testing
