// SPDX-License-Identifier: Apache-2.0
// A hash of a row by value: rows that are equal (-0 equals 0) have the same. Who finds it again must compare.
#pragma once

#include <bit>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

FASTKMEANS_BOTH inline std::uint64_t row_hash(const float* row, std::int64_t d) {
  // Odd constants with no pattern: the golden ratio, and one of splitmix's kind.
  constexpr std::uint64_t kBegin = 0x9E3779B97F4A7C15, kFactor = 0xD6E8FEB86659FD93;
  const auto mix = [](std::uint64_t& hash, std::uint64_t value) {
    hash = (hash ^ value) * kFactor;
    hash ^= hash >> 32;
  };
  constexpr int kChains = 4;  // side by side: a multiplication takes longer than it keeps its unit busy
  std::uint64_t chains[kChains] = {kBegin, kBegin, kBegin, kBegin};
  for (std::int64_t j = 0; j < d; j += kChains)
    for (int chain = 0; chain < kChains; ++chain)
      // mutant: minus_zero
      if (j + chain < d) mix(chains[chain], std::bit_cast<std::uint32_t>(row[j + chain] + 0.0f));  // -0 + 0 = 0
  for (int chain = 1; chain < kChains; ++chain) mix(chains[0], chains[chain]);
  return chains[0];
}

}  // namespace fastkmeans
