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
          .sketch_element = 1,
          .bound = 2.5,
          .gather_byte = 0.02};
}
constexpr Costs kCosts = costs_of({0.002, 0.1}), kNoInt8 = costs_of({0, 0});

Problem problem(std::int64_t d, std::int64_t k, const char* forced = "") {
  return {.d = d,
          .k = k,
          .size = (d + 15) / 16 * 16,
          .panel_width = 16,
          .first = false,
          .more = true,
          .sketched = true,
          .tiny = false,
          .forced = forced_choice(forced, kCosts)};
}

constexpr Outcome kCalm = {.changed = 0.01, .scored = 1, .most_scored = 1, .gave_up = false};

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
  EXPECT_EQ(name_of(Filter::int8, true), "int8+fp32");
  EXPECT_EQ(name_of(Filter::low_dim, true), "low_dim+fp32");
}

TEST_F(PlanNoOracle, WhatIsForcedIsDoneWhateverTheCosts) {
  const std::pair<const char*, Choice> forced[] = {{"fp32", {Filter::fp32, false}},
                                                   {"low_dim", {Filter::low_dim, false}},
                                                   {"int8", {Filter::int8, false}},
                                                   {"fp32_bounds", {Filter::fp32, true}},
                                                   {"int8_bounds", {Filter::int8, true}}};
  for (const auto& [name, expected] : forced) {
    History history;
    for (const bool gave_up : {false, true, true}) {
      const Plan plan = make_plan(problem(3, 2, name), history, kCosts);
      EXPECT_EQ(plan.filter, expected.filter) << name;
      EXPECT_EQ(plan.bounds, expected.bounds) << name;
      EXPECT_EQ(plan.most_refined, 0.0) << name;
      EXPECT_EQ(plan.most_scored, 1.0) << name;
      history.note({.changed = 1, .scored = 1, .most_scored = plan.most_scored, .gave_up = gave_up});
    }
  }
}

TEST_F(PlanNoOracle, UnknownNamesAndMissingHardware) {
  for (const char* name :
       {"fp16", "INT8", "int8 ", "_bounds", "bounds", "narrow", "low_dim_bounds", "int8_bounds_bounds"})
    expect_contains(message_of<std::runtime_error>([&] { forced_choice(name, kCosts); }),
                    {"FASTKMEANS_FILTER", name, "fp32, low_dim, int8, fp32_bounds, int8_bounds"});
  for (const char* name : {"int8", "int8_bounds"})
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
      history.note({0.01, plan.bounds ? scored : 1, plan.most_scored, false});
    }
    EXPECT_EQ(kept > 60, scored < 0.5);
    EXPECT_GE(kept, 4);
    EXPECT_LE(scored < 0.5 ? 0 : kept, 8);
  }
}

}  // namespace
}  // namespace fastkmeans::testing
