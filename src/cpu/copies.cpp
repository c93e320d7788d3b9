// SPDX-License-Identifier: Apache-2.0
#include "cpu/copies.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "numeric/centroids_view.hpp"
#include "numeric/row_hash.hpp"

namespace fastkmeans::cpu {
namespace {

// So few are compared with each other: hashes would take longer.
constexpr std::int64_t kFew = 32;
// Rows of a partition, about: they are sorted within L1.
constexpr std::int64_t kPerPartition = 1024;

// Rows with their hashes, by the leading bits of these; within a partition in the order of the rows.
using Partition = std::vector<std::pair<std::uint64_t, std::int32_t>>;
std::vector<Partition> partition(const std::vector<std::uint64_t>& hashes) {
  int bits = 1;
  while (static_cast<std::int64_t>(hashes.size()) >> bits > kPerPartition) ++bits;
  std::vector<Partition> partitions(std::size_t{1} << bits);
  for (Partition& rows : partitions) rows.reserve(std::min(hashes.size(), std::size_t{kPerPartition}));
  for (std::size_t c = 0; c < hashes.size(); ++c)
    partitions[static_cast<std::size_t>(hashes[c] >> (64 - bits))].emplace_back(hashes[c],
                                                                                static_cast<std::int32_t>(c));
  return partitions;
}

}  // namespace

std::vector<std::uint8_t> find_copies(const float* rows, std::int64_t k, std::int64_t d, std::int64_t ld,
                                      Workers& workers) {
  std::vector<std::uint8_t> copies(static_cast<std::size_t>(k));
  const auto are_equal = [&](std::int64_t a, std::int64_t b) {
    // mutant: copies_by_value
    return std::memcmp(rows + a * ld, rows + b * ld, static_cast<std::size_t>(d) * sizeof(float)) == 0;
  };
  if (k <= kFew) {
    for (std::int64_t c = 1; c < k; ++c)
      for (std::int64_t lower = 0; lower < c && !copies[static_cast<std::size_t>(c)]; ++lower)
        copies[static_cast<std::size_t>(c)] = are_equal(lower, c);
    return copies;
  }
  std::vector<std::uint64_t> hashes(copies.size());
  const double operations = 4.0 * static_cast<double>(k) * static_cast<double>(d);
  workers.for_blocks(k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c)
      hashes[static_cast<std::size_t>(c)] = row_hash(rows + c * ld, d);
  });
  std::vector<Partition> partitions = partition(hashes);
  const double sorting = 50.0 * static_cast<double>(k);
  workers.for_each(static_cast<std::int64_t>(partitions.size()), sorting, [&](std::int64_t p, int) {
    Partition& rows_of = partitions[static_cast<std::size_t>(p)];
    std::sort(rows_of.begin(), rows_of.end());  // by hash, then by c
    auto lowest = rows_of.begin();
    for (auto at = lowest; at != rows_of.end(); ++at) {
      if (at->first != lowest->first) lowest = at;  // mutant: copies_by_hash
      // mutant: lowest_is_no_copy
      copies[static_cast<std::size_t>(at->second)] = at != lowest && are_equal(lowest->second, at->second);
    }
  });
  return copies;
}

}  // namespace fastkmeans::cpu
