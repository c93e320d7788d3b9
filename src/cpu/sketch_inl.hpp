// SPDX-License-Identifier: Apache-2.0
// The int8 kernels: sketches of rows, and the scan of sketches. Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/kernels.hpp"
#include "cpu/scan_inl.hpp"
#include "cpu/simd_int8.hpp"

#if !defined(FASTKMEANS_NO_SKETCH)

namespace fastkmeans::cpu {
namespace {

// --- A row as int8: centred, rotated, scaled by its own largest element ---

// One level of a Hadamard transform inside a vector: lane l becomes v[l ^ S] + v[l], or - v[l] where l has bit S.
template <int S, int... L>
[[gnu::always_inline]] inline F32 level(F32 v, Lanes<L...>) {
  constexpr I32 signs = {(L & S ? INT32_MIN : 0)...};
  return __builtin_shufflevector(v, v, (L ^ S)...) + reinterpret_cast<F32>(reinterpret_cast<I32>(v) ^ signs);
}

void hadamard(float* y, std::int64_t size) {
  for (std::int64_t i = 0; i < size; i += kPadding)
    for (std::int64_t l = 0; l < kPadding; l += kWidth) {
      F32 v = load(y + i + l);
      v = level<1>(v, AllLanes());
      v = level<2>(v, AllLanes());
      if constexpr (kWidth > 4) v = level<4>(v, AllLanes());
      if constexpr (kWidth > 8) v = level<8>(v, AllLanes());
      store(y + i + l, v);
    }
  // Two levels in one pass over memory, as long as there are two.
  std::int64_t half = kWidth;
  for (; 4 * half <= size; half *= 4)
    for (std::int64_t i = 0; i < size; i += 4 * half)
      for (std::int64_t j = i; j < i + half; j += kWidth) {
        const F32 a = load(y + j), b = load(y + j + half), c = load(y + j + 2 * half), d = load(y + j + 3 * half);
        const F32 ab = a + b, cd = c + d, a_b = a - b, c_d = c - d;
        store(y + j, ab + cd);
        store(y + j + half, a_b + c_d);
        store(y + j + 2 * half, ab - cd);
        store(y + j + 3 * half, a_b - c_d);
      }
  if (2 * half <= size)
    for (std::int64_t i = 0; i < size; i += 2 * half)
      for (std::int64_t j = i; j < i + half; j += kWidth) {
        const F32 a = load(y + j), b = load(y + j + half);
        store(y + j, a + b);
        store(y + j + half, a - b);
      }
}

// Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
constexpr float kRound = 0x1.8p23f;

RowSketch sketch_row(const float* row, const float* mu, std::int64_t n, const RotationView& rotation, float* work,
                     std::int8_t* q) {
  const std::int64_t size = rotation.size;
  F32 squares = {};
  const float* factor = rotation.factors[0];
  for (std::int64_t j = 0; j < n; j += kWidth) {
    const F32 a = load(row + j) - load(mu + j);
    squares = squares + a * a;
    store(work + j, a * load(factor + j));
  }
  for (std::int64_t j = n; j < size; ++j) work[j] = 0;
  for (int round = 0; round < rotation.rounds; ++round) {
    if (round > 0)
      for (std::int64_t j = 0; j < size; j += kWidth)
        store(work + j, load(work + j) * load(rotation.factors[round] + j));
    float* at = work;
    for (int b = 0; b < rotation.block_count; ++b) {
      const std::int64_t block = rotation.blocks[round][b];
      hadamard(at, block);
      at += block;
    }
  }
  F32 largest = {};
  for (std::int64_t j = 0; j < size; j += kWidth) {
    const F32 y = load(work + j);
    largest = larger(largest, larger(y, -y));
  }
  float most = largest_lane(largest);
  RowSketch out = {};
  out.sq_length = sum_lanes(squares);
  // Too small for its scale to be inverted, or so large that scores of sketches, longer than their rows, might
  // overflow: all error.
  if (!(most >= 0x1p-100f && most <= 0x1p55f)) most = 0;  // mutant: quantised_range
  out.scale = most / kSketchLevels;
  const F32 inverse = broadcast(most > 0 ? kSketchLevels / most : 0.0f), scale = broadcast(out.scale);
  F32 sq_error = {};
  I32 sum = {}, sq_sum = {};
  for (std::int64_t j = 0; j < size; j += kWidth) {
    const F32 y = load(work + j);
    F32 level = y * inverse;  // at most kSketchLevels and a rounding, so that it rounds to kSketchLevels
    level = (level + kRound) - kRound;
    const F32 error = y - level * scale;
    const I32 integers = __builtin_convertvector(level, I32);
    sum += integers;
    sq_sum += integers * integers;
    sq_error = sq_error + error * error;
    store_int8(q + j, integers);
  }
  out.sum = sum_lanes(sum);
  out.sq_sum = sum_lanes(sq_sum);      // at most 127^2 2^14 < 2^31
  out.sq_error = sum_lanes(sq_error);  // mutant: quantisation_error
  return out;
}

// --- Scores ---

// S = start + (scale of the row * scale of the centroid) * <q, q'>.
template <int kVectors>
[[gnu::always_inline]] inline std::int64_t score_row(const SketchScan& s, std::int64_t row, std::int64_t hits,
                                                     const I32 (&dot)[kVectors]) {
  const F32 scale = broadcast(s.scales[row]);
  F32 score[kVectors];
  for (int v = 0; v < kVectors; ++v)
    score[v] = multiply_add(__builtin_convertvector(dot[v], F32), scale * load(s.panel_scales + v * kWidth),
                            load(s.starts + v * kWidth));
  return keep_hits(s.out, s.thresholds, row, hits, score);
}

#if defined(FASTKMEANS_AMX)

// Tiles: 0 to 3 the sums of 32 rows x 32 centroids, 4 and 5 the rows, 6 and 7 the panel; 64 elements at a time.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

template <int kVectors>
std::int64_t scan_panel(const SketchScan& given) {
  const SketchScan s = given;
  const TileConfig config;
  _tile_loadconfig(&config);
  constexpr std::int64_t kRows = 32, kPanel = kVectors * kWidth;
  static_assert(kWidth == 16 && kVectors <= 2);
  alignas(64) std::int32_t sums[2][kRows * kPanel];
  std::int64_t hits = 0;
  // Scores of one block are looked at while the tiles multiply the next.
  const auto look = [&](std::int64_t first, const std::int32_t* dots) __attribute__((always_inline)) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      I32 dot[kVectors];
      for (int v = 0; v < kVectors; ++v) dot[v] = load_integers(dots + r * kPanel + v * kWidth);
      hits += score_row(s, first + r, hits, dot);
    }
  };
  for (std::int64_t first = 0, turn = 0; first < s.rows; first += kRows, turn ^= 1) {
    const std::int8_t* a = s.points + first * s.size;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::int64_t j = 0; j < s.size; j += 64) {
      const std::uint8_t* b = s.panel + j * kPanel;
      _tile_loadd(6, b, kPanel * 4);
      if constexpr (kVectors > 1) _tile_loadd(7, b + 64, kPanel * 4);
      _tile_loadd(4, a + j, s.size);
      _tile_dpbssd(0, 4, 6);
      if constexpr (kVectors > 1) _tile_dpbssd(1, 4, 7);
      _tile_loadd(5, a + j + 16 * s.size, s.size);
      _tile_dpbssd(2, 5, 6);
      if constexpr (kVectors > 1) _tile_dpbssd(3, 5, 7);
    }
    if (first > 0) look(first - kRows, sums[turn ^ 1]);
    std::int32_t* out = sums[turn];
    _tile_stored(0, out, kPanel * 4);
    if constexpr (kVectors > 1) _tile_stored(1, out + 16, kPanel * 4);
    _tile_stored(2, out + 16 * kPanel, kPanel * 4);
    if constexpr (kVectors > 1) _tile_stored(3, out + 16 * kPanel + 16, kPanel * 4);
  }
  look(s.rows - kRows, sums[(s.rows / kRows - 1) & 1]);
  _tile_release();
  return hits;
}

#else

// kSketchRows rows x kVectors vectors of centroids, all in registers.
template <int kVectors>
[[gnu::always_inline]] inline std::int64_t sketch_group(const SketchScan& s, std::int64_t first, std::int64_t hits) {
  constexpr int kPanel = kVectors * kWidth;
  I32 dot[kSketchRows][kVectors];
  const std::int8_t* q = s.points + first * s.size;
#pragma GCC unroll 12
  for (int r = 0; r < kSketchRows; ++r)
    for (int v = 0; v < kVectors; ++v) dot[r][v] = broadcast_integer(-kPanelOffset * s.sums[first + r]);
  for (std::int64_t j = 0; j < s.size; j += kDotStep) {
    PanelVector b[kVectors];
    for (int v = 0; v < kVectors; ++v) b[v] = load_panel<kPanel>(s.panel + j * kPanel + v * kWidth * 4);
#pragma GCC unroll 12
    for (int r = 0; r < kSketchRows; ++r) {
      const PointVector point = load_point(q + r * s.size + j);
      for (int v = 0; v < kVectors; ++v) dot[r][v] = add_dot(dot[r][v], point, b[v]);
    }
  }
  std::int64_t found = 0;
#pragma GCC unroll 12
  for (int r = 0; r < kSketchRows; ++r) found += score_row(s, first + r, hits + found, dot[r]);
  return found;
}

template <int kVectors>
std::int64_t scan_panel(const SketchScan& given) {
  const SketchScan s = given;
  std::int64_t hits = 0;
  for (std::int64_t first = 0; first < s.rows; first += kSketchRows) hits += sketch_group<kVectors>(s, first, hits);
  return hits;
}

#endif

std::int64_t sketch_scan(const SketchScan& s) {
  return s.width == kPanelWidth ? scan_panel<kPanelVectors>(s) : scan_panel<kPanelVectors / 2>(s);
}

const SketchKernels kSketchKernels = {
    .row_group = kSketchRows,
    .granule = kSketchGranule,
    .levels = static_cast<int>(kSketchLevels),
    .panel_offset = kPanelOffset,
    .sketch_row = sketch_row,
    .scan = sketch_scan,
};

}  // namespace
}  // namespace fastkmeans::cpu

#endif
