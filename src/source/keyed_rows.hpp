// SPDX-License-Identifier: Apache-2.0
// Rows chosen by their random keys (docs/algorithm.md section 5).
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/both.hpp"
#include "numeric/random.hpp"

namespace fastkmeans {

// Keys from low to high, both included, of one random order.
struct KeyRange {
  std::uint64_t seed;
  Purpose purpose;
  std::uint32_t redo;
  std::uint64_t low, high;

  // Of a row, by its number among the rows of all shards.
  FASTKMEANS_BOTH std::uint64_t key(std::int64_t number) const {
    return row_key(seed, static_cast<std::uint64_t>(number), purpose, redo);
  }
  FASTKMEANS_BOTH bool holds(std::uint64_t key) const { return low <= key && key <= high; }
};

// A row of a source, and its place in the random order.
struct KeyedRow {
  std::uint64_t key;
  std::int64_t index;
};

// In the order of their source, in parts as they were found: not together, which would take the memory twice.
using KeyedRows = std::vector<std::vector<KeyedRow>>;

}  // namespace fastkmeans
