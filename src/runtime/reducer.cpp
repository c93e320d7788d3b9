// SPDX-License-Identifier: Apache-2.0
#include "runtime/reducer.hpp"

#include <algorithm>
#include <numeric>

namespace fastkmeans {

std::int64_t sum_over_shards(std::int64_t own, Reducer& reducer) {
  auto value = static_cast<std::uint64_t>(own);
  reducer.sum(&value, 1);
  return static_cast<std::int64_t>(value);
}

std::vector<std::uint64_t> gather_over_shards(const std::vector<std::uint64_t>& own, Reducer& reducer) {
  if (reducer.size() == 1) return own;
  // Each shard writes into its own place among zeros: then the sum is all of them.
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(reducer.size()));
  counts[static_cast<std::size_t>(reducer.rank())] = own.size();
  reducer.sum(counts.data(), reducer.size());
  // mutant: gathered_place
  const auto before = std::accumulate(counts.begin(), counts.begin() + reducer.rank(), std::uint64_t{0});
  std::vector<std::uint64_t> all(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  std::copy(own.begin(), own.end(), all.begin() + static_cast<std::ptrdiff_t>(before));
  reducer.sum(all.data(), static_cast<std::int64_t>(all.size()));
  return all;
}

}  // namespace fastkmeans
