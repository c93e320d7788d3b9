// SPDX-License-Identifier: Apache-2.0
// Rows of few dimensions in the registers of warps, and their scores with all centroids, which pass by in shared
// memory: what the kernels of low_dim.cu share. Four lanes share a row.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/distances.hpp"
#include "cuda/warp.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

inline constexpr int kLowDimThreads = 128;
inline constexpr int kOfTile = 8;              // centroids that an instruction multiplies with
inline constexpr int kSharedValues = 8 << 10;  // of centroids, in shared memory at a time: 32 KiB

FASTKMEANS_BOTH inline std::int64_t whole_tiles(std::int64_t k) { return (k + kOfTile - 1) / kOfTile * kOfTile; }

// What the kernels read.
struct LowDimScan {
  Centroids centroids;
  Batch batch;
  const float* centre;           // (d)
  const float *values, *starts;  // of centroids, in whole tiles: as tensor cores take them, and the bound's
  bool whole;                    // a lane may read its part of a row at once
  FilterBound::Rounded bound;

  // Of a list, or of all rows.
  __device__ int count(const ChosenRows& chosen) const { return chosen.count ? *chosen.count : batch.count; }
};

// Rows and centroids as the tensor cores see them: kDims elements, padded with zeros.
template <int kDims>
struct Shape {
  static constexpr int kSteps = kDims / 8;               // instructions for a product
  static constexpr int kRowTiles = kDims <= 32 ? 4 : 2;  // of 16 rows, in the registers of a warp
  static constexpr int kRows = 16 * kRowTiles;
  static constexpr int kRowsOfBlock = kLowDimThreads / kWarp * kRows;
  static constexpr int kSlots = 2 * kRowTiles;  // rows that a lane has a part of
  static constexpr int kOwn = kSlots / 4;       // of which so many are its own: slots 4 own + quarter
  // Blocks that a multiprocessor has registers for, without a spill, while labels are confirmed.
  static constexpr int kConfirming = kDims <= 16 ? 4 : kDims <= 32 ? 3 : 2;
  // Slots whose rows and centroids are on their way to D at once: there are so many registers.
  static constexpr int kAtOnce = kDims <= 16 ? kSlots : kDims <= 32 ? 4 : 2;
  static constexpr int kChunk = kSharedValues / kDims;  // centroids at a time

  // Which element stands where in the operands is of no account, as long as rows and centroids agree: a lane has
  // kWidth side by side of each piece, two for a step.
  static constexpr int kWidth = kDims == 8 ? 2 : 4;
  static constexpr int kPieces = kDims / (4 * kWidth);
  static __device__ int first_of(int piece, int quarter) { return kWidth * (4 * piece + quarter); }
  // Where a piece of centroid c stands in shared memory: lanes that read at once read from different banks.
  static __device__ int place_of(int c, int piece) { return kPieces == 1 ? piece : piece ^ (c & 1); }
  using Vector = std::conditional_t<kWidth == 2, float2, float4>;
};

__device__ inline int lane_quarter() { return lane_id() % 4; }

// sums = start + the products of 16 rows and 8 centroids, 8 elements of each.
__device__ inline void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const float (&b)[2],
                                const float (&start)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])),
        "f"(start[0]), "f"(start[1]), "f"(start[2]), "f"(start[3]));
}

// Of the four lanes that share rows and the values of four slots, the one that is the lane's own.
template <class T, int kSlots>
__device__ T own_of(const T (&values)[kSlots], int own) {
  T value = values[4 * own];
#pragma unroll
  for (int quarter = 1; quarter < 4; ++quarter)
    if (lane_quarter() == quarter) value = values[4 * own + quarter];
  return value;
}
// The other way: what the lane that owns the slot has.
template <class T, int kOwn>
__device__ T of_owner(const T (&own)[kOwn], int slot) {
  return __shfl_sync(kAll, own[slot / 4], lane_id() - lane_quarter() + slot % 4);
}
// In all of the four lanes.
__device__ inline float sum_of_four(float value) {
  value += __shfl_xor_sync(kAll, value, 2);
  return value + __shfl_xor_sync(kAll, value, 1);
}

// What a lane has of a piece of a row; kWhole: rows have kDims elements, and it may be read at once.
template <int kDims, bool kWhole>
__device__ void read_piece(const float* row, int piece, int d, float (&to)[Shape<kDims>::kWidth]) {
  using S = Shape<kDims>;
  const int j = S::first_of(piece, lane_quarter());
  if constexpr (kWhole) {
    *reinterpret_cast<typename S::Vector*>(to) = *reinterpret_cast<const typename S::Vector*>(row + j);
  } else {
#pragma unroll
    for (int e = 0; e < S::kWidth; ++e) to[e] = j + e < d ? row[j + e] : 0.0f;
  }
}

// D of the row and the centroid of each four lanes. Of the tree of D (add_lanes() in warp.cuh), whose leaves are 32, a
// lane has those of its elements: it adds what is 16 apart, then elements 8 or 4, and 4 or 2, apart are another lane's.
template <int kDims, bool kWhole>
__device__ float distance_of_four(const float* x, const float* c, int d) {
  using S = Shape<kDims>;
  constexpr int kHalves = S::kPieces > 1 ? 2 : 1;
  const Distance loss;
  float sums[kHalves][S::kWidth] = {};
#pragma unroll
  for (int piece = 0; piece < S::kPieces; ++piece) {
    __align__(16) float a[S::kWidth], b[S::kWidth];
    read_piece<kDims, kWhole>(x, piece, d, a);
    read_piece<kDims, kWhole>(c, piece, d, b);
#pragma unroll
    for (int e = 0; e < S::kWidth; ++e) sums[piece % kHalves][e] = loss.add(a[e], b[e], sums[piece % kHalves][e]);
  }
#pragma unroll
  for (int e = 0; e < S::kWidth; ++e) sums[0][e] = sum_of_four(kHalves > 1 ? sums[0][e] + sums[1][e] : sums[0][e]);
#pragma unroll
  for (int half = S::kWidth / 2; half >= 1; half /= 2)
#pragma unroll
    for (int e = 0; e < half; ++e) sums[0][e] = sums[0][e] + sums[0][e + half];
  return sums[0][0];
}

// The rows of a warp.
template <int kDims>
class WarpRows {
  using S = Shape<kDims>;

 public:
  // first: of the rows of this warp, among those chosen, of which there are `count` > 0.
  __device__ WarpRows(const LowDimScan& scan, const ChosenRows& chosen, int first, int count)
      : chosen_(chosen), first_(first), count_(count) {
    float sq_norms[S::kSlots] = {}, sq_errors[S::kSlots] = {};
    if (scan.whole)
      take<true>(scan, sq_norms, sq_errors);
    else
      take<false>(scan, sq_norms, sq_errors);
#pragma unroll
    for (int slot = 0; slot < S::kSlots; ++slot) {
      sq_norms[slot] = sum_of_four(sq_norms[slot]);
      sq_errors[slot] = sum_of_four(sq_errors[slot]);
    }
#pragma unroll
    for (int own = 0; own < S::kOwn; ++own) {
      sq_norm_[own] = own_of(sq_norms, own);
      sq_error_[own] = own_of(sq_errors, own);
    }
  }

  // The row of a slot; behind the last of the list, that one again. Unsigned, since addresses are cheaper so.
  __device__ unsigned index(int slot) const {
    const int place = min(first_ + 8 * slot + lane_id() / 4, count_ - 1);
    return static_cast<unsigned>(chosen_.rows ? chosen_.rows[place] : place);
  }
  // The lane's own row, or -1 if there is none.
  __device__ int own_index(int own) const {
    const int slot = 4 * own + lane_quarter();
    return first_ + 8 * slot + lane_id() / 4 < count_ ? static_cast<int>(index(slot)) : -1;
  }
  // D of the rows and of a centroid for each slot.
  template <class Who>
  __device__ void distances(const LowDimScan& scan, const Who& who, float (&out)[S::kSlots]) const {
#pragma unroll
    for (int first = 0; first < S::kSlots; first += S::kAtOnce) {
      if (scan.whole)
#pragma unroll
        for (int slot = first; slot < first + S::kAtOnce; ++slot) out[slot] = distance<true>(scan, slot, who(slot));
      else
#pragma unroll
        for (int slot = first; slot < first + S::kAtOnce; ++slot) out[slot] = distance<false>(scan, slot, who(slot));
    }
  }
  // Of one slot.
  __device__ float distance(const LowDimScan& scan, int slot, int c) const {
    return scan.whole ? distance<true>(scan, slot, c) : distance<false>(scan, slot, c);
  }

  // The threshold of the lane's own row, if its D to some centroid is this.
  __device__ float threshold(const FilterBound::Rounded& bound, int own, float distance) const {
    return bound.threshold(distance, sq_norm_[own], sq_error_[own]);
  }

  // sums: start + products with 8 centroids; of slots 2 rows and 2 rows + 1, two centroids each.
  __device__ void score(int rows, const float (&b)[S::kSteps][2], const float (&start)[4], float (&sums)[4]) const {
    multiply(sums, words_[rows][0], b[0], start);
#pragma unroll
    for (int step = 1; step < S::kSteps; ++step) multiply(sums, words_[rows][step], b[step], sums);
  }

 private:
  template <bool kWhole>
  __device__ float distance(const LowDimScan& scan, int slot, int c) const {
    return distance_of_four<kDims, kWhole>(scan.batch.rows.floats().row(index(slot)), scan.centroids.row(c),
                                           scan.centroids.d);
  }

  // The elements of all slots, and the sums of their squares and of those of what they lose.
  template <bool kWhole>
  __device__ void take(const LowDimScan& scan, float (&sq_norms)[S::kSlots], float (&sq_errors)[S::kSlots]) {
    const int d = scan.centroids.d;
#pragma unroll
    for (int piece = 0; piece < S::kPieces; ++piece) {
      __align__(16) float middle[S::kWidth];
      read_piece<kDims, false>(scan.centre, piece, d, middle);
#pragma unroll
      for (int slot = 0; slot < S::kSlots; ++slot) {
        __align__(16) float row[S::kWidth];
        read_piece<kDims, kWhole>(scan.batch.rows.floats().row(index(slot)), piece, d, row);
#pragma unroll
        for (int e = 0; e < S::kWidth; ++e) {
          const float a = row[e] - middle[e], v = tensor_core_value(a), lost = a - v;
          sq_norms[slot] = fmaf(v, v, sq_norms[slot]);
          sq_errors[slot] = fmaf(lost, lost, sq_errors[slot]);
          words_[slot / 2][S::kWidth / 2 * piece + e / 2][slot % 2 + 2 * (e % 2)] = __float_as_uint(v);
        }
      }
    }
  }

  ChosenRows chosen_;
  int first_, count_;
  std::uint32_t words_[S::kRowTiles][S::kSteps][4];
  float sq_norm_[S::kOwn], sq_error_[S::kOwn];
};

// Centroids on their way past the rows of a block.
template <int kDims>
class PassingCentroids {
  using S = Shape<kDims>;

 public:
  // take(slot, c, score of c, score of c + 1), for all slots and centroids, also those that make the last tile whole,
  // whose scores are -infinity. To be called by all threads of the block, as often as they like.
  template <class Take>
  __device__ void score(const LowDimScan& scan, const WarpRows<kDims>& rows, bool first_time, const Take& take) {
    const int k = static_cast<int>(whole_tiles(scan.centroids.k));
    for (int begin = 0; begin < k; begin += S::kChunk) {
      const int count = min(S::kChunk, k - begin);
      if (first_time || k > S::kChunk) load(scan, begin, count);
      for (int tile = 0; tile < count; tile += kOfTile) {
        const int mine = tile + lane_id() / 4;
        __align__(16) float b[S::kSteps][2];
#pragma unroll
        for (int piece = 0; piece < S::kPieces; ++piece)
          *reinterpret_cast<typename S::Vector*>(b[S::kWidth / 2 * piece]) =
              *reinterpret_cast<const typename S::Vector*>(values_ + mine * kDims +
                                                           S::first_of(S::place_of(mine, piece), lane_quarter()));
        const float2 two = *reinterpret_cast<const float2*>(starts_ + tile + 2 * lane_quarter());
        const float start[4] = {two.x, two.y, two.x, two.y};
        const int c = begin + tile + 2 * lane_quarter();
#pragma unroll
        for (int some = 0; some < S::kRowTiles; ++some) {
          float sums[4];
          rows.score(some, b, start, sums);
          take(2 * some, c, sums[0], sums[1]);
          take(2 * some + 1, c, sums[2], sums[3]);
        }
      }
    }
  }

 private:
  __device__ void load(const LowDimScan& scan, int begin, int count) {
    constexpr int kOfPiece = 4 * S::kWidth, kVectors = kOfPiece / 4;  // elements; float4
    __syncthreads();
    const auto* const from = reinterpret_cast<const float4*>(scan.values + static_cast<std::int64_t>(begin) * kDims);
    for (int e = static_cast<int>(threadIdx.x); e < count * kDims / 4; e += kLowDimThreads) {
      const int c = e / (kDims / 4), piece = e % (kDims / 4) / kVectors, rest = e % kVectors;
      reinterpret_cast<float4*>(values_)[c * (kDims / 4) + S::place_of(c, piece) * kVectors + rest] = from[e];
    }
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kLowDimThreads) starts_[c] = scan.starts[begin + c];
    __syncthreads();
  }

  __align__(16) float values_[S::kChunk * kDims];
  __align__(8) float starts_[S::kChunk];
};

}  // namespace fastkmeans::cuda
