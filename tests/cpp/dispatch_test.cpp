// SPDX-License-Identifier: Apache-2.0
#include "cpu/dispatch.hpp"

#include "cpu/calibrate.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

TEST(DispatchNoOracle, AllNamesAreKnownAndThePlainOnesAvailable) {
  std::vector<std::string> names;
  for (const InstructionSet& set : instruction_sets()) {
    names.push_back(set.name);
    if (set.available) {
      EXPECT_EQ(chosen_isa(set.name), set.name);
    } else {
      expect_contains(message_of<std::runtime_error>([&] { chosen_isa(set.name); }),
                      {set.name.c_str(), "not available", "FASTKMEANS_ISA"});
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"scalar", "baseline", "avx2", "avx512", "avx512_vnni", "amx_int8", "neon",
                                             "neon_dotprod"}));
  EXPECT_TRUE(instruction_sets()[0].available);
  EXPECT_TRUE(instruction_sets()[1].available);
}

TEST(DispatchNoOracle, UnknownNames) {
  for (const char* name : {"avx", "AVX2", "avx2 ", "x"})
    expect_contains(message_of<std::runtime_error>([&] { chosen_isa(name); }),
                    {"FASTKMEANS_ISA", name, "scalar, baseline, avx2"});
}

TEST(DispatchNoOracle, TheEnvironmentDecidesUnlessANameIsGiven) {
  const Environment set("FASTKMEANS_ISA", "scalar");
  EXPECT_EQ(chosen_isa(), "scalar");
  EXPECT_EQ(chosen_isa("baseline"), "baseline");
}

TEST(DispatchNoOracle, TheBestIsTakenByDefault) {
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    const Environment set("FASTKMEANS_ISA", value);
    std::string best;
    for (const InstructionSet& isa : instruction_sets())
      if (isa.available) best = isa.name;
    EXPECT_EQ(chosen_isa(), best);
    EXPECT_NE(best, "scalar");
  }
}

TEST(DispatchNoOracle, ABadEnvironmentIsAnErrorOfFitAndPredict) {
  const Environment set("FASTKMEANS_ISA", "sse9");
  const Matrix x(2, 1, {0, 1});
  Params params;
  params.k = 1;
  expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"FASTKMEANS_ISA", "sse9"});
  expect_contains(message_of<std::runtime_error>([&] { predict(x.view(), x.view()); }), {"FASTKMEANS_ISA", "sse9"});
  params.execution.isa = "baseline";
  EXPECT_NO_THROW(fit(x.view(), params));
}

TEST(DispatchNoOracle, NumberOfThreads) {
  {
    const Environment set("OMP_NUM_THREADS", "3");
    EXPECT_EQ(default_threads(), 3);
    EXPECT_EQ(Workers(0, {}).count(), 3);
    EXPECT_EQ(Workers(5, {}).count(), 5);
  }
  for (const char* value : {"4,2", "4"}) {
    const Environment set("OMP_NUM_THREADS", value);
    EXPECT_EQ(default_threads(), 4);
  }
  for (const char* value : {"0", "-2", "many", ""}) {
    const Environment set("OMP_NUM_THREADS", value);
    EXPECT_GE(default_threads(), 1) << value;
  }
}

TEST(DispatchNoOracle, Version) {
  EXPECT_EQ(version(), FASTKMEANS_VERSION);
  EXPECT_FALSE(build_info().empty());
}

// Costs of this machine: all there, in a range that no CPU leaves, emulated ones included, and measured once.
TEST(CalibrationNoOracle, CostsAreMeasuredOnce) {
  for (const cpu::Isa* isa : kernel_isas()) {
    const Costs& costs = cpu::calibrated(*isa->kernels);
    EXPECT_EQ(&costs, &cpu::calibrated(*isa->kernels));
    const Costs& file = isa->kernels->costs;
    EXPECT_NE(costs.fp32.element, file.fp32.element) << isa->name << ": not measured";
    const auto near = [&](double measured, double believed) {
      return measured > believed / 100 && measured < 10'000 * believed;
    };
    EXPECT_TRUE(near(costs.fp32.element, file.fp32.element)) << isa->name;
    EXPECT_TRUE(near(costs.far_distance_element, file.far_distance_element)) << isa->name;
    EXPECT_DOUBLE_EQ(costs.row / file.row, costs.bound / file.bound) << isa->name;
    if (!isa->kernels->sketch) continue;
    EXPECT_TRUE(near(costs.int8.element, file.int8.element)) << isa->name;
    EXPECT_TRUE(near(costs.sketch_element, file.sketch_element)) << isa->name;
  }
}

}  // namespace
}  // namespace fastkmeans::testing
