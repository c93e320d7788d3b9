// SPDX-License-Identifier: Apache-2.0
// Which filter is used, and what happens where it was the wrong one.
#include "plan/plan.hpp"

#include <atomic>
#include <limits>
#include <thread>

#include "cpu/give_up.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Near those of a real machine: int8 is cheap for each element and dear for each pair, narrow is cheap for each row.
constexpr Costs costs_of(FilterCosts int8) {
  Costs costs = {};
  costs.fp32 = {0.01, 0.01};
  costs.narrow = {0.0115, 0.05};
  costs.int8 = int8;
  costs.row = 60;
  costs.narrow_row = 20;
  costs.distance = 5;
  costs.distance_element = 0.05;
  costs.sketch_element = 1;
  costs.bound = 2.5;
  costs.gather_byte = 0.02;
  return costs;
}
constexpr Costs kCosts = costs_of({0.002, 0.1}), kNoInt8 = costs_of({0, 0});

Work work(std::int64_t d, std::int64_t k) { return {d, k, (d + 15) / 16 * 16, 16, false, true, true, false}; }

Plan planned(const Work& work, const Costs& costs = kCosts) {
  Planner planner(costs, "");
  planner.report(0.01, 1, false);  // calm
  return planner.plan(work);
}

TEST(PlanNoOracle, NamesOfFilters) {
  EXPECT_EQ(name_of(Filter::fp32), "fp32");
  EXPECT_EQ(name_of(Filter::narrow), "narrow");
  EXPECT_EQ(name_of(Filter::int8), "int8");
  EXPECT_EQ(name_of(Filter::int8, true), "int8+fp32");
  EXPECT_EQ(name_of(Filter::narrow, true), "narrow+fp32");
  const std::pair<const char*, Plan> forced[] = {{"fp32", {Filter::fp32, false, 0}},
                                                 {"narrow", {Filter::narrow, false, 0}},
                                                 {"int8", {Filter::int8, false, 0}},
                                                 {"fp32_bounds", {Filter::fp32, true, 0}},
                                                 {"int8_bounds", {Filter::int8, true, 0}}};
  for (const auto& [name, expected] : forced) {
    Planner planner(kCosts, name);
    for (const bool gave_up : {false, true, true}) {
      const Plan plan = planner.plan(work(3, 2));  // whatever the costs
      EXPECT_EQ(plan.filter, expected.filter) << name;
      EXPECT_EQ(plan.bounds, expected.bounds) << name;
      EXPECT_EQ(plan.most_refined, 0.0) << name;
      planner.report(1, 1, gave_up);
    }
  }
}

TEST(PlanNoOracle, UnknownNamesAndMissingHardware) {
  for (const char* name : {"fp16", "INT8", "int8 ", "_bounds", "bounds", "narrow_bounds", "int8_bounds_bounds"})
    expect_contains(message_of<std::runtime_error>([&] { Planner(kCosts, name); }),
                    {"FASTKMEANS_FILTER", name, "fp32, narrow, int8, fp32_bounds, int8_bounds"});
  for (const char* name : {"int8", "int8_bounds"})
    expect_contains(message_of<std::runtime_error>([&] { Planner(kNoInt8, name); }),
                    {"FASTKMEANS_FILTER", name, "not available"});
  EXPECT_NO_THROW(Planner(kNoInt8, "fp32_bounds"));
}

TEST(PlanNoOracle, TheEnvironmentDecidesUnlessANameIsGiven) {
  const Environment set("FASTKMEANS_FILTER", "fp32_bounds");
  EXPECT_TRUE(Planner(kCosts, "").plan(work(3, 2)).bounds);
  EXPECT_FALSE(Planner(kCosts, "fp32").plan(work(3, 2)).bounds);
  {
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
    EXPECT_NO_THROW(fit(x.view(), params));
  }
  const Environment empty("FASTKMEANS_FILTER", "");
  EXPECT_FALSE(Planner(kCosts, "").plan(work(3, 2)).bounds);
}

TEST(PlanNoOracle, ForcedInt8WhereThereIsNone) {
  Params params;
  params.k = 1;
  const Matrix x(2, 1, {0, 1});
  for (const cpu::Isa* isa : kernel_isas()) {
    params.execution.isa = isa->name;
    params.execution.filter = "int8";
    if (isa->kernels->sketch) {
      EXPECT_NO_THROW(fit(x.view(), params)) << isa->name;
    } else {
      expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"int8", "not available"});
    }
  }
}

TEST(PlanNoOracle, TinyDataIsScoredInFp32) {
  for (const char* name : {"", "fp32", "narrow", "int8", "fp32_bounds", "int8_bounds"}) {
    Work tiny = work(1000, 10'000);
    tiny.tiny = true;
    const Plan plan = Planner(kCosts, name).plan(tiny);
    EXPECT_EQ(plan.filter, Filter::fp32) << name;
    EXPECT_FALSE(plan.bounds) << name;
  }
}

TEST(PlanNoOracle, Int8WhereItPays) {
  EXPECT_EQ(planned(work(384, 1000)).filter, Filter::int8);
  EXPECT_EQ(planned(work(4, 1000)).filter, Filter::fp32) << "a pair costs more than its few elements";
  Work fresh = work(384, 4);
  EXPECT_EQ(planned(fresh).filter, Filter::int8);
  fresh.sketched = false;
  EXPECT_EQ(planned(fresh).filter, Filter::fp32) << "making sketches costs more than they save";
  fresh.k = 100;
  EXPECT_EQ(planned(fresh).filter, Filter::int8) << "they serve more than once";
  fresh.again = false;
  EXPECT_EQ(planned(fresh).filter, Filter::fp32);
  Work none = work(384, 1000);
  none.size = 0;
  EXPECT_EQ(planned(none).filter, Filter::fp32);
}

TEST(PlanNoOracle, NarrowForFewDimensionsAndCentroids) {
  const Plan plan = planned(work(4, 100));
  EXPECT_EQ(plan.filter, Filter::narrow);
  EXPECT_FALSE(plan.bounds);
  EXPECT_GT(plan.most_refined, 0);
  EXPECT_LE(plan.most_refined * (5 + 0.05 * 4), 100 * (0.01 + 0.01 * 4) + 60 - 100 * (0.05 + 0.0115 * 4) - 20);
  EXPECT_EQ(planned(work(4, 1000)).filter, Filter::fp32) << "a pair costs more";
  for (const char* name : {"", "narrow"}) {
    EXPECT_EQ(Planner(kNoInt8, name).plan(work(64, 4)).filter, Filter::narrow) << name;
    EXPECT_EQ(Planner(kNoInt8, name).plan(work(65, 4)).filter, Filter::fp32) << name << ": the columns fill the cache";
  }
}

// The integers' sums are exact up to 16384 elements, and 32 bits are enough: no name may go beyond.
TEST(PlanNoOracle, SketchesAreNotTooLarge) {
  for (const char* name : {"", "int8", "int8_bounds"}) {
    EXPECT_EQ(Planner(kCosts, name).plan(work(16384, 1000)).filter, Filter::int8) << name;
    EXPECT_EQ(Planner(kCosts, name).plan(work(16385, 1000)).filter, Filter::fp32) << name;
  }
}

TEST(PlanNoOracle, RefiningMayNotCostWhatTheSketchesSave) {
  const Plan plan = planned(work(384, 1000));
  const double fp32 = 1000 * (0.01 + 0.01 * 384), int8 = 1000 * (0.1 + 0.002 * 384);
  EXPECT_GT(plan.most_refined, 0);
  EXPECT_LE(plan.most_refined * (5 + 0.05 * 384), fp32 - int8);
  EXPECT_EQ(planned(work(4, 1000)).most_refined, 0.0) << "fp32 has no limit";
}

TEST(PlanNoOracle, RestsAfterGivingUpAreLongerAndLonger) {
  Planner planner(kCosts, "");
  std::vector<int> tried;
  for (int call = 0; call < 64; ++call) {
    const bool int8 = planner.plan(work(384, 1000)).filter == Filter::int8;
    if (int8) tried.push_back(call);
    planner.report(0.01, 1, int8);
  }
  ASSERT_GE(tried.size(), 4u);
  EXPECT_LE(tried.size(), 8u);
  EXPECT_EQ(tried[0], 0);
  for (std::size_t i = 2; i < tried.size(); ++i) EXPECT_GT(tried[i] - tried[i - 1], tried[i - 1] - tried[i - 2]);
  // One that does not give up is kept.
  Planner content(kCosts, "");
  for (int call = 0; call < 10; ++call) {
    EXPECT_EQ(content.plan(work(384, 1000)).filter, Filter::int8);
    content.report(0.01, 1, false);
  }
}

TEST(PlanNoOracle, BoundsWhereManyGroupsAndCalmOrCheap) {
  EXPECT_FALSE(planned(work(384, 63)).bounds) << "fewer than four groups";
  EXPECT_TRUE(planned(work(384, 64)).bounds);
  // d = 1: a group's bound costs 2.5, its pairs 16 (0.01 + 0.01) = 0.32.
  EXPECT_FALSE(planned(work(1, 4000)).bounds) << "bounds cost more than they save";
  // d = 200: 16 pairs 8 in int8, so that a bound costs a third of them: only where few rows change.
  Planner planner(kCosts, "");
  EXPECT_FALSE(planner.plan(work(200, 1000)).bounds) << "nothing is known yet";
  planner.report(0.5, 1, false);
  EXPECT_FALSE(planner.plan(work(200, 1000)).bounds) << "half of the rows changed";
  planner.report(0.01, 1, false);
  EXPECT_TRUE(planner.plan(work(200, 1000)).bounds) << "calm";
  Work first = work(200, 1000);
  first.first = true;
  EXPECT_FALSE(planner.plan(first).bounds) << "another run begins";
  EXPECT_TRUE(Planner(kCosts, "").plan(work(8000, 1000)).bounds) << "cheap";
}

// Bounds that exclude too little to pay rest, longer and longer.
TEST(PlanNoOracle, BoundsThatExcludeNothingRest) {
  for (const double scored : {0.2, 0.999}) {
    Planner planner(kCosts, "");
    int kept = 0;
    for (int call = 0; call < 64; ++call) {
      const bool bounds = planner.plan(work(8000, 1000)).bounds;
      kept += bounds;
      planner.report(0.01, bounds ? scored : 1, false);
    }
    EXPECT_EQ(kept > 60, scored < 0.5);
    EXPECT_GE(kept, 4);
    EXPECT_LE(scored < 0.5 ? 0 : kept, 8);
  }
}

// --- Giving up ---

// Blobs far apart, each with many centroids close together: a sketch of 8 bits tells the blobs apart, and no more; fp32
// does.
struct Hopeless {
  Matrix x, centroids;
  Hopeless(std::int64_t n, std::int64_t k, Random& random) {
    constexpr std::int64_t d = 128;  // too many for the narrow filter
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
  Workers workers(execution.n_threads, {});
  distances.assign(static_cast<std::size_t>(x.rows), -7);
  const bool known = hint && !labels.empty();
  labels.resize(distances.size());
  return make_backend(execution, workers)
      ->assign(x.view(), centroids.centroids(), known ? labels.data() : nullptr, false, labels.data(),
               distances.data());
}

double cost_of(const Effort& effort, const cpu::Kernels& kernels, std::int64_t d, bool int8) {
  const FilterCosts& costs = int8 ? kernels.costs.int8 : kernels.costs.fp32;
  return static_cast<double>(effort.scored) * (costs.pair + costs.element * static_cast<double>(d)) +
         static_cast<double>(effort.refined) *
             (kernels.costs.distance + kernels.costs.distance_element * static_cast<double>(d));
}

TEST(PlanNoOracle, GivingUpChangesNoBitAndCostsLittle) {
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
TEST(PlanNoOracle, NoPairIsCountedTwice) {
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
TEST(PlanNoOracle, ARefusedTileIsUndone) {
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
TEST(PlanNoOracle, BadRowsOfATileGivenUpAreCountedOnce) {
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

TEST(PlanNoOracle, LabelsAsHintsSurviveGivingUp) {
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

// Whole fits in which the planner gives up, rests and tries again.
TEST(Plan, FitsThatGiveUpEqualTheOracle) {
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
