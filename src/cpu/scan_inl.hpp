// SPDX-License-Identifier: Apache-2.0
// The fp32 filter: rows less the centre, and their scores against a panel of centroids.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/layout.hpp"
#include "cpu/scan.hpp"
#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

constexpr int kPanelVectors = 2;
constexpr int kPanelWidth = kPanelVectors * kWidth;
// Points scored together: as many accumulators as the registers hold beside two vectors of the panel and a broadcast
// (32 registers with AVX-512, else 16; the baseline needs two more to multiply without fma). aarch64 has 32 too, and
// GCC keeps a register there for each point.
#if defined(__aarch64__)
constexpr int kRowGroup = 8;
#else
constexpr int kRowGroup = kWidth == 16 ? 12 : kWidth == 8 ? 6 : 4;
#endif

double centre(const float* row, const float* mu, std::int64_t n, float* centred) {
  double lane[kPadding] = {};  // any order will do: FilterBound allows for it
  for (std::int64_t j = 0; j < n; j += kPadding)
    for (std::int64_t l = 0; l < kPadding; ++l) {
      const float a = row[j + l] - mu[j + l];
      centred[j + l] = a;
      lane[l] += static_cast<double>(a) * static_cast<double>(a);  // mutant: points_centred
    }
  double sum = 0;
  for (double part : lane) sum += part;
  return sum;
}

// The scores of one row against the panel: kept if one is >= the threshold. Returns 1 if so.
template <int kVectors>
[[gnu::always_inline]] inline std::int64_t keep_hits(const ScanOut& out, const float* thresholds, std::int64_t row,
                                                     std::int64_t hits, const F32 (&score)[kVectors]) {
  static_assert(kVectors <= 2);
  const F32 threshold = broadcast(thresholds[row]), last = score[kVectors - 1];
  if (out.best) out.best[row] = largest_lane(larger(score[0], last));
  if (!any_at_least(score[0], last, threshold)) return 0;
  std::uint32_t passed = at_least(score[0], threshold);
  if constexpr (kVectors > 1) passed |= at_least(last, threshold) << kWidth;
  out.hits[hits] = {static_cast<std::int32_t>(row), passed};
  for (int v = 0; v < kVectors; ++v) store(out.scores + (hits * kVectors + v) * kWidth, score[v]);
  return 1;
}

// kRowGroup points x kPanelWidth centroids, all in registers. Returns the number of rows with a hit.
[[gnu::always_inline]] inline std::int64_t scan_group(const Scan& s, std::int64_t first, std::int64_t hits) {
  F32 score[kRowGroup][kPanelVectors];
  const float* a = s.points + first * s.ld;
  for (int r = 0; r < kRowGroup; ++r)
    for (int v = 0; v < kPanelVectors; ++v) score[r][v] = load(s.starts + v * kWidth);
  for (std::int64_t j = 0; j < s.d; ++j) {
    const float* b = s.panel + j * kPanelWidth;
    const F32 b0 = load(b), b1 = load(b + kWidth);
#pragma GCC unroll 12
    for (int r = 0; r < kRowGroup; ++r) {
      const F32 point = broadcast(a[r * s.ld + j]);
      score[r][0] = multiply_add(point, b0, score[r][0]);
      score[r][1] = multiply_add(point, b1, score[r][1]);
    }
  }
  std::int64_t found = 0;
#pragma GCC unroll 12
  for (int r = 0; r < kRowGroup; ++r) found += keep_hits(s.out, s.thresholds, first + r, hits + found, score[r]);
  return found;
}

std::int64_t scan(const Scan& given) {
  const Scan s = given;  // a copy, which no store can change: its pointers stay in registers
  std::int64_t hits = 0;
  for (std::int64_t first = 0; first < s.rows; first += kRowGroup) hits += scan_group(s, first, hits);
  return hits;
}

}  // namespace
}  // namespace fastkmeans::cpu
