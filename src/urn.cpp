// SPDX-License-Identifier: Apache-2.0
#include "urn.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace fastkmeans {

std::vector<Mass> of_all_shards(const std::vector<Mass>& own, Reducer& reducer) {
  std::vector<std::uint64_t> words;
  for (const Mass mass : own)
    words.insert(words.end(), {static_cast<std::uint64_t>(mass), static_cast<std::uint64_t>(mass >> 64)});
  words = gather_over_shards(words, reducer);
  std::vector<Mass> all(words.size() / 2);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = words[2 * i] | Mass{words[2 * i + 1]} << 64;
  return all;
}

double largest_over_shards(double own, Reducer& reducer) {
  auto bits = std::bit_cast<std::uint64_t>(own);
  reducer.max(&bits, 1);  // mutant: largest_of_all_shards
  return std::bit_cast<double>(bits);
}

Urn::Urn(Mass own, RowsAt rows_at, Reducer& reducer)
    : rows_at_(std::move(rows_at)), rank_(reducer.rank()), ends_(of_all_shards({own}, reducer)) {
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
}

std::vector<RowPlace> Urn::rows_at(const std::vector<Mass>& masses) const {
  std::vector<RowPlace> places;
  std::vector<Mass> own;  // of this shard, from its first row on
  for (const Mass mass : masses) {
    const auto shard = std::upper_bound(ends_.begin(), ends_.end(), mass);
    const auto rank = static_cast<int>(shard - ends_.begin());
    places.push_back({-1, rank});
    if (rank == rank_) own.push_back(rank == 0 ? mass : mass - *(shard - 1));
  }
  const std::vector<std::int64_t> rows = rows_at_(own);
  auto next = rows.begin();
  for (RowPlace& place : places)
    if (place.rank == rank_) place.index = *next++;
  return places;
}

Urn urn_of_weights(const Source& rows, Reducer& reducer) {
  if (!rows.weights())
    return Urn(
        static_cast<Mass>(rows.rows()),
        [](const std::vector<Mass>& masses) { return std::vector<std::int64_t>(masses.begin(), masses.end()); },
        reducer);
  std::vector<std::int64_t> ends(static_cast<std::size_t>(rows.rows()));
  std::partial_sum(rows.weights(), rows.weights() + rows.rows(), ends.begin());
  const Mass own = ends.empty() ? 0 : static_cast<Mass>(ends.back());
  return Urn(own, rows_by_ends(std::move(ends)), reducer);
}

}  // namespace fastkmeans
