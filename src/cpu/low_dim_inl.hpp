// SPDX-License-Identifier: Apache-2.0
// The kernels for rows of few dimensions: rows stand in the lanes, and all of a row's centroids pass by.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/kernels.hpp"
#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

// Vectors of rows and centroids scored together: as many sums as the registers hold beside the rows.
constexpr int kLowDimVectors = 4;
constexpr int kLowDimCentroids = kWidth == 16 ? 4 : 2;
static_assert(kLowDimGroup % (kLowDimVectors * kWidth) == 0 && kLowDimPadding % kLowDimCentroids == 0);

// Where the columns of row i begin.
template <class Float>
[[gnu::always_inline]] inline Float* columns_of(Float* columns, std::int64_t i, std::int64_t d) {
  return columns + i / kLowDimGroup * kLowDimGroup * d + i % kLowDimGroup;  // mutant: low_dim_columns
}

void to_columns(const float* rows, std::int64_t stride, std::int64_t count, std::int64_t d, const float* mu,
                float* columns, float* sq_norms) {
  for (std::int64_t i = 0; i < count; i += kWidth) {
    F32 sum = {};
    float* out = columns_of(columns, i, d);
    for (std::int64_t j = 0; j < d; j += kWidth) {  // rows are padded: the last square is whole too
      F32 square[kWidth];
      for (int l = 0; l < kWidth; ++l) square[l] = load(rows + (i + l) * stride + j);
      transpose(square);
      for (int l = 0; l < kWidth && j + l < d; ++l) {
        const F32 a = square[l] - broadcast(mu[j + l]);
        sum = multiply_add(a, a, sum);
        store(out + (j + l) * kLowDimGroup, a);
      }
    }
    store(sq_norms + i, sum);
  }
}

void nearest_two(const LowDimScan& given) {
  const LowDimScan s = given;
  for (std::int64_t i = 0; i < s.rows; i += kLowDimVectors * kWidth) {
    const float* columns = columns_of(s.columns, i, s.d);
    F32 best[kLowDimVectors], second[kLowDimVectors];
    I32 who[kLowDimVectors];
    for (int v = 0; v < kLowDimVectors; ++v) {
      best[v] = second[v] = broadcast(-__builtin_inff());
      who[v] = I32{};
    }
    for (std::int64_t c = 0; c < s.k; c += kLowDimCentroids) {
      F32 score[kLowDimCentroids][kLowDimVectors];
      for (int e = 0; e < kLowDimCentroids; ++e)
        for (int v = 0; v < kLowDimVectors; ++v) score[e][v] = broadcast(s.starts[c + e]);
      for (std::int64_t j = 0; j < s.d; ++j) {
        F32 a[kLowDimVectors];
        for (int v = 0; v < kLowDimVectors; ++v) a[v] = load(columns + j * kLowDimGroup + v * kWidth);
        for (int e = 0; e < kLowDimCentroids; ++e) {
          const F32 b = broadcast(s.centroids[(c + e) * s.d + j]);
          for (int v = 0; v < kLowDimVectors; ++v) score[e][v] = multiply_add(a[v], b, score[e][v]);
        }
      }
      for (int e = 0; e < kLowDimCentroids; ++e)
        for (int v = 0; v < kLowDimVectors; ++v) {
          const F32 now = score[e][v];
          const I32 better = now > best[v];
          const F32 lower = better ? best[v] : now;
          second[v] = lower > second[v] ? lower : second[v];  // mutant: low_dim_second
          best[v] = better ? now : best[v];
          who[v] = better ? broadcast_integer(static_cast<std::int32_t>(c + e)) : who[v];
        }
    }
    for (int v = 0; v < kLowDimVectors; ++v) {
      store(s.second + i + v * kWidth, second[v]);
      std::memcpy(s.who + i + v * kWidth, &who[v], sizeof who[v]);
    }
  }
}

// T of FilterBound, in fp32: each of its roundings is at most 2^-24 of the larger of its two terms, which the last line
// takes away several times over.
void thresholds(const float* distances, const float* sq_norms, std::int64_t n, const FilterBound::LowDim& bound,
                float* out) {
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const F32 sq_norm = load(sq_norms + i);
    const F32 radius = root(load(distances + i) * bound.distance_factor + bound.distance_underflow);
    const F32 apart = (radius + root(sq_norm) * bound.error_factor) * (1 + 0x1p-21f);
    store(out + i, 0.5f * (sq_norm * bound.norm_factor - apart * apart * (1 + 0x1p-20f)) - bound.score_underflow);
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
