// SPDX-License-Identifier: Apache-2.0
// The widest fp32 vector of the instruction set this file is compiled for, as a GCC / Clang vector type: + - * and
// comparisons are the language's own; what it lacks is here. Everything is in an anonymous namespace: see
// kernels_inl.hpp.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fastkmeans::cpu {
namespace {

#if defined(__AVX512F__)
inline constexpr int kWidth = 16;
#elif defined(__AVX2__)
inline constexpr int kWidth = 8;
#else
inline constexpr int kWidth = 4;
#endif

typedef float F32 __attribute__((vector_size(kWidth * 4)));

[[gnu::always_inline]] inline F32 load(const float* p) {
  F32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

[[gnu::always_inline]] inline void store(float* p, F32 v) { std::memcpy(p, &v, sizeof v); }

[[gnu::always_inline]] inline F32 broadcast(float v) { return v - F32{}; }  // v - 0 = v, -0 too

// a * b + c for scores: one rounding where the hardware has fma, else two. The filter's bound allows for either.
[[gnu::always_inline]] inline F32 multiply_add(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// fma(t, t, s) for s >= 0, exact to the bit on any hardware.
[[gnu::always_inline]] inline F32 square_add(F32 t, F32 s) {
#if defined(__AVX2__)
  return multiply_add(t, t, s);
#elif defined(__aarch64__)
  F32 r;
  for (int i = 0; i < kWidth; ++i) r[i] = __builtin_fmaf(t[i], t[i], s[i]);
  return r;
#else
  // t * t is exact in fp64. Its sum with s is rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly
  // rounded sums: proved algorithms using rounding to odd", 2008): 53 bits >= 24 + 2, so that rounding to fp32 is then
  // right.
  typedef float F32Half __attribute__((vector_size(8)));
  typedef double F64 __attribute__((vector_size(16)));
  typedef std::int64_t I64 __attribute__((vector_size(16)));
  F32 r;
  for (int half = 0; half < 2; ++half) {
    F32Half th, sh;
    std::memcpy(&th, reinterpret_cast<const char*>(&t) + 8 * half, 8);
    std::memcpy(&sh, reinterpret_cast<const char*>(&s) + 8 * half, 8);
    const F64 td = __builtin_convertvector(th, F64), sd = __builtin_convertvector(sh, F64);
    const F64 product = td * td;
    const F64 sum = product + sd;
    const F64 part = sum - product;
    const F64 error = (product - (sum - part)) + (sd - part);  // TwoSum: sum + error is exact
    I64 bits;
    std::memcpy(&bits, &sum, 16);
    const I64 even = (bits & 1) - 1;  // all ones where the last bit is 0
    bits -= even & (error > 0.0);     // comparisons are 0 or -1: towards the error, to the odd neighbour
    bits += even & (error < 0.0);
    F64 odd;
    std::memcpy(&odd, &bits, 16);
    const F32Half rounded = __builtin_convertvector(odd, F32Half);
    std::memcpy(reinterpret_cast<char*>(&r) + 8 * half, &rounded, 8);
  }
  return r;
#endif
}

// Bit l of the result: a[l] >= t[l].
[[gnu::always_inline]] inline std::uint32_t at_least(F32 a, F32 t) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, t, _CMP_GE_OQ);
#elif defined(__AVX2__)
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, t, _CMP_GE_OQ)));
#elif defined(__SSE2__)
  return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmpge_ps(a, t)));
#else
  std::uint32_t mask = 0;
  for (int l = 0; l < kWidth; ++l) mask |= static_cast<std::uint32_t>(a[l] >= t[l]) << l;
  return mask;
#endif
}

}  // namespace
}  // namespace fastkmeans::cpu
