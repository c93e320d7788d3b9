// SPDX-License-Identifier: Apache-2.0
#include "cpu/copies.hpp"

#include <algorithm>
#include <cstring>

#include "numeric/centroids_view.hpp"
#include "numeric/row_hash.hpp"

namespace fastkmeans::cpu {
namespace {

// Rows of a partition, about: they are sorted within L1.
constexpr std::int64_t kPerPartition = 1024;

struct Hashed {
  std::uint64_t hash;
  std::int32_t c;
  // mutant: copy_of_lowest
  bool operator<(const Hashed& other) const { return hash != other.hash ? hash < other.hash : c < other.c; }
};

// The rows by the leading bits of their hashes: partition p is [starts[p], starts[p + 1]).
struct Partitions {
  std::vector<Hashed> rows;
  std::vector<std::int64_t> starts;

  explicit Partitions(const std::vector<std::uint64_t>& hashes) : rows(hashes.size()) {
    int bits = 1;
    while (static_cast<std::int64_t>(hashes.size()) >> bits > kPerPartition) ++bits;
    const auto partition = [bits](std::uint64_t hash) { return static_cast<std::size_t>(hash >> (64 - bits)); };
    starts.resize((std::size_t{1} << bits) + 1);
    for (const std::uint64_t hash : hashes) ++starts[partition(hash) + 1];
    for (std::size_t p = 1; p < starts.size(); ++p) starts[p] += starts[p - 1];
    std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
    for (std::size_t c = 0; c < hashes.size(); ++c)
      rows[static_cast<std::size_t>(next[partition(hashes[c])]++)] = {hashes[c], static_cast<std::int32_t>(c)};
  }
  std::int64_t count() const { return static_cast<std::int64_t>(starts.size()) - 1; }
};

}  // namespace

std::vector<std::uint8_t> find_copies(const float* rows, std::int64_t k, std::int64_t d, std::int64_t ld,
                                      Workers& workers) {
  std::vector<std::uint8_t> copies(static_cast<std::size_t>(k));
  std::vector<std::uint64_t> hashes(copies.size());
  const double operations = 4.0 * static_cast<double>(k) * static_cast<double>(d);
  workers.for_blocks(k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c)
      hashes[static_cast<std::size_t>(c)] = row_hash(rows + c * ld, d);
  });
  Partitions partitions(hashes);
  const double sorting = 50.0 * static_cast<double>(k);
  workers.for_each(partitions.count(), sorting, [&](std::int64_t p, int) {
    const auto begin = partitions.rows.begin() + partitions.starts[static_cast<std::size_t>(p)],
               end = partitions.rows.begin() + partitions.starts[static_cast<std::size_t>(p) + 1];
    std::sort(begin, end);
    for (auto lowest = begin, at = begin; at != end; ++at) {
      if (at->hash != lowest->hash) lowest = at;  // mutant: copies_by_hash
      copies[static_cast<std::size_t>(at->c)] =
          at != lowest &&  // mutant: lowest_is_no_copy
          // mutant: copies_by_value
          std::memcmp(rows + lowest->c * ld, rows + at->c * ld, static_cast<std::size_t>(d) * sizeof(float)) == 0;
    }
  });
  return copies;
}

}  // namespace fastkmeans::cpu
