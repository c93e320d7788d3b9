// SPDX-License-Identifier: Apache-2.0
// Statistics and sums of every instruction set, against the oracle and by hand.
#include "cpu/accumulate.hpp"

#include <limits>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

std::vector<std::int32_t> random_labels(std::int64_t n, std::int64_t k, Random& random) {
  std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
  for (auto& label : labels) label = static_cast<std::int32_t>(draw(random, 0, k - 1));
  return labels;
}

TEST(StatisticsNoOracle, ByHand) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Matrix x(5, 3, {1, -2, 0, 0, 0, -0.0f, 0x1p-140f, 0, 0, nan, 100, 0, 0.5f, 0x1p56f, 7});
  for (const cpu::Isa* isa : kernel_isas()) {
    const Statistics got = statistics_of(on(isa->name, 2), x.view());
    EXPECT_EQ(got.column_max, (std::vector<float>{1, 2, 0})) << isa->name;  // bad rows do not count
    EXPECT_EQ(got.least_row_max, 0x1p-140f) << isa->name;
    EXPECT_EQ(got.zero_rows, 1) << isa->name;
    EXPECT_EQ(got.check.bad, 2) << isa->name;
    EXPECT_EQ(got.check.first, 3) << isa->name;
  }
}

TEST(StatisticsNoOracle, OfZeros) {
  const Matrix x(300, 2);
  for (const cpu::Isa* isa : kernel_isas()) {
    const Statistics got = statistics_of(on(isa->name, 2), x.view());
    EXPECT_EQ(got.column_max, (std::vector<float>{0, 0}));
    EXPECT_EQ(got.least_row_max, 0.0f);
    EXPECT_EQ(got.zero_rows, 300);
    EXPECT_EQ(got.check.bad, 0);
  }
}

TEST(Statistics, EqualTheOracle) {
  Random random(20);
  for (int repeat = 0; repeat < 5; ++repeat)
    for (const Kind kind : kKinds) {
      Matrix x = random_rows(kind, draw(random, 1, 700), draw(random, 1, 60), random);
      for (std::int64_t bad = draw(random, 0, 3); bad > 0; --bad)
        x.values[static_cast<std::size_t>(draw(random, 0, x.rows - 1))] = INFINITY;
      const Statistics expected = statistics_of(on("scalar"), x.view());
      for (const cpu::Isa* isa : kernel_isas()) {
        const Statistics got = statistics_of(on(isa->name, static_cast<int>(draw(random, 1, 5))), x.view());
        EXPECT_TRUE(same_bits(got.column_max, expected.column_max)) << isa->name;
        EXPECT_EQ(got.least_row_max, expected.least_row_max) << isa->name;
        EXPECT_EQ(got.zero_rows, expected.zero_rows) << isa->name;
        EXPECT_EQ(got.check.bad, expected.check.bad) << isa->name;
        EXPECT_EQ(got.check.first, expected.check.first) << isa->name;
      }
    }
}

struct Moves {
  const Matrix& x;
  std::int64_t k;
  std::vector<std::int32_t> from, to;
};

// By the kernels of an instruction set, or row by row.
Sums sums_of(const Execution& execution, const Moves& moves) {
  Workers workers(execution.n_threads, {});
  const FixedPoint scale = scale_of(moves.x.view());
  const HostArray rows(moves.x.view());
  Sums sums(moves.k, moves.x.cols, scale.two_limbs(), false);
  if (const cpu::Kernels* kernels = cpu::choose(execution.isa).kernels) {
    const cpu::Context context = {moves.x.view(), euclidean(), *kernels, workers};
    cpu::accumulate(context, rows, nullptr, moves.from.data(), scale, sums);
    cpu::accumulate(context, rows, moves.from.data(), moves.to.data(), scale, sums);
  } else {
    for (std::int64_t i = 0; i < moves.x.rows; ++i) {
      const std::int32_t c = moves.to[static_cast<std::size_t>(i)];
      add_row(scale, moves.x.row(i), 1, sums.hi_row(c), sums.lo_row(c));
      sums.count(c, 1);
    }
  }
  return sums;
}

void expect_same(const Sums& got, const Sums& expected, const char* what) {
  EXPECT_EQ(got.hi, expected.hi) << what;
  EXPECT_EQ(got.lo, expected.lo) << what;
  EXPECT_EQ(got.weights, expected.weights) << what;
}

void compare_with_oracle(const Moves& moves, Random& random) {
  const Sums expected = sums_of(on("scalar"), moves);
  for (const cpu::Isa* isa : kernel_isas())
    expect_same(sums_of(on(isa->name, static_cast<int>(draw(random, 1, 5))), moves), expected,
                std::string(isa->name).c_str());
}

TEST(Accumulate, EqualsTheOracle) {
  Random random(21);
  for (int repeat = 0; repeat < 5; ++repeat)
    for (const Kind kind : kKinds) {
      const std::int64_t n = draw(random, 1, 600), k = draw(random, 1, 40);
      const Matrix x = random_rows(kind, n, draw(random, 1, 60), random);
      Moves moves{x, k, random_labels(n, k, random), random_labels(n, k, random)};
      if (repeat % 2)  // few rows change
        for (std::size_t i = 0; i < moves.to.size(); ++i)
          if (draw(random, 0, 9)) moves.to[i] = moves.from[i];
      compare_with_oracle(moves, random);
    }
}

// More than a mebibyte of sums: shared under locks instead of one copy for each thread.
TEST(Accumulate, SharedSumsEqualTheOracleHeavy) {
  Random random(22);
  for (const Kind kind : {Kind::normal, Kind::outliers}) {
    const Matrix x = random_rows(kind, 20'000, 50, random);
    for (const std::int64_t k : {3'000, 10})
      compare_with_oracle({x, k, random_labels(x.rows, k, random), random_labels(x.rows, k, random)}, random);
  }
}

TEST(AccumulateNoOracle, MovingRowsEqualsStartingAfresh) {
  Random random(23);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, 400, 9, random);
    const auto from = random_labels(400, 12, random), to = random_labels(400, 12, random);
    for (const cpu::Isa* isa : kernel_isas())
      expect_same(sums_of(on(isa->name, 3), {x, 12, from, to}), sums_of(on(isa->name), {x, 12, to, to}), "moved");
  }
}

}  // namespace
}  // namespace fastkmeans::testing
