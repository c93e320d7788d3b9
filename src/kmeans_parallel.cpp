// SPDX-License-Identifier: Apache-2.0
#include "kmeans_parallel.hpp"

#include <algorithm>
#include <cmath>

#include "host/masses.hpp"
#include "kmeans_plus_plus.hpp"
#include "make_shard.hpp"
#include "numeric/random.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"
#include "urn.hpp"

namespace fastkmeans {
namespace {

// Bahmani et al. found five rounds of 2 k candidates as good as k-means++.
constexpr std::uint32_t kRounds = 5;
constexpr Mass kCandidatesPerCentroid = 2;
constexpr std::int64_t kRowsPerPass = 1 << 14;

// This shard's rows that are drawn in a round; distances: (n) D to the nearest candidate.
std::vector<std::int64_t> drawn_rows(const std::vector<double>& distances, const Source& rows, const Params& params,
                                     std::uint32_t round, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  double largest = 0;
  for (std::int64_t i = 0; i < rows.rows(); ++i) {
    const double distance = distances[static_cast<std::size_t>(i)];
    if (rows.weight(i) > 0) largest = std::max(largest, distance);  // mutant: parallel_weight
  }
  const double factor = mass_factor(largest_over_shards(largest, reducer));
  const auto mass = [&](std::int64_t i) {
    return Masses::mass(distances[static_cast<std::size_t>(i)], factor, rows.weight(i));
  };
  Mass own = 0, total = 0;
  for (std::int64_t i = 0; i < rows.rows(); ++i) own += mass(i);
  for (const Mass part : of_all_shards({own}, reducer)) total += part;  // mutant: parallel_total

  std::vector<char> is_drawn(static_cast<std::size_t>(rows.rows()));
  const auto draw = [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t i = first; i < first + count; ++i) {
      const auto u = random_words(params.seed, {static_cast<std::uint32_t>(rows.number(i)), round,
                                                static_cast<std::uint32_t>(Purpose::kmeans_parallel), redo});
      const Mass wanted = kCandidatesPerCentroid * static_cast<Mass>(params.k) * mass(i);
      is_drawn[static_cast<std::size_t>(i)] = draw_below(total, u) < wanted;  // mutant: parallel_draw
    }
  };
  workers.for_blocks(rows.rows(), kRowsPerPass, 100.0 * static_cast<double>(rows.rows()), draw);
  std::vector<std::int64_t> drawn;
  for (std::int64_t i = 0; i < rows.rows(); ++i)
    if (is_drawn[static_cast<std::size_t>(i)]) drawn.push_back(i);
  return drawn;
}

// Where the rows of all shards are, in order; own: of this shard.
std::vector<RowPlace> places_of_all_shards(const std::vector<std::int64_t>& own, Reducer& reducer) {
  std::vector<RowPlace> places;
  const auto counts = gather_over_shards({own.size()}, reducer);
  for (int rank = 0; rank < reducer.size(); ++rank)
    for (std::size_t i = 0; i < counts[static_cast<std::size_t>(rank)]; ++i)
      places.push_back({rank == reducer.rank() ? own[i] : -1, rank});
  return places;
}

// (count) weight of the rows nearest to each candidate from `first` on; at least 1, so that each may be drawn.
std::vector<std::int64_t> weights_of(Shard& shard, const Source& rows, std::size_t first, std::size_t count,
                                     Reducer& reducer) {
  std::vector<std::int64_t> labels(static_cast<std::size_t>(rows.rows()));
  shard.copy_labels(labels.data());
  std::vector<std::uint64_t> weights(first + count);
  for (std::size_t i = 0; i < labels.size(); ++i)
    weights[static_cast<std::size_t>(labels[i])] +=
        static_cast<std::uint64_t>(rows.weight(static_cast<std::int64_t>(i)));
  reducer.sum(weights.data(), static_cast<std::int64_t>(weights.size()));  // mutant: parallel_weights_of_all_shards
  std::vector<std::int64_t> found;
  for (std::size_t c = first; c < weights.size(); ++c)
    found.push_back(std::max<std::int64_t>(1, static_cast<std::int64_t>(weights[c])));  // mutant: parallel_least_weight
  return found;
}

}  // namespace

std::vector<float> kmeans_parallel(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                                   const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  const auto d = static_cast<std::size_t>(rows.cols()), k = static_cast<std::size_t>(params.k);
  std::vector<float> candidates = given;
  if (given.empty()) candidates = kmeans_plus_plus({}, shard, rows, metric, 1, params.seed, redo, reducer, workers);
  std::vector<double> distances(static_cast<std::size_t>(rows.rows()));
  for (std::uint32_t round = 0;; ++round) {
    shard.start_run({candidates});
    shard.assign(false);
    if (round == kRounds) break;
    shard.copy_distances(distances.data());
    const auto places =
        places_of_all_shards(drawn_rows(distances, rows, params, round, redo, reducer, workers), reducer);
    const std::size_t before = candidates.size();
    candidates.resize(before + places.size() * d);
    rows_at(places, rows, metric, reducer, workers, candidates.data() + before);
  }
  if (candidates.size() < k * d)
    return kmeans_plus_plus(std::move(candidates), shard, rows, metric, params.k, params.seed, redo, reducer, workers);

  // The candidates are few: every shard has all, and finds the same.
  const std::size_t count = (candidates.size() - given.size()) / d;
  const auto weights = weights_of(shard, rows, given.size() / d, count, reducer);
  const MatrixView view(candidates.data() + given.size(), static_cast<std::int64_t>(count), rows.cols());
  const HostArray pool(view, 0, weights.data());
  const auto of_pool = make_shard_beside(shard, pool, params.execution, workers);
  NoReducer alone;
  return kmeans_plus_plus(std::move(given), *of_pool, pool, euclidean(), params.k, params.seed, redo, alone, workers);
}

}  // namespace fastkmeans
