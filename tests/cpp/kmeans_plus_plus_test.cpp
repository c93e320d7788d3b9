// SPDX-License-Identifier: Apache-2.0
// Greedy k-means++ by its rule (docs/algorithm.md section 5), on one shard and on many.
#include "kmeans_plus_plus.hpp"

#include <cmath>
#include <tuple>

#include "numeric/random.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

// By digits of 32 bits, as on paper.
Uint128 drawn_on_paper(Uint128 total, const std::array<std::uint32_t, 4>& u) {
  std::array<std::uint64_t, 9> digits{};
  for (std::size_t i = 0; i < 4; ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const auto digit = static_cast<std::uint32_t>(total >> 32 * j);
      const std::uint64_t sum = digits[i + j] + std::uint64_t{u[i]} * digit + carry;
      digits[i + j] = static_cast<std::uint32_t>(sum);
      carry = sum >> 32;
    }
    digits[i + 4] += carry;
  }
  Uint128 high = 0;
  for (std::size_t j = 4; j-- > 0;) high = high << 32 | digits[4 + j];
  return high;
}

TEST(KMeansPlusPlusNoOracle, DrawsAreBelowTheTotal) {
  std::mt19937 random(320);
  const auto word = [&] { return static_cast<std::uint32_t>(random()) >> (random() % 4 == 0 ? random() % 32 : 0); };
  const std::array<std::uint32_t, 4> most = {~0u, ~0u, ~0u, ~0u};
  for (int i = 0; i < 10'000; ++i) {
    const int bits = 1 + static_cast<int>(random() % 100);
    Uint128 total = 0;
    for (int j = 0; j < 4; ++j) total = total << 32 | word();
    total = (total & ((Uint128{1} << bits) - 1)) + 1;
    const std::array<std::uint32_t, 4> u = {word(), word(), word(), word()};
    ASSERT_TRUE(draw_below(total, u) == drawn_on_paper(total, u)) << i;
    ASSERT_TRUE(draw_below(total, u) < total);
    ASSERT_TRUE(draw_below(total, most) == total - 1);
    ASSERT_TRUE(draw_below(total, {}) == 0);
  }
}

struct Drawn {
  std::uint64_t seed;
  std::uint32_t redo;
  std::int64_t from(const std::vector<std::int64_t>& masses, std::int64_t step, std::int64_t trial) const {
    const auto total = std::accumulate(masses.begin(), masses.end(), Uint128{0});
    Uint128 mass =
        draw_below(total, philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(trial), 4, redo},
                                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}));
    std::int64_t row = 0;
    for (; mass >= static_cast<Uint128>(masses[static_cast<std::size_t>(row)]); ++row)
      mass -= static_cast<Uint128>(masses[static_cast<std::size_t>(row)]);
    return row;
  }
};

// The rule for rows of one dimension that are small integers, whose D is exact.
std::vector<float> by_the_rule(const std::vector<float>& x, const std::vector<std::int64_t>& weights, std::int64_t k,
                               std::uint64_t seed, std::uint32_t redo) {
  const Drawn drawn{seed, redo};
  std::vector<float> taken = {x[static_cast<std::size_t>(drawn.from(weights, 0, 0))]};
  const auto masses = [&](const std::vector<float>& centroids, int exponent) {
    std::vector<std::int64_t> found;
    for (std::size_t i = 0; i < x.size(); ++i) {
      double least = 1e30;
      for (const float c : centroids) least = std::min(least, std::pow(static_cast<double>(x[i] - c), 2));
      found.push_back(static_cast<std::int64_t>(std::floor(std::ldexp(least, exponent))) * weights[i]);
    }
    return found;
  };
  for (std::int64_t step = 1; step < k; ++step) {
    double largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      double least = 1e30;
      for (const float c : taken) least = std::min(least, std::pow(static_cast<double>(x[i] - c), 2));
      if (weights[i] > 0) largest = std::max(largest, least);
    }
    if (largest == 0) {
      taken.push_back(x[static_cast<std::size_t>(drawn.from(weights, step, 0))]);
      continue;
    }
    const int exponent = 30 - std::ilogb(largest);
    const std::vector<std::int64_t> before = masses(taken, exponent);
    std::int64_t best = -1, least = 0;
    for (int trial = 0; trial < 2 + static_cast<int>(std::log(k)); ++trial) {
      const std::int64_t row = drawn.from(before, step, trial);
      std::vector<float> more = taken;
      more.push_back(x[static_cast<std::size_t>(row)]);
      const std::vector<std::int64_t> after = masses(more, exponent);
      const std::int64_t left = std::accumulate(after.begin(), after.end(), std::int64_t{0});
      if (best < 0 || left < least) best = row, least = left;
    }
    taken.push_back(x[static_cast<std::size_t>(best)]);
  }
  return taken;
}

TEST(KMeansPlusPlusNoOracle, TakesTheRowsOfTheRule) {
  Random random(321);
  for (const std::int64_t most : {2, 30, 1000})  // few values: fewer distinct rows than k
    for (const bool weighted : {false, true}) {
      const std::int64_t n = 90, k = 25;
      Matrix x(n, 1);
      std::vector<std::int64_t> weights(static_cast<std::size_t>(n), 1);
      for (float& value : x.values) value = static_cast<float>(draw(random, 0, most));
      if (weighted)
        for (auto& weight : weights) weight = draw(random, 0, 2);
      Params params = params_of(k, 1, 0);
      params.seed = 77 + (std::uint64_t{5} << 32);
      params.init_method = InitMethod::kmeans_plus_plus;
      const std::vector<float> expected = by_the_rule(x.values, weights, k, params.seed, 3);
      std::vector<Ends> all = spreads(n);
      all.push_back({n});
      for (const Ends& ends : all)
        on_shards(x.view(), weighted ? weights.data() : nullptr, ends, [&](const Source& rows, Reducer& reducer, int) {
          Workers workers(2, {});
          const Execution execution;
          const auto shard = make_shard(rows, euclidean(), execution, workers);
          EXPECT_EQ(kmeans_plus_plus({}, *shard, rows, euclidean(), k, params.seed, 3, reducer, workers), expected)
              << most << ' ' << weighted << ' ' << ends.size();
        });
    }
}

// Few rows: each on a shard of its own; and two whose masses are equal at a scale of 2^31, while one is lost below.
TEST(KMeansPlusPlusNoOracle, TakesTheRowsOfTheRuleAtItsEdges) {
  const std::int64_t heavy = std::int64_t{1} << 30;
  const Matrix few(6, 1, {0, 1, 0, 1, 0, 1}), uneven(3, 1, {0, 1, 32768});
  const std::vector<std::int64_t> ones(6, 1), weights = {heavy, heavy, 1};
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const auto& [x, w, k, ends] :
         {std::tuple(&few, &ones, 6, Ends{1, 2, 3, 4, 5, 6}), std::tuple(&uneven, &weights, 2, Ends{3})})
      on_shards(x->view(), w->data(), ends, [&, x = x, w = w, k = k](const Source& rows, Reducer& reducer, int) {
        Workers workers(1, {});
        const Execution execution;
        const auto shard = make_shard(rows, euclidean(), execution, workers);
        EXPECT_EQ(kmeans_plus_plus({}, *shard, rows, euclidean(), k, seed, 0, reducer, workers),
                  by_the_rule(x->values, *w, k, seed, 0));
      });
}

TEST(KMeansPlusPlusNoOracle, AFitBeginsWithThem) {
  Random random(322);
  const Matrix x = random_rows(Kind::normal, 200, 6, random);
  Params params = params_of(20, 3, 0);
  params.seed = 9;
  params.nredo = 2;
  params.init_method = InitMethod::kmeans_plus_plus;
  const Result got = fit(x.view(), params);
  const auto start_of = [&](std::uint32_t redo) {
    Workers workers(2, {});
    const Execution execution;
    const HostArray rows(x.view());
    NoReducer reducer;
    const auto shard = make_shard(rows, euclidean(), execution, workers);
    return Matrix(20, 6, kmeans_plus_plus({}, *shard, rows, euclidean(), 20, 9, redo, reducer, workers));
  };
  const Matrix first = start_of(0), second = start_of(1);
  EXPECT_NE(first.values, second.values);
  Params given = params;
  given.init = first.view();
  const Result of_first = fit(x.view(), given);
  given.init = second.view();
  const Result of_second = fit(x.view(), given);
  EXPECT_EQ(
      got.centroids,
      (of_second.iterations.back().inertia < of_first.iterations.back().inertia ? of_second : of_first).centroids);
  EXPECT_LT(got.inertia, 1.2 * of_first.inertia);
}

}  // namespace
}  // namespace fastkmeans::testing
