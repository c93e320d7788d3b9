// SPDX-License-Identifier: Apache-2.0
// The kernels for rows of few dimensions: rows stand in the lanes, and all of a row's centroids pass by. Included by
// kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/kernels.hpp"
#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

// Vectors of rows and centroids scored together: as many sums as the registers hold beside the rows.
constexpr int kNarrowVectors = 4;
constexpr int kNarrowCentroids = kWidth == 16 ? 4 : 2;
static_assert(kNarrowRows % (kNarrowVectors * kWidth) == 0 && kNarrowPadding % kNarrowCentroids == 0);

void to_columns(const float* rows, std::int64_t ld, std::int64_t count, std::int64_t d, const float* mu, float* columns,
                float* sq_norms) {
  for (std::int64_t i = 0; i < count; i += kWidth) {
    F32 sum = {};
    for (std::int64_t j = 0; j < d; ++j) {
      const F32 a = load_strided(rows + i * ld + j, ld) - broadcast(mu[j]);
      sum = multiply_add(a, a, sum);
      store(columns + j * kNarrowRows + i, a);
    }
    store(sq_norms + i, sum);
  }
}

void nearest_two(const NarrowScan& given) {
  const NarrowScan s = given;
  for (std::int64_t i = 0; i < s.rows; i += kNarrowVectors * kWidth) {
    F32 best[kNarrowVectors], second[kNarrowVectors];
    I32 who[kNarrowVectors];
    for (int v = 0; v < kNarrowVectors; ++v) {
      best[v] = second[v] = broadcast(-__builtin_inff());
      who[v] = I32{};
    }
    for (std::int64_t c = 0; c < s.k; c += kNarrowCentroids) {
      F32 score[kNarrowCentroids][kNarrowVectors];
      for (int e = 0; e < kNarrowCentroids; ++e)
        for (int v = 0; v < kNarrowVectors; ++v) score[e][v] = broadcast(s.starts[c + e]);
      for (std::int64_t j = 0; j < s.d; ++j) {
        F32 a[kNarrowVectors];
        for (int v = 0; v < kNarrowVectors; ++v) a[v] = load(s.columns + j * kNarrowRows + i + v * kWidth);
        for (int e = 0; e < kNarrowCentroids; ++e) {
          const F32 b = broadcast(s.centroids[(c + e) * s.d + j]);
          for (int v = 0; v < kNarrowVectors; ++v) score[e][v] = multiply_add(a[v], b, score[e][v]);
        }
      }
      for (int e = 0; e < kNarrowCentroids; ++e)
        for (int v = 0; v < kNarrowVectors; ++v) {
          const F32 now = score[e][v];
          const I32 better = now > best[v];
          const F32 lower = better ? best[v] : now;
          second[v] = lower > second[v] ? lower : second[v];
          best[v] = better ? now : best[v];
          who[v] = better ? broadcast_integer(static_cast<std::int32_t>(c + e)) : who[v];
        }
    }
    for (int v = 0; v < kNarrowVectors; ++v) {
      store(s.second + i + v * kWidth, second[v]);
      std::memcpy(s.who + i + v * kWidth, &who[v], sizeof who[v]);
    }
  }
}

// T of FilterBound, in fp32: each of its roundings is at most 2^-24 of the larger of its two terms, which the last line
// takes away several times over.
void thresholds(const float* distances, const float* sq_norms, std::int64_t n, const FilterBound::Narrow& bound,
                float* out) {
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const F32 sq_norm = load(sq_norms + i);
    const F32 radius = root(load(distances + i) * bound.distance_factor + bound.distance_underflow);
    const F32 reach = (radius + root(sq_norm) * bound.error_factor) * (1 + 0x1p-21f);
    store(out + i, 0.5f * (sq_norm * bound.norm_factor - reach * reach * (1 + 0x1p-20f)) - bound.score_underflow);
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
