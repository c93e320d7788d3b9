// SPDX-License-Identifier: Apache-2.0
#include "afk_mc2.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/masses.hpp"
#include "kmeans_plus_plus.hpp"
#include "make_shard.hpp"
#include "numeric/random.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"
#include "urn.hpp"

namespace fastkmeans {
namespace {

// The authors' own default.
constexpr std::uint32_t kChain = 200;

}  // namespace

std::vector<float> afk_mc2(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                           const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  const auto d = static_cast<std::size_t>(rows.cols()), k = static_cast<std::size_t>(params.k);
  std::vector<float> centroids = std::move(given);
  if (centroids.empty()) centroids = kmeans_plus_plus({}, shard, rows, metric, 1, params.seed, redo, reducer, workers);
  const std::size_t first = centroids.size() / d;
  const std::vector<float> begun = centroids;  // those of the beginning
  const CentroidsView beginning = {begun.data(), static_cast<std::int64_t>(first), rows.cols()};
  shard.lower_distances(beginning, true);
  const double largest = largest_over_shards(shard.largest_distance(), reducer);
  if (largest == 0)  // every row of weight equals one of them
    return kmeans_plus_plus(std::move(centroids), shard, rows, metric, params.k, params.seed, redo, reducer, workers);
  const double factor = mass_factor(largest);

  // Rows are proposed by their mass and by their weight, half of the times each.
  std::vector<double> distances(static_cast<std::size_t>(rows.rows()));
  shard.copy_distances(distances.data());
  const auto mass = [factor](double distance) { return Masses::mass(distance, factor, 1); };
  Mass own_mass = 0, own_weight = 0;
  for (std::int64_t i = 0; i < rows.rows(); ++i) {
    own_mass += Masses::mass(distances[static_cast<std::size_t>(i)], factor, rows.weight(i));
    own_weight += static_cast<Mass>(rows.weight(i));
  }
  const std::vector<Mass> all = of_all_shards({own_mass, own_weight}, reducer);
  Mass total_mass = 0, total_weight = 0;
  // mutant: afk_totals
  for (std::size_t i = 0; i < all.size(); i += 2) total_mass += all[i], total_weight += all[i + 1];
  // How often a row of weight 1 and this mass is proposed, out of 2 total_mass total_weight times.
  const auto chance = [&](Mass of_row) { return of_row * total_weight + total_mass; };  // mutant: afk_proposal
  std::vector<Mass> ends(distances.size());
  Mass end = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto weight = static_cast<Mass>(rows.weight(static_cast<std::int64_t>(i)));
    if (weight > 0) end += weight * chance(mass(distances[i]));  // D of others may be beyond
    ends[i] = end;
  }
  const Urn urn(end, rows_by_ends(std::move(ends)), reducer);

  const auto bits = [&](std::size_t c, std::uint32_t step, Purpose purpose) {
    return random_words(params.seed, {static_cast<std::uint32_t>(c), step, static_cast<std::uint32_t>(purpose), redo});
  };
  const Execution execution = on_cpu(params.execution);
  std::vector<float> proposed(kChain * d);
  std::vector<double> before(kChain), now(kChain);
  for (std::size_t c = first; c < k; ++c) {
    workers.checkpoint(0);
    std::vector<RowPlace> places;
    for (std::uint32_t step = 0; step < kChain; ++step)
      places.push_back(urn.row_at(draw_below(urn.total(), bits(c, step, Purpose::proposal))));
    rows_at(places, rows, metric, reducer, workers, proposed.data());
    // The rows of a chain are few: every shard has all, and finds the same.
    const HostArray chain(MatrixView(proposed.data(), kChain, rows.cols()));
    const auto of_chain = make_shard(chain, euclidean(), execution, workers);
    of_chain->lower_distances(beginning, true);
    of_chain->copy_distances(before.data());
    now = before;
    if (c > first) {  // as an assignment, which the filter serves
      of_chain->start_run({{centroids.begin() + static_cast<std::ptrdiff_t>(first * d), centroids.end()}});
      of_chain->assign(false);
      of_chain->copy_distances(now.data());
      for (std::size_t i = 0; i < now.size(); ++i) now[i] = std::min(now[i], before[i]);  // mutant: afk_nearest
    }
    std::uint32_t at = 0;
    for (std::uint32_t next = 1; next < kChain; ++next) {
      const Mass gain = mass(now[next]) * chance(mass(before[at]));
      const Mass loss = mass(now[at]) * chance(mass(before[next]));
      if (draw_below(loss, bits(c, next, Purpose::acceptance)) < gain) at = next;  // mutant: afk_acceptance
    }
    centroids.insert(centroids.end(), &proposed[at * d], &proposed[at * d] + d);
  }
  return centroids;
}

}  // namespace fastkmeans
