// SPDX-License-Identifier: Apache-2.0
// Lower bounds: which rows they do not exclude, and how the best scores make them.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

std::int64_t choose(const float* lower, float drift, const float* radii, std::int64_t n, std::int32_t* rows) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    // mutant: lower_bound_less_moves
    std::uint32_t near = at_least(load(radii + i), load(lower + i) - broadcast(drift));
    if (n - i < kWidth) near &= (std::uint32_t{1} << (n - i)) - 1;
    for (; near; near &= near - 1) rows[count++] = static_cast<std::int32_t>(i + __builtin_ctz(near));
  }
  return count;
}

void lower_bounds(const float* best, const float* sq_norms, const float* errors, float underflow, float factor,
                  float drift, std::int64_t n, float* lower) {
  // Down by more than the few roundings: those of the root's argument and of the root, then those of the two sums.
  constexpr float kDown = 1 - 0x1p-20f, kDownAgain = 1 - 0x1p-22f;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const F32 b = load(best + i);
    F32 square = ((load(sq_norms + i) - (b + b)) - underflow) * factor;  // mutant: lower_bound_underflow
    square = square > F32{} ? square : F32{};
    F32 radius = root(square) * kDown - load(errors + i);  // mutant: lower_bound_radius
    radius = radius > F32{} ? radius : F32{};
    store(lower + i, (radius + drift) * kDownAgain);  // mutant: lower_bound_sum_down
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
