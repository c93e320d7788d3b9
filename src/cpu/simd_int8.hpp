// SPDX-License-Identifier: Apache-2.0
// Products of int8 on the instruction set this file is compiled for: <q, q'> of rows q in int8 and centroids q' stored
// as q' + kPanelOffset, unsigned where the hardware multiplies unsigned by signed. A panel of kPanel centroids has 4
// elements of each side by side: (size / 4, kPanel, 4). Everything is in an anonymous namespace: see kernels_inl.hpp.
#pragma once

#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

#if defined(FASTKMEANS_AMX)
inline constexpr float kSketchLevels = 127;  // q is in [-127, 127]
inline constexpr int kPanelOffset = 0;
inline constexpr int kSketchRows = 32;     // rows scored together
inline constexpr int kSketchGranule = 64;  // sizes are multiples of this
#elif defined(__AVX512VNNI__)
inline constexpr float kSketchLevels = 127;
inline constexpr int kPanelOffset = 128;
inline constexpr int kSketchRows = 12;
inline constexpr int kSketchGranule = 16;
inline constexpr int kDotStep = 4;  // elements a step of the scan takes
typedef __m512i PanelVector;
typedef __m512i PointVector;
template <int kPanel>
[[gnu::always_inline]] inline PanelVector load_panel(const std::uint8_t* p) {
  return _mm512_loadu_si512(p);
}
[[gnu::always_inline]] inline PointVector load_point(const std::int8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}
[[gnu::always_inline]] inline I32 add_dot(I32 sum, PointVector point, PanelVector panel) {
  return reinterpret_cast<I32>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), panel, point));
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
// vpmaddubsw adds two products in 16 bits, and two of its results are added before one vpmaddwd: 4 * 127 * 63 fits.
inline constexpr float kSketchLevels = 63;  // mutant: sketch_levels_avx2
inline constexpr int kPanelOffset = 64;
inline constexpr int kSketchRows = 4;
inline constexpr int kSketchGranule = 16;
inline constexpr int kDotStep = 8;
struct PanelVector {
  __m256i low, high;
};
typedef PanelVector PointVector;
template <int kPanel>
[[gnu::always_inline]] inline PanelVector load_panel(const std::uint8_t* p) {
  constexpr int kStride = kPanel * 4;  // the next 4 elements of these centroids: one row of the panel on
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + kStride))};
}
[[gnu::always_inline]] inline PointVector load_point(const std::int8_t* p) {
  std::int32_t four[2];
  std::memcpy(four, p, sizeof four);
  return {_mm256_set1_epi32(four[0]), _mm256_set1_epi32(four[1])};
}
[[gnu::always_inline]] inline I32 add_dot(I32 sum, PointVector point, PanelVector panel) {
  const __m256i pairs =
      _mm256_add_epi16(_mm256_maddubs_epi16(panel.low, point.low), _mm256_maddubs_epi16(panel.high, point.high));
  return sum + reinterpret_cast<I32>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#elif defined(__ARM_FEATURE_DOTPROD)
// 16 elements of a row are one load: sdot takes 4 of them by their place in the register.
inline constexpr float kSketchLevels = 127;
inline constexpr int kPanelOffset = 0;
inline constexpr int kSketchRows = 8;
inline constexpr int kSketchGranule = 16;
inline constexpr int kDotStep = 16;
typedef int8x16x4_t PanelVector;
typedef int8x16_t PointVector;
template <int kPanel>
[[gnu::always_inline]] inline PanelVector load_panel(const std::uint8_t* p) {
  const std::int8_t* q = reinterpret_cast<const std::int8_t*>(p);
  constexpr int kStride = kPanel * 4;  // the next 4 elements of these centroids: one row of the panel on
  return {{vld1q_s8(q), vld1q_s8(q + kStride), vld1q_s8(q + 2 * kStride), vld1q_s8(q + 3 * kStride)}};
}
[[gnu::always_inline]] inline PointVector load_point(const std::int8_t* p) { return vld1q_s8(p); }
[[gnu::always_inline]] inline I32 add_dot(I32 sum, PointVector point, PanelVector panel) {
  sum = vdotq_laneq_s32(sum, panel.val[0], point, 0);
  sum = vdotq_laneq_s32(sum, panel.val[1], point, 1);
  sum = vdotq_laneq_s32(sum, panel.val[2], point, 2);
  return vdotq_laneq_s32(sum, panel.val[3], point, 3);
}
#else
#define FASTKMEANS_NO_SKETCH  // no int8 products worth having
#endif

#if !defined(FASTKMEANS_NO_SKETCH)
// Integers within [-127, 127], stored as int8.
[[gnu::always_inline]] inline void store_int8(std::int8_t* p, I32 v) {
#if defined(__aarch64__)
  const int16x4_t narrow = vmovn_s32(v);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(narrow, narrow));
#else
  typedef std::int8_t I8 __attribute__((vector_size(kWidth)));
  const I8 bytes = __builtin_convertvector(v, I8);
#endif
  std::memcpy(p, &bytes, kWidth);
}
#endif

}  // namespace
}  // namespace fastkmeans::cpu
