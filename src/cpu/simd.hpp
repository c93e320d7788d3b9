// SPDX-License-Identifier: Apache-2.0
// The widest fp32 vector of the instruction set this file is compiled for, as a GCC / Clang vector type: + - * and
// comparisons are the language's own; what it lacks is here. Everything is in an anonymous namespace: see
// kernels_inl.hpp.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
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

typedef std::int32_t I32 __attribute__((vector_size(kWidth * 4)));

[[gnu::always_inline]] inline I32 load_integers(const std::int32_t* p) {
  I32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

[[gnu::always_inline]] inline I32 broadcast_integer(std::int32_t v) { return v + I32{}; }

// The numbers of a vector's lanes, for shuffles written once for all widths.
template <int... L>
struct Lanes {};
#if defined(__AVX512F__)
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#elif defined(__AVX2__)
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#else
using AllLanes = Lanes<0, 1, 2, 3>;
#endif

// Lane l of the result: v[l ^ S].
template <int S, class V, int... L>
[[gnu::always_inline]] inline V shuffle_xor(V v, Lanes<L...>) {
  return __builtin_shufflevector(v, v, (L ^ S)...);
}

template <class V>
[[gnu::always_inline]] inline auto sum_lanes(V v) {
  if constexpr (kWidth > 8) v = v + shuffle_xor<8>(v, AllLanes());
  if constexpr (kWidth > 4) v = v + shuffle_xor<4>(v, AllLanes());
  v = v + shuffle_xor<2>(v, AllLanes());
  v = v + shuffle_xor<1>(v, AllLanes());
  return v[0];
}

[[gnu::always_inline]] inline F32 larger(F32 a, F32 b) { return a > b ? a : b; }

[[gnu::always_inline]] inline float largest_lane(F32 v) {
  if constexpr (kWidth > 8) v = larger(v, shuffle_xor<8>(v, AllLanes()));
  if constexpr (kWidth > 4) v = larger(v, shuffle_xor<4>(v, AllLanes()));
  v = larger(v, shuffle_xor<2>(v, AllLanes()));
  v = larger(v, shuffle_xor<1>(v, AllLanes()));
  return v[0];
}

// a * b + c for scores: one rounding where the hardware has fma, else two. The filter's bound allows for either.
[[gnu::always_inline]] inline F32 multiply_add(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// fma(a, b, s), exact to the bit on any hardware.
[[gnu::always_inline]] inline F32 exact_fma(F32 a, F32 b, F32 s) {
#if defined(__AVX2__) || defined(__aarch64__)
  return multiply_add(a, b, s);
#else
  // a * b is exact in fp64. Its sum with s is rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly
  // rounded sums: proved algorithms using rounding to odd", 2008): 53 bits >= 24 + 2, so that rounding to fp32 is then
  // right.
  typedef float F32Half __attribute__((vector_size(8)));
  typedef double F64 __attribute__((vector_size(16)));
  typedef std::int64_t I64 __attribute__((vector_size(16)));
  F32 r;
  for (int half = 0; half < 2; ++half) {
    F32Half ah, bh, sh;
    std::memcpy(&ah, reinterpret_cast<const char*>(&a) + 8 * half, 8);
    std::memcpy(&bh, reinterpret_cast<const char*>(&b) + 8 * half, 8);
    std::memcpy(&sh, reinterpret_cast<const char*>(&s) + 8 * half, 8);
    const F64 sd = __builtin_convertvector(sh, F64);
    const F64 product = __builtin_convertvector(ah, F64) * __builtin_convertvector(bh, F64);
    const F64 sum = product + sd;
    const F64 part = sum - product;
    const F64 error = (product - (sum - part)) + (sd - part);  // TwoSum: sum + error is exact
    I64 bits;
    std::memcpy(&bits, &sum, 16);
    const I64 even = (bits & 1) - 1;  // all ones where the last bit is 0
    // mutant: fma_below_zero
    const F64 outward = sum < 0 ? -error : error;  // as bits are a magnitude
    // mutant: fma_sticky_down
    bits -= even & (outward > 0.0);  // comparisons are 0 or -1: towards the error, to the odd neighbour
    bits += even & (outward < 0.0);  // mutant: fma_sticky_up
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
#elif defined(__aarch64__)
  return vaddvq_u32(vandq_u32(vcgeq_f32(a, t), uint32x4_t{1, 2, 4, 8}));
#else
  std::uint32_t mask = 0;
  for (int l = 0; l < kWidth; ++l) mask |= static_cast<std::uint32_t>(a[l] >= t[l]) << l;
  return mask;
#endif
}

// Whether a[l] >= t[l] or b[l] >= t[l] anywhere.
[[gnu::always_inline]] inline bool any_at_least(F32 a, F32 b, F32 t) {
#if defined(__AVX512F__)
  return !_kortestz_mask16_u8(_mm512_cmp_ps_mask(a, t, _CMP_GE_OQ), _mm512_cmp_ps_mask(b, t, _CMP_GE_OQ));
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a, t, _CMP_GE_OQ), _mm256_cmp_ps(b, t, _CMP_GE_OQ)));
#elif defined(__aarch64__)
  return vmaxvq_u32(vorrq_u32(vcgeq_f32(a, t), vcgeq_f32(b, t)));
#else
  return at_least(a, t) | at_least(b, t);
#endif
}

// Swaps the odd blocks of S lanes of `low` with the even ones of `high`.
template <int S, int... L>
[[gnu::always_inline]] inline void exchange(F32& low, F32& high, Lanes<L...>) {
  const F32 a = low, b = high;
  low = __builtin_shufflevector(a, b, (L & S ? kWidth + L - S : L)...);
  high = __builtin_shufflevector(a, b, (L & S ? kWidth + L : L + S)...);
}

template <int S>
[[gnu::always_inline]] inline void transpose_blocks(F32 (&rows)[kWidth]) {
  for (int i = 0; i < kWidth; ++i)
    if ((i & S) == 0) exchange<S>(rows[i], rows[i + S], AllLanes());
}

// rows[i][l] becomes rows[l][i].
[[gnu::always_inline]] inline void transpose(F32 (&rows)[kWidth]) {
  transpose_blocks<1>(rows);
  transpose_blocks<2>(rows);
  if constexpr (kWidth > 4) transpose_blocks<4>(rows);
  if constexpr (kWidth > 8) transpose_blocks<8>(rows);
}

[[gnu::always_inline]] inline F32 root(F32 v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, v);  // the plain one sets off a false warning of GCC 12
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(v);
#elif defined(__aarch64__)
  return vsqrtq_f32(v);
#else
  for (int l = 0; l < kWidth; ++l) v[l] = __builtin_sqrtf(v[l]);
  return v;
#endif
}

}  // namespace
}  // namespace fastkmeans::cpu
