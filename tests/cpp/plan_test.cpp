// SPDX-License-Identifier: Apache-2.0
// What is planned, from figures alone: no hardware, no data.
#include "plan/plan.hpp"

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Near those of a real machine: int8 is cheap for each element and dear for each pair, low_dim is cheap for each row.
constexpr Costs costs_of(FilterCosts int8) {
  return {.fp32 = {.element = 0.01, .pair = 0.01},
          .low_dim = {.element = 0.0115, .pair = 0.05},
          .int8 = int8,
          .row = 60,
          .low_dim_row = 20,
          .distance = 5,
          .distance_element = 0.05,
          .far_distance_element = 0.15,
          .sketch_element = 1,
          .bound = 2.5,
          .gather_byte = 0.02};
}
constexpr Costs kCosts = costs_of({0.002, 0.1}), kNoInt8 = costs_of({0, 0});

Problem problem(std::int64_t d, std::int64_t k, const char* forced = "") {
  return {.rows = 1000,
          .d = d,
          .k = k,
          .size = (d + 15) / 16 * 16,
          .panel_width = 16,
          .most_groups = 512,
          .first = false,
          .more = true,
          .sketched = true,
          .narrow = {},
          .tiny = false,
          .forced = forced_choice(forced, kCosts)};
}

constexpr Outcome kCalm = {.changed = 0.01, .scored = 0, .most_scored = 1, .gave_up = false};

History after(std::initializer_list<Outcome> outcomes) {
  History history;
  for (const Outcome& outcome : outcomes) history.note(outcome);
  return history;
}

Plan planned(const Problem& problem, const Costs& costs = kCosts) { return make_plan(problem, after({kCalm}), costs); }
Filter filter_of(const Problem& problem, const Costs& costs = kCosts) { return planned(problem, costs).filter; }

class PlanNoOracle : public ::testing::Test {
  const Environment none_{"FASTKMEANS_FILTER", nullptr};
};

TEST_F(PlanNoOracle, NamesOfFilters) {
  EXPECT_EQ(name_of(Filter::fp32), "fp32");
  EXPECT_EQ(name_of(Filter::low_dim), "low_dim");
  EXPECT_EQ(name_of(Filter::int8), "int8");
  EXPECT_EQ(name_of(Filter::int8, Filter::fp32), "int8+fp32");
  EXPECT_EQ(name_of(Filter::narrow), "narrow");
  EXPECT_EQ(name_of(Filter::narrow, Filter::int8), "narrow+int8");
  EXPECT_EQ(name_of(Filter::narrow, Filter::fp32), "narrow+fp32");
  EXPECT_EQ(name_of(Filter::low_dim, Filter::fp32), "low_dim+fp32");
}

TEST_F(PlanNoOracle, WhatIsForcedIsDoneWhateverTheCosts) {
  const std::pair<const char*, Choice> forced[] = {
      {"fp32", {Filter::fp32, false}},          {"low_dim", {Filter::low_dim, false}},
      {"int8", {Filter::int8, false}},          {"fp32_bounds", {Filter::fp32, true}},
      {"int8_bounds", {Filter::int8, true}},    {"narrow", {Filter::narrow, false}},
      {"narrow_bounds", {Filter::narrow, true}}};
  for (const auto& [name, expected] : forced) {
    History history;
    for (const bool gave_up : {false, true, true}) {
      Problem forced_problem = problem(3, 2, name);
      forced_problem.narrow.size = 64;
      const Plan plan = make_plan(forced_problem, history, kCosts);
      EXPECT_EQ(plan.filter, expected.filter) << name;
      EXPECT_EQ(plan.bounds, expected.bounds) << name;
      EXPECT_EQ(plan.most_refined, 0.0) << name;
      EXPECT_EQ(plan.most_scored, 1.0) << name;
      history.note({.changed = 1, .scored = 0, .most_scored = plan.most_scored, .gave_up = gave_up});
    }
  }
}

TEST_F(PlanNoOracle, UnknownNamesAndMissingHardware) {
  for (const char* name :
       {"fp16", "INT8", "int8 ", "_bounds", "bounds", "narrowest", "low_dim_bounds", "int8_bounds_bounds"})
    expect_contains(
        message_of<std::runtime_error>([&] { forced_choice(name, kCosts); }),
        {"FASTKMEANS_FILTER", name, "fp32, low_dim, int8, narrow, fp32_bounds, int8_bounds, narrow_bounds"});
  for (const char* name : {"int8", "int8_bounds", "narrow", "narrow_bounds"})
    expect_contains(message_of<std::runtime_error>([&] { forced_choice(name, kNoInt8); }),
                    {"FASTKMEANS_FILTER", name, "not available"});
  EXPECT_NO_THROW(forced_choice("fp32_bounds", kNoInt8));
}

TEST_F(PlanNoOracle, TheEnvironmentDecidesUnlessANameIsGiven) {
  EXPECT_FALSE(forced_choice("", kCosts));
  {
    const Environment set("FASTKMEANS_FILTER", "fp32_bounds");
    EXPECT_TRUE(forced_choice("", kCosts)->bounds);
    EXPECT_FALSE(forced_choice("fp32", kCosts)->bounds);
  }
  const Environment empty("FASTKMEANS_FILTER", "");
  EXPECT_FALSE(forced_choice("", kCosts));
}

TEST_F(PlanNoOracle, TinyDataIsScoredInFp32) {
  for (const char* name : {"", "fp32", "low_dim", "int8", "fp32_bounds", "int8_bounds"}) {
    Problem tiny = problem(1000, 10'000, name);
    tiny.tiny = true;
    const Plan plan = planned(tiny);
    EXPECT_EQ(plan.filter, Filter::fp32) << name;
    EXPECT_FALSE(plan.bounds) << name;
  }
}

TEST_F(PlanNoOracle, Int8WhereItPays) {
  EXPECT_EQ(filter_of(problem(384, 1000)), Filter::int8);
  EXPECT_EQ(filter_of(problem(4, 1000)), Filter::fp32) << "a pair costs more than its few elements";
  Problem fresh = problem(384, 4);
  EXPECT_EQ(filter_of(fresh), Filter::int8);
  fresh.sketched = false;
  EXPECT_EQ(filter_of(fresh), Filter::fp32) << "making sketches costs more than they save";
  fresh.k = 100;
  EXPECT_EQ(filter_of(fresh), Filter::int8) << "they serve more than once";
  fresh.more = false;
  EXPECT_EQ(filter_of(fresh), Filter::fp32);
  Problem none = problem(384, 1000);
  none.size = 0;
  EXPECT_EQ(filter_of(none), Filter::fp32);
}

TEST_F(PlanNoOracle, LowDimForFewDimensionsAndCentroids) {
  const Plan plan = planned(problem(4, 100));
  EXPECT_EQ(plan.filter, Filter::low_dim);
  EXPECT_FALSE(plan.bounds);
  EXPECT_GT(plan.most_refined, 0);
  EXPECT_LE(plan.most_refined * (5 + 0.05 * 4), 100 * (0.01 + 0.01 * 4) + 60 - 100 * (0.05 + 0.0115 * 4) - 20);
  EXPECT_EQ(filter_of(problem(4, 1000)), Filter::fp32) << "a pair costs more";
  for (const char* name : {"", "low_dim"}) {
    EXPECT_EQ(filter_of(problem(64, 4, name), kNoInt8), Filter::low_dim) << name;
    EXPECT_EQ(filter_of(problem(65, 4, name), kNoInt8), Filter::fp32) << name << ": the columns fill the cache";
  }
}

// The integers' sums are exact up to 16384 elements, and 32 bits are enough: no name may go beyond.
TEST_F(PlanNoOracle, SketchesAreNotTooLarge) {
  for (const char* name : {"", "int8", "int8_bounds"}) {
    EXPECT_EQ(filter_of(problem(16384, 1000, name)), Filter::int8) << name;
    EXPECT_EQ(filter_of(problem(16385, 1000, name)), Filter::fp32) << name;
  }
}

// Sketches of 64 elements in place of 768, with so many more survivors.
Problem with_narrow(double survivors, const char* forced = "") {
  Problem wide = problem(768, 1000, forced);
  wide.narrow = {.size = 64, .survivors = survivors + 2, .full_survivors = 2, .sketched = true};
  return wide;
}

TEST_F(PlanNoOracle, NarrowSketchesWhereTheyCostLess) {
  const double distance = 5 + 3 * 0.05 * 768;  // the centroids fill the caches
  const double wide = 1000 * (0.1 + 0.002 * 768) + 60 + 2 * distance;
  const double small = 1000 * (0.1 + 0.002 * 64) + 60 + 2 * distance;
  const Plan plan = planned(with_narrow(2));
  EXPECT_EQ(plan.filter, Filter::narrow);
  EXPECT_DOUBLE_EQ(plan.expected.narrow, small + 2 * distance);
  EXPECT_GT(plan.most_refined, 2 * 4);  // twice what is expected, and what is saved
  EXPECT_LT(plan.most_refined, 2 * 4 + (wide - plan.expected.narrow) / distance);
  const double even = (wide - small) / distance;  // survivors that a sketch of all dimensions is worth
  EXPECT_EQ(filter_of(with_narrow(even - 0.1)), Filter::narrow);
  EXPECT_EQ(filter_of(with_narrow(even + 0.1)), Filter::int8);
  EXPECT_EQ(filter_of(with_narrow(-1)), Filter::narrow) << "fewer survivors are luck";
  EXPECT_DOUBLE_EQ(planned(with_narrow(-1)).expected.narrow, small - distance);
  EXPECT_DOUBLE_EQ(plan.expected.int8, wide);
  Problem first = with_narrow(2);
  first.first = true;
  EXPECT_DOUBLE_EQ(planned(first).expected.narrow, small - 2 * distance + 4 * 4 * distance)
      << "many on the way to the nearest";
  Problem fresh = with_narrow(2);
  fresh.narrow.sketched = false;
  EXPECT_DOUBLE_EQ(planned(fresh).expected.narrow, small + 2 * distance + 64 * (1 + 0.01 * 768) / 5);
  fresh.more = false;
  EXPECT_DOUBLE_EQ(planned(fresh).expected.narrow, small + 2 * distance + 64 * (1 + 0.01 * 768));
  Problem near = with_narrow(2);
  near.k = 4;
  EXPECT_DOUBLE_EQ(planned(near).expected.narrow, 4 * (0.1 + 0.002 * 64) + 60 + 4 * (5 + 0.05 * 768));
  EXPECT_NE(to_string(plan).find("narrow"), std::string::npos);
  first.sketched = false;  // sketches of all dimensions may not serve a second time
  EXPECT_DOUBLE_EQ(planned(first).expected.int8, wide + 6 * distance + 768);
  first.first = false;
  EXPECT_DOUBLE_EQ(planned(first).expected.int8, wide + 768 / 5.0);
}

TEST_F(PlanNoOracle, NarrowSketchesForcedOrMissing) {
  EXPECT_EQ(filter_of(with_narrow(1e9, "narrow")), Filter::narrow);
  EXPECT_TRUE(planned(with_narrow(1e9, "narrow_bounds")).bounds);
  EXPECT_EQ(filter_of(problem(768, 1000, "narrow")), Filter::fp32) << "there are none";
  Problem tiny = with_narrow(0, "narrow");
  tiny.tiny = true;
  EXPECT_EQ(filter_of(tiny), Filter::fp32);
  EXPECT_TRUE(std::isinf(row_costs(tiny, kCosts).narrow));
  EXPECT_FALSE(std::isinf(row_costs(with_narrow(0), kCosts).narrow));
}

// What is beyond the limit would cost more than scores in fp32, and who finishes is who is cheaper.
TEST_F(PlanNoOracle, NarrowSketchesEndWhereFp32IsFaster) {
  const double distance = 5 + 3 * 0.05 * 768, fp32 = 1000 * (0.01 + 0.01 * 768) + 60;
  Problem many = with_narrow(40);  // full ones leave as many: tight clumps, say
  many.narrow.full_survivors = 42;
  const Plan plan = planned(many);
  EXPECT_EQ(plan.filter, Filter::narrow);
  EXPECT_LE(plan.most_refined * distance + 1000 * (0.1 + 0.002 * 64) + 60, fp32);
  EXPECT_EQ(plan.next(), Filter::int8);
  many.narrow.survivors = many.narrow.full_survivors = 70;
  EXPECT_EQ(planned(many).filter, Filter::fp32) << "both leave too many";
  Problem long_rows = with_narrow(2);
  long_rows.size = long_rows.d = 16'385;
  EXPECT_EQ(filter_of(long_rows), Filter::fp32) << "int8 could not finish";
  Plan forced = planned(with_narrow(2));
  EXPECT_EQ(forced.next(), Filter::int8);
  forced.expected.int8 = 2 * forced.expected.fp32;
  EXPECT_EQ(forced.next(), Filter::fp32);
  EXPECT_EQ(planned(problem(384, 1000)).next(), Filter::fp32);
}

// Narrow sketches that were given up rest alone.
TEST_F(PlanNoOracle, Int8TakesOverWhereNarrowGaveUp) {
  Outcome gave_up = kCalm;
  gave_up.gave_up = gave_up.narrow = true;
  EXPECT_EQ(make_plan(with_narrow(2), after({gave_up}), kCosts).filter, Filter::int8);
  EXPECT_EQ(make_plan(with_narrow(2), after({gave_up, kCalm}), kCosts).filter, Filter::narrow);
  EXPECT_EQ(make_plan(with_narrow(2), after({gave_up, kCalm, gave_up, kCalm}), kCosts).filter, Filter::int8);
}

TEST_F(PlanNoOracle, CostsAreMeasuredInLongFitsAlone) {
  Problem some = problem(384, 1000);
  const auto worth = [&](std::int64_t rows, int threads) {
    some.rows = rows;
    return worth_calibrating(some, kCosts, threads);
  };
  const auto second = static_cast<std::int64_t>(1e9 / 5 / (1000 * (0.1 + 0.002 * 384) + 60));
  EXPECT_FALSE(worth(second - 100, 1));
  EXPECT_TRUE(worth(second + 100, 1));
  EXPECT_FALSE(worth(3 * second, 4));
  EXPECT_TRUE(worth(5 * second, 4));
  some.more = false;
  EXPECT_FALSE(worth(4 * second, 1)) << "one assignment alone";
  some.forced = Choice{Filter::int8, true};
  EXPECT_FALSE(worth(1'000'000'000, 1));
}

// A survey is made where it is a small part of what is spent on scores, or where narrow sketches are forced.
TEST_F(PlanNoOracle, SurveysWhereTheyCostLittle) {
  Problem some = problem(768, 2621);
  const auto worth = [&](std::int64_t rows) {
    some.rows = rows;
    return worth_a_survey(some, kCosts);
  };
  EXPECT_FALSE(worth(10'000));
  EXPECT_TRUE(worth(300'000));
  some.more = false;
  EXPECT_FALSE(worth(300'000)) << "one assignment alone";
  EXPECT_TRUE(worth(3'000'000));
  EXPECT_FALSE(worth_a_survey(some, kNoInt8));
  some.tiny = true;
  EXPECT_FALSE(worth_a_survey(some, kCosts));
  EXPECT_FALSE(worth_a_survey(problem(16'385, 2, "narrow"), kCosts));
  Problem few = problem(128, 100'000);
  few.rows = 1'000'000'000;
  EXPECT_FALSE(worth_a_survey(few, kCosts)) << "rows are short already";
  EXPECT_TRUE(worth_a_survey(problem(3, 2, "narrow"), kCosts));
  EXPECT_TRUE(worth_a_survey(problem(3, 2, "narrow_bounds"), kCosts));
  EXPECT_FALSE(worth_a_survey(problem(768, 100'000, "int8"), kCosts));
}

// Scores that take three times as long are worth a survey three times as dear.
TEST_F(PlanNoOracle, ATrialWhereItMayDecideOnASurvey) {
  Problem some = problem(768, 2621);
  some.first = true;
  some.sketched = false;
  const auto least_rows = [&](double slower) {
    some.rows = 1;
    while (!worth_a_survey(some, kCosts, slower)) some.rows += 10;
    return some.rows;
  };
  const std::int64_t sure = least_rows(1), perhaps = least_rows(kMostSlower);
  EXPECT_NEAR(static_cast<double>(sure), static_cast<double>(kMostSlower * perhaps), 40);
  some.rows = perhaps - 20;
  EXPECT_FALSE(worth_a_trial(some, kCosts, 1)) << "a survey costs too much";
  some.rows = sure;
  EXPECT_FALSE(worth_a_trial(some, kCosts, 1)) << "a survey it is, whatever a trial says";
  some.rows = perhaps;
  EXPECT_TRUE(worth_a_trial(some, kCosts, 1));
  EXPECT_TRUE(worth_a_trial(some, kCosts, some.rows / 16));
  EXPECT_FALSE(worth_a_trial(some, kCosts, some.rows / 16 + 1)) << "too many rows are assigned twice";
  some.more = false;
  some.rows = perhaps * 5;
  EXPECT_FALSE(worth_a_trial(some, kCosts, 1)) << "one assignment alone";
  some.more = true;
  some.rows = perhaps;
  some.first = false;
  EXPECT_FALSE(worth_a_trial(some, kCosts, 1)) << "labels are known, and may lie where the trial writes";
  some.first = true;
  for (const char* name : {"int8", "narrow", "narrow_bounds"}) {
    some.forced = forced_choice(name, kCosts);
    EXPECT_FALSE(worth_a_trial(some, kCosts, 1)) << name;
  }
}

TEST_F(PlanNoOracle, ATrialCountsSketchesAndDistances) {
  Problem some = problem(768, 1000);
  some.first = true;
  some.sketched = false;
  const double row = 1000 * (0.1 + 0.002 * 768) + 768 + 60, distance = 5 + 3 * 0.05 * 768;
  const auto slower_by = [&](double nanoseconds) {
    return slower(some, kCosts, {.rows = 64, .refined = 200, .nanoseconds = nanoseconds});
  };
  const double expected = 64 * row + 200 * distance;
  EXPECT_DOUBLE_EQ(slower_by(2 * expected), 2);
  EXPECT_EQ(slower_by(0.5 * expected), 1);
  EXPECT_EQ(slower_by(100 * expected), kMostSlower);
}

TEST_F(PlanNoOracle, RefiningMayNotCostWhatTheSketchesSave) {
  const Plan plan = planned(problem(384, 1000));
  const double fp32 = 1000 * (0.01 + 0.01 * 384), int8 = 1000 * (0.1 + 0.002 * 384);
  EXPECT_GT(plan.most_refined, 0);
  EXPECT_LE(plan.most_refined * (5 + 0.05 * 384), fp32 - int8);
  EXPECT_EQ(planned(problem(4, 1000)).most_refined, 0.0) << "fp32 has no limit";
}

TEST_F(PlanNoOracle, RestsAfterGivingUpAreLongerAndLonger) {
  History history;
  std::vector<int> tried;
  for (int call = 0; call < 64; ++call) {
    Outcome outcome = kCalm;
    outcome.gave_up = make_plan(problem(384, 1000), history, kCosts).filter == Filter::int8;
    if (outcome.gave_up) tried.push_back(call);
    history.note(outcome);
  }
  ASSERT_GE(tried.size(), 4u);
  EXPECT_LE(tried.size(), 8u);
  EXPECT_EQ(tried[0], 0);
  for (std::size_t i = 2; i < tried.size(); ++i) EXPECT_GT(tried[i] - tried[i - 1], tried[i - 1] - tried[i - 2]);
  // One that does not give up is kept.
  History content;
  for (int call = 0; call < 10; ++call) {
    EXPECT_EQ(make_plan(problem(384, 1000), content, kCosts).filter, Filter::int8);
    content.note(kCalm);
  }
}

TEST_F(PlanNoOracle, BoundsWhereManyGroupsAndCalmOrCheap) {
  EXPECT_FALSE(planned(problem(384, 63)).bounds) << "fewer than four groups";
  EXPECT_TRUE(planned(problem(384, 64)).bounds);
  // d = 1: a group's bound costs 2.5, its pairs 16 (0.01 + 0.01) = 0.32.
  EXPECT_FALSE(planned(problem(1, 4000)).bounds) << "bounds cost more than they save";
  // d = 200: 16 pairs 8 in int8, so that a bound costs a third of them: only where few rows change.
  Problem some = problem(200, 1000);
  Outcome restless = kCalm;
  restless.changed = 0.5;
  EXPECT_FALSE(make_plan(some, {}, kCosts).bounds) << "nothing is known yet";
  EXPECT_FALSE(make_plan(some, after({restless}), kCosts).bounds) << "half of the rows changed";
  EXPECT_TRUE(make_plan(some, after({restless, kCalm}), kCosts).bounds) << "calm";
  some.first = true;
  EXPECT_FALSE(make_plan(some, after({kCalm}), kCosts).bounds) << "another run begins";
  Problem many = problem(200, 8000);
  EXPECT_FALSE(make_plan(many, {}, kCosts).bounds);
  many.most_groups = 100;
  EXPECT_TRUE(make_plan(many, {}, kCosts).bounds) << "five panels share a bound";
  EXPECT_TRUE(make_plan(problem(8000, 1000), {}, kCosts).bounds) << "cheap";
}

// Bounds that exclude too little to pay rest, longer and longer.
TEST_F(PlanNoOracle, BoundsThatExcludeNothingRest) {
  for (const double scored : {0.2, 0.999}) {
    History history;
    int kept = 0;
    for (int call = 0; call < 64; ++call) {
      const Plan plan = make_plan(problem(8000, 1000), history, kCosts);
      kept += plan.bounds;
      history.note({0.01, plan.bounds ? scored : 0, plan.most_scored, false});
    }
    EXPECT_EQ(kept > 60, scored < 0.5);
    EXPECT_GE(kept, 4);
    EXPECT_LE(scored < 0.5 ? 0 : kept, 10);
  }
}

// One assignment in which many centroids moved far says nothing about the next.
TEST_F(PlanNoOracle, OneBadAssignmentDoesNotGiveBoundsUp) {
  const auto kept_after = [&](std::initializer_list<double> scored) {
    History history;
    for (const double share : scored) history.note({0.01, share, 0.8, false});
    return make_plan(problem(8000, 1000), history, kCosts).bounds;
  };
  EXPECT_TRUE(kept_after({0.9}));
  EXPECT_TRUE(kept_after({0.9, 0.3, 0.9}));
  EXPECT_FALSE(kept_after({0.9, 0.9}));
  EXPECT_FALSE(kept_after({0.9, 1.1})) << "movers are scored twice";
}

TEST_F(PlanNoOracle, PlansAreALine) {
  EXPECT_EQ(to_string(planned(problem(3, 2, "fp32"), kNoInt8)), "fp32; ns a row: fp32 60.08, low_dim 20.17, int8 60");
  EXPECT_EQ(to_string(planned(problem(4, 100))),
            "low_dim, distances a row at most 5.446; ns a row: fp32 65, low_dim 29.6, int8 73.2");
  EXPECT_EQ(to_string(planned(problem(384, 1000))),
            "int8 with bounds, distances a row at most 38.11, share of pairs scored at most 0.5933; "
            "ns a row: fp32 3910, int8 928");
  Problem tiny = problem(4, 100, "int8_bounds");
  tiny.tiny = true;
  EXPECT_EQ(to_string(planned(tiny)), "fp32; ns a row: fp32 65") << "no other filter takes these rows";
}

}  // namespace
}  // namespace fastkmeans::testing
