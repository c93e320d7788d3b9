// SPDX-License-Identifier: Apache-2.0
// What is least for the label of a row, a type for each: D, or L, the negative of the inner product (docs/algorithm.md
// sections 1 and 8). How it is computed, stored and compared, and how near a centroid lies whose loss is known.
#pragma once

#include <cstdint>

#include "cuda/statistics.hpp"
#include "cuda/sums.hpp"
#include "numeric/distance.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// The best centroid so far: the least loss, ties to the lowest index.
struct Best {
  float distance;  // or L
  std::int32_t label;
  __device__ void take(float other, std::int32_t c) {
    if (other < distance || (other == distance && c < label)) {
      distance = other;
      label = c;
    }
  }
};

struct Distance {
  float factor = 1;  // or kTinyScale, for scaled pairs

  static __device__ Distance of_row(std::uint8_t state, bool tiny) {
    return {tiny && (state & kTinyRow) ? kTinyScale : 1.0f};
  }
  // The lane with one dimension more.
  __device__ float add(float x, float c, float lane) const {
    const float t = x * factor - c * factor;
    return fmaf(t, t, lane);
  }
  __device__ float stored(float distance) const { return store_distance(distance, factor != 1.0f); }

  // As one integer, of which the least is the best. D >= 0, so its bits are ordered as it is.
  static __device__ Integer packed(const Best& best) {
    return Integer{__float_as_uint(best.distance)} << 32 | static_cast<std::uint32_t>(best.label);
  }
  static __device__ Best unpacked(Integer best) {
    return {__uint_as_float(static_cast<std::uint32_t>(best >> 32)), static_cast<std::int32_t>(best)};
  }

  // |x - c| is at most this, x being row i. own_losses: L of each row and itself, where it is needed.
  static __device__ double radius(const FilterBound& bound, float distance, const float*, int) {
    return bound.radius(distance);
  }
};

struct NegatedProduct {
  static __device__ NegatedProduct of_row(std::uint8_t, bool) { return {}; }  // small ones are as they are
  __device__ float add(float x, float c, float lane) const { return fmaf(-x, c, lane); }
  __device__ float stored(float loss) const { return loss; }

  // -0 is no less than 0: its sign stands behind the label.
  static __device__ Integer packed(const Best& best) {
    const std::uint32_t bits = __float_as_uint(__fadd_rn(best.distance, 0.0f));
    const std::uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    const bool negative_zero = __float_as_uint(best.distance) == 0x80000000u;
    return Integer{ordered} << 32 | static_cast<std::uint32_t>(best.label) << 1 | (negative_zero ? 1u : 0u);
  }
  static __device__ Best unpacked(Integer best) {
    const auto ordered = static_cast<std::uint32_t>(best >> 32), low = static_cast<std::uint32_t>(best);
    const std::uint32_t bits = ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered;
    return {__uint_as_float(low & 1 ? 0x80000000u : bits), static_cast<std::int32_t>(low >> 1)};
  }

  // Of lifted centroids.
  static __device__ double radius(const FilterBound& bound, float loss, const float* own_losses, int i) {
    return bound.radius(loss, bound.base(own_losses[i]));
  }
};

}  // namespace fastkmeans::cuda
