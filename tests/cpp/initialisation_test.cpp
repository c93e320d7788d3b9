// SPDX-License-Identifier: Apache-2.0
// k-means|| and AFK-MC2 by their rules (docs/initialisation.md), for rows that are small integers, whose D is exact.
#include <cmath>
#include <numeric>

#include "afk_mc2.hpp"
#include "kmeans_parallel.hpp"
#include "kmeans_plus_plus.hpp"
#include "make_shard.hpp"
#include "numeric/random.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

using Method = decltype(&kmeans_parallel);

struct Problem {
  std::vector<float> x;
  std::vector<std::int64_t> weights;
  Params params;
  std::uint32_t redo;

  std::int64_t d = 1;

  std::int64_t rows() const { return std::ssize(x) / d; }

  Uint128 draw(Uint128 total, std::int64_t a, std::uint32_t b, std::uint32_t purpose) const {
    const std::uint64_t seed = params.seed;
    return draw_below(total, philox({static_cast<std::uint32_t>(a), b, purpose, redo},
                                    {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}));
  }
};

// Greedy k-means++, which has tests of its own.
std::vector<float> plus_plus(const std::vector<float>& x, const std::vector<std::int64_t>& weights, std::int64_t k,
                             const Problem& of, std::vector<float> given = {}) {
  Workers workers(1, {});
  NoReducer reducer;
  const HostArray rows({x.data(), std::ssize(x) / of.d, of.d}, 0, weights.data());
  const auto shard = make_shard(rows, euclidean(), of.params.execution, workers);
  return kmeans_plus_plus(std::move(given), *shard, rows, euclidean(), k, of.params.seed, of.redo, reducer, workers);
}

std::size_t nearest(float row, const std::vector<float>& centroids) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < centroids.size(); ++c)
    if (std::abs(row - centroids[c]) < std::abs(row - centroids[best])) best = c;
  return best;
}

// Of rows of one dimension.
std::vector<double> exact_distances(const Problem& of, const std::vector<float>& centroids) {
  std::vector<double> distances;
  for (const float row : of.x) distances.push_back(std::pow(row - centroids[nearest(row, centroids)], 2));
  return distances;
}

// P of each row, its exponent being that of the rows of weight.
std::vector<std::int64_t> masses(const Problem& of, const std::vector<double>& distances, int& exponent) {
  double largest = 0;
  for (std::size_t i = 0; i < distances.size(); ++i)
    if (of.weights[i] > 0) largest = std::max(largest, distances[i]);
  if (exponent < 0 && largest > 0) exponent = 30 - std::ilogb(largest);
  std::vector<std::int64_t> found;
  for (std::size_t i = 0; i < distances.size(); ++i)
    found.push_back(of.weights[i] > 0 ? static_cast<std::int64_t>(std::ldexp(distances[i], std::max(exponent, 0))) : 0);
  return found;
}

std::vector<float> parallel_by_the_rule(const Problem& of) {
  std::vector<float> candidates = plus_plus(of.x, of.weights, 1, of);
  for (std::uint32_t round = 0; round < 5; ++round) {
    int exponent = -1;
    const auto p = masses(of, exact_distances(of, candidates), exponent);
    Uint128 total = 0;
    for (std::size_t i = 0; i < p.size(); ++i) total += static_cast<Uint128>(p[i] * of.weights[i]);
    for (std::size_t i = 0; i < p.size(); ++i)
      if (of.draw(total, static_cast<std::int64_t>(i), round, 6) <
          static_cast<Uint128>(2 * of.params.k) * static_cast<Uint128>(p[i] * of.weights[i]))
        candidates.push_back(of.x[i]);
  }
  if (static_cast<std::int64_t>(candidates.size()) < of.params.k)
    return plus_plus(of.x, of.weights, of.params.k, of, candidates);
  std::vector<std::int64_t> near(candidates.size());
  for (std::size_t i = 0; i < of.x.size(); ++i) near[nearest(of.x[i], candidates)] += of.weights[i];
  for (auto& weight : near) weight = std::max<std::int64_t>(weight, 1);
  return plus_plus(candidates, near, of.params.k, of);
}

// distances: (n) D to the nearest of some centroids.
std::vector<float> afk_by_the_rule(const Problem& of,
                                   std::vector<double> (*distances)(const Problem&, const std::vector<float>&)) {
  std::vector<float> centroids = plus_plus(of.x, of.weights, 1, of), added;
  int exponent = -1;
  const auto before = distances(of, centroids);
  const auto p = masses(of, before, exponent);
  if (exponent < 0) return plus_plus(of.x, of.weights, of.params.k, of, centroids);
  Uint128 mass = 0, weight = 0, end = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    mass += static_cast<Uint128>(p[i] * of.weights[i]);
    weight += static_cast<Uint128>(of.weights[i]);
  }
  const auto q = [&](std::size_t i) { return static_cast<Uint128>(p[i]) * weight + mass; };
  std::vector<Uint128> ends;
  for (std::size_t i = 0; i < p.size(); ++i) ends.push_back(end += static_cast<Uint128>(of.weights[i]) * q(i));
  EXPECT_TRUE(end == 2 * mass * weight);
  for (std::int64_t c = 1; c < of.params.k; ++c) {
    std::vector<double> least = before;
    if (!added.empty()) {
      const auto to_added = distances(of, added);
      for (std::size_t i = 0; i < least.size(); ++i) least[i] = std::min(least[i], to_added[i]);
    }
    const auto now = masses(of, least, exponent);
    std::size_t at = 0;
    for (std::uint32_t j = 0; j < 200; ++j) {
      const Uint128 drawn = of.draw(end, c, j, 7);
      std::size_t next = 0;
      while (ends[next] <= drawn) ++next;
      if (j == 0 || of.draw(static_cast<Uint128>(now[at]) * q(next), c, j, 8) < static_cast<Uint128>(now[next]) * q(at))
        at = next;
    }
    const auto row = of.x.begin() + static_cast<std::ptrdiff_t>(at) * of.d;
    added.insert(added.end(), row, row + of.d);
  }
  centroids.insert(centroids.end(), added.begin(), added.end());
  return centroids;
}

void expect_the_rule(Method method, std::vector<float> (*by_the_rule)(const Problem&)) {
  Random random(330);
  for (const std::int64_t most : {0, 2, 30, 1000})  // few values: fewer distinct rows than k
    for (const std::int64_t k : {1, 4, 20}) {
      Problem problem{std::vector<float>(60), std::vector<std::int64_t>(60, 1), params_of(k, 1, 0), 3};
      problem.params.seed = 77 + (std::uint64_t{5} << 32);
      for (float& value : problem.x) value = static_cast<float>(draw(random, 0, most));
      for (auto& weight : problem.weights) weight = draw(random, 0, 2);
      problem.x[41] = 0x1p22f;  // so far that others would lose digits, but it counts for nothing
      problem.weights[41] = 0;
      const std::vector<float> expected = by_the_rule(problem);
      for (const Ends& ends : {Ends{60}, Ends{20, 60}, Ends{7, 7, 8, 45, 60}})
        on_shards({problem.x.data(), 60, 1}, problem.weights.data(), ends,
                  [&](const Source& rows, Reducer& reducer, int) {
                    Workers workers(2, {});
                    const auto shard = make_shard(rows, euclidean(), problem.params.execution, workers);
                    EXPECT_EQ(method({}, *shard, rows, euclidean(), problem.params, 3, reducer, workers), expected)
                        << most << ' ' << k << ' ' << ends.size();
                  });
    }
}

TEST(InitialisationNoOracle, KMeansParallelByTheRule) { expect_the_rule(kmeans_parallel, parallel_by_the_rule); }

TEST(InitialisationNoOracle, AfkMc2ByTheRule) {
  expect_the_rule(afk_mc2, [](const Problem& of) { return afk_by_the_rule(of, exact_distances); });
}

// Rows on both sides of the limit for tiny data: D of two below it vanishes as soon as one above it is among the
// centroids added.
TEST(InitialisationNoOracle, AfkMc2AsksWhetherAllCentroidsAddedAreTiny) {
  Random random(331);
  const auto assigned = [](const Problem& of, const std::vector<float>& centroids) {
    Workers workers(1, {});
    const HostArray rows({of.x.data(), of.rows(), of.d});
    const auto shard = make_shard(rows, euclidean(), of.params.execution, workers);
    shard->start_run({centroids});
    shard->assign(false);
    std::vector<double> distances(static_cast<std::size_t>(of.rows()));
    shard->copy_distances(distances.data());
    return distances;
  };
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Problem problem{{}, std::vector<std::int64_t>(40, 1), params_of(15, 1, 0), 0, 2049};
    problem.params.seed = seed;
    for (std::int64_t i = 0; i < 40; ++i) {
      problem.x.push_back(draw(random, 0, 3) ? kTinyBelow * (1 - 0x1p-24f) : kTinyBelow);
      for (std::int64_t j = 1; j < problem.d; ++j)
        problem.x.push_back(std::ldexp(static_cast<float>(draw(random, -8, 8)), -79));
    }
    const HostArray rows({problem.x.data(), problem.rows(), problem.d});
    Workers workers(1, {});
    NoReducer reducer;
    const auto shard = make_shard(rows, euclidean(), problem.params.execution, workers);
    EXPECT_EQ(afk_mc2({}, *shard, rows, euclidean(), problem.params, 0, reducer, workers),
              afk_by_the_rule(problem, assigned))
        << seed;
  }
}

// A fit begins with them, and with the given ones first.
TEST(InitialisationNoOracle, AFitBeginsWithThem) {
  const Matrix x(6, 1, {0, 1, 10, 11, 500, 501}), given(1, 1, {10.5f});
  Params params = params_of(3, 5, 0);
  for (const InitMethod method : {InitMethod::kmeans_parallel, InitMethod::afk_mc2}) {
    params.init_method = method;
    params.init.reset();
    EXPECT_LT(fit(x.view(), params).inertia, 200);
    params.init = given.view();
    params.frozen_centroids = true;
    EXPECT_EQ(fit(x.view(), params).centroids[0], 10.5f);
    params.frozen_centroids = false;
  }
}

// A fit on a CUDA device with a filter that no CPU has, in the options or in the environment.
TEST(InitialisationNoOracle, ShardsOnTheCpuTakeAFilterOfTheCpu) {
  const Environment forced("FASTKMEANS_FILTER", "none");
  Execution of_fit;
  of_fit.device = "cuda:0";
  of_fit.isa = kernel_isas()[0]->name;  // the oracle has no filter
  const Matrix x(3, 1, {1, 2, 5});
  const HostArray rows(x.view());
  Workers workers(1, {});
  for (const char* filter : {"", "int8_lists"}) {
    of_fit.filter = filter;
    const Execution execution = on_cpu(of_fit);
    const auto shard = make_shard(rows, euclidean(), execution, workers);
    shard->start_run({{0, 4}});
    shard->assign(false);
    EXPECT_EQ(shard->assigned().filter.filter, "fp32");
  }
}

}  // namespace
}  // namespace fastkmeans::testing
