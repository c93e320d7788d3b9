// SPDX-License-Identifier: Apache-2.0
// The order in which squares are added, in D and in the lengths of the spherical metric (docs/algorithm.md sections 1
// and 8), as plain loops.
#pragma once

#include <cmath>
#include <cstdint>

#include "numeric/distance.hpp"

namespace fastkmeans {

// The sum of term(j)^2 for j in [0, d): lane l takes l, l + 32, ... by fma; then the lanes are added as a tree.
template <class T, class Term>
T sum_of_squares(std::int64_t d, const Term& term) {
  T lane[kLanes] = {};
  for (std::int64_t j = 0; j < d; ++j) {
    const T t = term(j);
    lane[j % kLanes] = std::fma(t, t, lane[j % kLanes]);
  }
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

}  // namespace fastkmeans
