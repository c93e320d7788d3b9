// SPDX-License-Identifier: Apache-2.0
// Random numbers as a function of (seed, row, purpose, redo): Philox 4x32-10, Salmon et al., "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011. No state, so any thread may ask for any row.
#pragma once

#include <array>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

enum class Purpose : std::uint32_t {
  sample = 0,
  initial_centroids = 1,
  rotation = 2,
  verification = 3,
  kmeans_plus_plus = 4,
  empty_clusters = 5,
  kmeans_parallel = 6,
  proposal = 7,
  acceptance = 8
};

FASTKMEANS_BOTH inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                           std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

__extension__ typedef unsigned __int128 Uint128;

// floor(u total / 2^128), u being four words, the lowest first; total: below 2^127.
inline Uint128 draw_below(Uint128 total, std::array<std::uint32_t, 4> u) {
  const std::uint64_t u0 = u[0] | std::uint64_t{u[1]} << 32, u1 = u[2] | std::uint64_t{u[3]} << 32;
  const auto low = static_cast<std::uint64_t>(total), high = static_cast<std::uint64_t>(total >> 64);
  // Digits of 64 bits: none of these sums reaches 2^128.
  const Uint128 middle = Uint128{u1} * low + (Uint128{u0} * low >> 64);
  const Uint128 carry = (Uint128{u0} * high + static_cast<std::uint64_t>(middle)) >> 64;
  return Uint128{u1} * high + (middle >> 64) + carry;  // mutant: draw_carry
}

FASTKMEANS_BOTH inline std::array<std::uint32_t, 4> random_words(std::uint64_t seed,
                                                                 const std::array<std::uint32_t, 4>& counter) {
  return philox(counter, {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

FASTKMEANS_BOTH inline std::uint64_t random_bits(std::uint64_t seed, const std::array<std::uint32_t, 4>& counter) {
  const auto r = random_words(seed, counter);
  return r[0] | std::uint64_t{r[1]} << 32;
}

// The 64 bits that decide where row i stands in a random order.
FASTKMEANS_BOTH inline std::uint64_t row_key(std::uint64_t seed, std::uint64_t i, Purpose purpose, std::uint32_t redo) {
  return random_bits(seed, {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32),
                            static_cast<std::uint32_t>(purpose), redo});
}

}  // namespace fastkmeans
