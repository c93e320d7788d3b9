// SPDX-License-Identifier: Apache-2.0
// Lower bounds on the distances of a row to a group of centroids, in 16 bits: the rule (docs/filter.md section 6.5).
//
// They count in a unit, a power of two, so that no product with it rounds. A stored bound s includes the group's drift,
// an integer that grows as its centroids move, at the time of storing: always |x - c| >= (s - drift) units.
#pragma once

#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

using StoredBound = std::uint16_t;
inline constexpr std::int32_t kMostBound = 65534;
// A drift beyond this is taken from the bounds, so that they keep half of their range.
inline constexpr std::int32_t kMostDrift = 1 << 15;

// The inverse of a unit in which a typical distance is 2^9 to 2^10: rounding costs a 500th of it, and the bounds
// reach to 32 times as far at least. Any other unit is as valid.
inline float inverse_bound_unit(double typical_distance) {
  return typical_distance > 0 ? static_cast<float>(std::ldexp(1.0, 9 - std::ilogb(typical_distance))) : 1.0f;
}

// bound: >= 0, in units.
FASTKMEANS_BOTH inline StoredBound stored_bound(float bound, std::int32_t drift) {
  const std::int32_t whole = bound < kMostBound ? static_cast<std::int32_t>(bound) : kMostBound;
  return static_cast<StoredBound>(whole + drift < kMostBound ? whole + drift : kMostBound);
}

// Drift after the group's largest move, in units.
FASTKMEANS_BOTH inline std::int32_t drift_after(std::int32_t drift, float moved) {
  // mutant: lower_bound_moves_add_up
  return drift + (moved < kMostBound ? static_cast<std::int32_t>(std::ceil(moved)) : kMostBound);
}

// All centroids of the group are farther than `radius` units.
FASTKMEANS_BOTH inline bool excludes(StoredBound bound, std::int32_t drift, float radius) {
  return static_cast<float>(bound - drift) > radius;
}

// Where the drift begins at 0 again.
FASTKMEANS_BOTH inline StoredBound rebased(StoredBound bound, std::int32_t drift) {
  return static_cast<StoredBound>(bound > drift ? bound - drift : 0);  // mutant: lower_bound_rebased
}

// Where some of the group, the movers, were scored apart: movers is a bound of theirs, in units, without a drift.
FASTKMEANS_BOTH inline StoredBound lowered(StoredBound bound, std::int32_t drift, StoredBound movers) {
  return static_cast<StoredBound>(bound < movers + drift ? bound : movers + drift);  // mutant: lower_bound_lowered
}

}  // namespace fastkmeans
