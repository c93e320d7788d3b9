// SPDX-License-Identifier: Apache-2.0
// fp32 arithmetic rounded up or down, so that bounds hold without an account of roundings. On a device each is one
// instruction. On the host it is done in fp64 first, for tests: the last bit of that may be wrong.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

// The largest fp32 number <= v, for finite results (std::nextafter is a call, and this runs for every row).
FASTKMEANS_BOTH inline float round_down(double v) {
  const auto f = static_cast<float>(v);
  if (static_cast<double>(f) <= v) return f;
  const auto bits = std::bit_cast<std::int32_t>(f);  // below 0 the magnitude grows, above it shrinks; f = 0 means v < 0
  return std::bit_cast<float>(f > 0 ? bits - 1 : f < 0 ? bits + 1 : static_cast<std::int32_t>(0x80000001));
}
FASTKMEANS_BOTH inline float round_up(double v) { return -round_down(-v); }

#if defined(__CUDA_ARCH__)
__device__ inline float add_up(float a, float b) { return __fadd_ru(a, b); }
__device__ inline float subtract_down(float a, float b) { return __fsub_rd(a, b); }
__device__ inline float multiply_up(float a, float b) { return __fmul_ru(a, b); }
__device__ inline float multiply_down(float a, float b) { return __fmul_rd(a, b); }
__device__ inline float multiply_add_up(float a, float b, float c) { return __fmaf_ru(a, b, c); }
__device__ inline float root_up(float a) { return __fsqrt_ru(a); }
#else
FASTKMEANS_BOTH inline float add_up(float a, float b) {
  return round_up(static_cast<double>(a) + static_cast<double>(b));
}
FASTKMEANS_BOTH inline float subtract_down(float a, float b) {
  return round_down(static_cast<double>(a) - static_cast<double>(b));
}
FASTKMEANS_BOTH inline float multiply_up(float a, float b) {
  return round_up(static_cast<double>(a) * static_cast<double>(b));
}
FASTKMEANS_BOTH inline float multiply_down(float a, float b) {
  return round_down(static_cast<double>(a) * static_cast<double>(b));
}
FASTKMEANS_BOTH inline float multiply_add_up(float a, float b, float c) {
  return round_up(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
}
FASTKMEANS_BOTH inline float root_up(float a) { return round_up(std::sqrt(static_cast<double>(a))); }
#endif

}  // namespace fastkmeans
