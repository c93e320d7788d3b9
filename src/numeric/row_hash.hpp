// SPDX-License-Identifier: Apache-2.0
// A hash of a row by value: rows that are equal (-0 equals 0) have the same. Who finds it again must compare.
#pragma once

#include <bit>
#include <cstdint>

namespace fastkmeans {

inline std::uint64_t row_hash(const float* row, std::int64_t d) {
  std::uint64_t hash =
      0x9E3779B97F4A7C15;  // odd constants with no pattern: the golden ratio, and one of splitmix's kind
  for (std::int64_t j = 0; j < d; ++j) {
    // mutant: minus_zero
    hash ^= std::bit_cast<std::uint32_t>(row[j] + 0.0f);  // -0 + 0 = 0
    hash *= 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace fastkmeans
