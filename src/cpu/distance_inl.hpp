// SPDX-License-Identifier: Apache-2.0
// D, to the bit (numeric/distance.hpp).
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/layout.hpp"
#include "cpu/simd.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

float distance(const float* x, const float* c, std::int64_t n) {
  constexpr int kVectors = kLanes / kWidth;
  F32 lane[kVectors] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int v = 0; v < kVectors; ++v) {
      const F32 t = load(x + j + v * kWidth) - load(c + j + v * kWidth);
      lane[v] = square_add(t, lane[v]);
    }
  if (j < n)  // kPadding more: the lower half of the lanes
    for (int v = 0; v < kPadding / kWidth; ++v) {
      const F32 t = load(x + j + v * kWidth) - load(c + j + v * kWidth);
      lane[v] = square_add(t, lane[v]);
    }
  for (int half = kVectors / 2; half >= 1; half /= 2)
    for (int v = 0; v < half; ++v) lane[v] = lane[v] + lane[v + half];  // mutant: distance_tree
  return sum_lanes(lane[0]);
}

}  // namespace
}  // namespace fastkmeans::cpu
