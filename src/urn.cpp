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

Urn::Urn(Mass own, std::function<std::int64_t(Mass)> row_at, Reducer& reducer)
    : row_at_(std::move(row_at)), rank_(reducer.rank()), ends_(of_all_shards({own}, reducer)) {
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
}

RowPlace Urn::row_at(Mass mass) const {
  const auto shard = std::upper_bound(ends_.begin(), ends_.end(), mass);
  const auto rank = static_cast<int>(shard - ends_.begin());
  if (rank != rank_) return {-1, rank};
  return {row_at_(rank == 0 ? mass : mass - *(shard - 1)), rank};
}

Urn urn_of_weights(const Source& rows, Reducer& reducer) {
  if (!rows.weights())
    return Urn(
        static_cast<Mass>(rows.rows()), [](Mass mass) { return static_cast<std::int64_t>(mass); }, reducer);
  std::vector<std::int64_t> ends(static_cast<std::size_t>(rows.rows()));
  std::partial_sum(rows.weights(), rows.weights() + rows.rows(), ends.begin());
  const Mass own = ends.empty() ? 0 : static_cast<Mass>(ends.back());
  const auto row_at = [ends = std::move(ends)](Mass mass) {
    return std::upper_bound(ends.begin(), ends.end(), static_cast<std::int64_t>(mass)) - ends.begin();
  };
  return Urn(own, row_at, reducer);
}

}  // namespace fastkmeans
