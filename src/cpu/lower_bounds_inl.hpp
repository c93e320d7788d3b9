// SPDX-License-Identifier: Apache-2.0
// Lower bounds: which rows they do not exclude, and how the best scores make them.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include <cstring>

#include "cpu/simd.hpp"
#include "sketch/lower_bound.hpp"

namespace fastkmeans::cpu {
namespace {

typedef StoredBound Stored __attribute__((vector_size(kWidth * 2)));

std::int64_t choose(const StoredBound* lower, std::int32_t drift, float inverse_unit, const float* radii,
                    std::int64_t n, std::int32_t* rows) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    Stored stored;
    std::memcpy(&stored, lower + i, sizeof stored);
    const I32 bound = __builtin_convertvector(stored, I32) - drift;  // mutant: lower_bound_less_moves
    std::uint32_t near = at_least(load(radii + i) * inverse_unit, __builtin_convertvector(bound, F32));
    if (n - i < kWidth) near &= (std::uint32_t{1} << (n - i)) - 1;
    for (; near; near &= near - 1) rows[count++] = static_cast<std::int32_t>(i + __builtin_ctz(near));
  }
  return count;
}

void lower_bounds(const float* best, const float* sq_norms, const float* errors, float underflow, float factor,
                  float inverse_unit, std::int32_t drift, std::int64_t n, StoredBound* lower) {
  // Down by more than the few roundings: those of the root's argument, of the root, of the difference.
  constexpr float kDown = 1 - 0x1p-20f;
  constexpr auto kMost = static_cast<float>(kMostBound);
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const F32 b = load(best + i);
    F32 square = ((load(sq_norms + i) - (b + b)) - underflow) * factor;  // mutant: lower_bound_underflow
    square = square > F32{} ? square : F32{};
    F32 radius = root(square) * kDown - load(errors + i);  // mutant: lower_bound_radius
    radius = (radius > F32{} ? radius : F32{}) * inverse_unit;
    I32 bound = __builtin_convertvector(radius < kMost ? radius : broadcast(kMost), I32) + drift;
    bound = bound < kMostBound ? bound : broadcast_integer(kMostBound);  // mutant: lower_bound_saturates
    const Stored stored = __builtin_convertvector(bound, Stored);
    std::memcpy(lower + i, &stored, sizeof stored);
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
