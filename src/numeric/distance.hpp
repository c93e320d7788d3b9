// SPDX-License-Identifier: Apache-2.0
// D, the distance that decides labels (docs/algorithm.md section 1), and the constants that go with it.
//
// D(x, c): 32 lanes; lane l takes dimensions l, l + 32, ...: t = x_j - c_j, s_l = fma(t, t, s_l); then the lanes are
// added as a tree, l with l + 16, + 8, + 4, + 2, + 1. All in fp32, round to nearest even. Every shard computes these
// very bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

inline constexpr int kLanes = 32;

// Where max(|x|_inf, max|C|) is below this, squares would sink into denormals: both are multiplied by kTinyScale first.
inline constexpr float kTinyBelow = 0x1p-32f;
inline constexpr float kTinyScale = 0x1p64f;
inline bool is_tiny(const float* values, std::int64_t count) {
  return std::all_of(values, values + count, [](float v) { return std::abs(v) < kTinyBelow; });  // mutant: is_tiny
}

// The unit roundoff of fp32, and D's own relative rounding g: with Delta the true distance,
// Delta^2 <= D (1 + g) + d 2^-148 and D <= Delta^2 (1 + g) + d 2^-148.
inline constexpr double kUnitRoundoff = 0x1p-24;
FASTKMEANS_BOTH inline double distance_rounding(std::int64_t d) {
  return 1.01 * (static_cast<double>((d + kLanes - 1) / kLanes) + 8) * kUnitRoundoff;
}

// |a - b|^2 in fp64, for what may be rounded: who stands where, how far something moved.
inline double sq_distance(const float* a, const float* b, std::int64_t d) {
  double lane[8] = {};  // sums that do not wait for each other
  std::int64_t j = 0;
  for (; j + 8 <= d; j += 8)
    for (std::int64_t l = 0; l < 8; ++l) {
      const double t = static_cast<double>(a[j + l]) - static_cast<double>(b[j + l]);
      lane[l] += t * t;
    }
  for (; j < d; ++j) {
    const double t = static_cast<double>(a[j]) - static_cast<double>(b[j]);
    lane[0] += t * t;
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// A stored distance is D >= 0; the sign bit says that it was computed from rows multiplied by kTinyScale.
FASTKMEANS_BOTH inline float store_distance(float distance, bool scaled) { return scaled ? -distance : distance; }
FASTKMEANS_BOTH inline double true_distance(float stored) {
  return std::bit_cast<std::int32_t>(stored) < 0 ? -static_cast<double>(stored) * 0x1p-128
                                                 : static_cast<double>(stored);
}

// Rows with an element of this magnitude or more are refused: D must stay finite, and d (2 * 2^56)^2 < 2^128 up to
// d = 2^13; beyond, the limit sinks by one binade for each factor of 4 in d.
inline std::uint32_t magnitude_limit_bits(std::int64_t d) {
  int exponent = 56;
  for (std::int64_t most = 8192; most < d; most *= 4) --exponent;
  return static_cast<std::uint32_t>(exponent + 127) << 23;
}
inline float magnitude_limit(std::int64_t d) { return std::bit_cast<float>(magnitude_limit_bits(d)); }

// |v| as ordered bits: as unsigned integers they compare like the magnitudes, and NaN and infinity are above all
// others.
FASTKMEANS_BOTH inline std::uint32_t magnitude_bits(float v) { return std::bit_cast<std::uint32_t>(v) & 0x7fffffffu; }

}  // namespace fastkmeans
