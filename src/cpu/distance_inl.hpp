// SPDX-License-Identifier: Apache-2.0
// D and L, to the bit (docs/algorithm.md sections 1 and 8).
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/layout.hpp"
#include "cpu/simd.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

// What a dimension adds to its lane.
struct SquaredDifference {
  [[gnu::always_inline]] static F32 add(F32 x, F32 c, F32 s) {
    const F32 t = x - c;
    return exact_fma(t, t, s);
  }
};
struct NegatedProduct {
  [[gnu::always_inline]] static F32 add(F32 x, F32 c, F32 s) { return exact_fma(-x, c, s); }
};

template <class Term>
float sum_in_lanes(const float* x, const float* c, std::int64_t n) {
  constexpr int kVectors = kLanes / kWidth;
  F32 lane[kVectors] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int v = 0; v < kVectors; ++v) lane[v] = Term::add(load(x + j + v * kWidth), load(c + j + v * kWidth), lane[v]);
  if (j < n)  // kPadding more: the lower half of the lanes
    for (int v = 0; v < kPadding / kWidth; ++v)
      lane[v] = Term::add(load(x + j + v * kWidth), load(c + j + v * kWidth), lane[v]);
  for (int half = kVectors / 2; half >= 1; half /= 2)
    for (int v = 0; v < half; ++v) lane[v] = lane[v] + lane[v + half];  // mutant: distance_tree
  return sum_lanes(lane[0]);
}

}  // namespace
}  // namespace fastkmeans::cpu
