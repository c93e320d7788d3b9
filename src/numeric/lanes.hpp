// SPDX-License-Identifier: Apache-2.0
// The order in which terms are added, in D, in the lengths of the spherical metric and in inner products
// (docs/algorithm.md sections 1 and 8), as plain loops.
#pragma once

#include <cmath>
#include <cstdint>

#include "numeric/distance.hpp"

namespace fastkmeans {

// For j in [0, d): lane l takes l, l + 32, ..., each lane = add(j, lane); then the lanes are added as a tree.
template <class T, class Add>
T sum_in_lanes(std::int64_t d, const Add& add) {
  T lane[kLanes] = {};
  for (std::int64_t j = 0; j < d; ++j) lane[j % kLanes] = add(j, lane[j % kLanes]);
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

// The sum of term(j)^2, by fma.
template <class T, class Term>
T sum_of_squares(std::int64_t d, const Term& term) {
  return sum_in_lanes<T>(d, [&term](std::int64_t j, T lane) {
    const T t = term(j);
    return std::fma(t, t, lane);
  });
}

}  // namespace fastkmeans
