// SPDX-License-Identifier: Apache-2.0
// What the threads of a warp do together: D and L, maxima, places in lists.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/loss.cuh"
#include "numeric/both.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {

inline constexpr int kWarp = 32;
static_assert(kLanes == kWarp, "a lane of D is a lane of a warp");
inline constexpr unsigned kAll = 0xffffffffu;
inline constexpr float kInfinity = __builtin_huge_valf();

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }

// The warps of a one-dimensional grid, and which this is.
__device__ inline std::int64_t warp_id() {
  return (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
}
__device__ inline std::int64_t warp_count() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x / kWarp; }

// The tree that adds the lanes of D: l with l + 16, + 8, + 4, + 2, + 1. In every lane, since a + b is b + a.
template <class T>
__device__ inline T add_lanes(T sum) {
  for (int half = kWarp / 2; half >= 1; half /= 2) sum = sum + __shfl_xor_sync(kAll, sum, half);
  return sum;
}

__device__ inline std::uint32_t largest_of_lanes(std::uint32_t value) { return __reduce_max_sync(kAll, value); }

__device__ inline unsigned long long largest_of_lanes(unsigned long long value) {
  const auto high = static_cast<std::uint32_t>(value >> 32), largest = largest_of_lanes(high);
  const std::uint32_t low = largest_of_lanes(high == largest ? static_cast<std::uint32_t>(value) : 0u);
  return static_cast<unsigned long long>(largest) << 32 | low;
}

// The lanes of a warp that work on one row together: where rows are short, several rows at a time.
struct Lanes {
  int count;  // a power of two

  FASTKMEANS_BOTH explicit Lanes(int d) : count(kWarp) {
    while (count > 1 && count / 2 >= d) count /= 2;
  }
  __device__ int rows() const { return kWarp / count; }
  __device__ int row() const { return lane_id() / count; }  // of those, the one of this lane
  __device__ int lane() const { return lane_id() % count; }
  // In every lane of the row.
  __device__ std::uint32_t largest(std::uint32_t value) const {
    if (count == kWarp) return largest_of_lanes(value);
    for (int half = count / 2; half >= 1; half /= 2) value = max(value, __shfl_xor_sync(kAll, value, half));
    return value;
  }
};

// Sums of the lanes up to this one.
__device__ inline int add_lanes_before(int sum) {
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(kAll, sum, step);
    if (lane_id() >= step) sum += other;
  }
  return sum;
}

// The next places of a list, one for each lane that wants one, in the order of lanes; *count: of the list.
__device__ inline int places_in_list(std::int32_t* count, bool wanted) {
  const unsigned those = __ballot_sync(kAll, wanted);
  int first = 0;
  if (lane_id() == 0 && those) first = atomicAdd(count, __popc(those));
  return __shfl_sync(kAll, first, 0) + __popc(those & ((1u << lane_id()) - 1));
}

// The largest magnitude of a row, as ordered bits, in every lane.
__device__ inline std::uint32_t largest_bits(const float* row, int d) {
  std::uint32_t most = 0;
  for (int j = lane_id(); j < d; j += kWarp) most = max(most, magnitude_bits(row[j]));
  return largest_of_lanes(most);
}

// D or L (loss.cuh), in every lane.
template <class Minimised>
__device__ inline float warp_loss(const float* x, const float* c, int d, const Minimised& loss) {
  float sum = 0;
  for (int j = lane_id(); j < d; j += kWarp) sum = loss.add(x[j], c[j], sum);
  return add_lanes(sum);
}

// The same tree for several sums at once, with fewer exchanges: that of sums[u] in the lanes of group u, lane_group().
template <int kCount>
__device__ inline int lane_group() {
  return lane_id() / (kWarp / kCount);
}
template <int kCount>
__device__ inline float add_lanes_by_group(float (&sums)[kCount]) {
  int half = kWarp / 2;
#pragma unroll
  for (int left = kCount / 2; left >= 1; left /= 2, half /= 2) {
    const bool upper = lane_id() & half;
#pragma unroll
    for (int u = 0; u < left; ++u) {
      const float kept = upper ? sums[u + left] : sums[u], given = upper ? sums[u] : sums[u + left];
      sums[u] = kept + __shfl_xor_sync(kAll, given, half);
    }
  }
  float sum = sums[0];
#pragma unroll
  for (; half >= 1; half /= 2) sum = sum + __shfl_xor_sync(kAll, sum, half);
  return sum;
}
// Of what the lanes of each group have, that of group u.
template <int kCount, class T>
__device__ inline T of_group(T value, int u) {
  return __shfl_sync(kAll, value, u * (kWarp / kCount));
}

template <int kCount>
__device__ inline bool leads_group() {
  return lane_id() % (kWarp / kCount) == 0;
}

// The same for several pairs at once, so that more loads are in flight: that of x[u] and c[u] in the lanes of group u.
template <int kCount, class Minimised>
__device__ inline float warp_losses(const float* const (&x)[kCount], const float* const (&c)[kCount], int d,
                                    const Minimised& loss) {
  float sums[kCount] = {};
  for (int j = lane_id(); j < d; j += kWarp) {
#pragma unroll
    for (int u = 0; u < kCount; ++u) sums[u] = loss.add(x[u][j], c[u][j], sums[u]);
  }
  return add_lanes_by_group(sums);
}
// Of one x.
template <int kCount, class Row, class Minimised>
__device__ inline float warp_losses(const Row& x, const float* const (&c)[kCount], int d, const Minimised& loss) {
  float sums[kCount] = {};
  for (int j = lane_id(); j < d; j += kWarp) {
    const float element = x[j];
#pragma unroll
    for (int u = 0; u < kCount; ++u) sums[u] = loss.add(element, c[u][j], sums[u]);
  }
  return add_lanes_by_group(sums);
}

// Pairs of rows and centroids whose losses a warp works out at once, eight lanes each.
inline constexpr int kPairs = 4, kPairLanes = kWarp / kPairs;

// Whether what begins at p, a row every ld elements, can be read four elements at a time.
FASTKMEANS_BOTH inline bool in_fours(const float* p, std::int64_t ld, int d) {
  return reinterpret_cast<std::uintptr_t>(p) % sizeof(float4) == 0 && ld % 4 == 0 && d % 4 == 0;
}

// How four neighbouring elements of rows are read: one by one, whatever they are, or all at once, of each dtype.
enum class Reads { ones, f32, f16, bf16 };

FASTKMEANS_BOTH inline Reads how_to_read(const StoredRows& rows, int d) {
  const bool floats = rows.dtype == DType::f32;
  const bool together = reinterpret_cast<std::uintptr_t>(rows.x) % (floats ? sizeof(float4) : sizeof(uint2)) == 0 &&
                        rows.ld % 4 == 0 && d % 4 == 0;
  if (!together) return Reads::ones;
  return floats ? Reads::f32 : rows.dtype == DType::f16 ? Reads::f16 : Reads::bf16;
}

// Four finite elements of fp16 or bf16.
template <bool kF16>
__device__ inline float4 widened(const uint2& bits) {
  const auto both = [](std::uint32_t two) {
    if constexpr (kF16)
      return __half22float2(*reinterpret_cast<const __half2*>(&two));
    else
      return float2{__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u)};
  };
  const float2 low = both(bits.x), high = both(bits.y);
  return {low.x, low.y, high.x, high.y};
}

// Up to four elements from p on, of a row that has `left` more; beyond its end are zeros. kFours: in_fours() of the
// row, and of p in it.
template <bool kFours>
__device__ inline float4 load_four(const float* p, int left) {
  if constexpr (kFours) return left > 0 ? *reinterpret_cast<const float4*>(p) : float4{};
  return {left > 0 ? p[0] : 0, left > 1 ? p[1] : 0, left > 2 ? p[2] : 0, left > 3 ? p[3] : 0};
}
// From element j on, which for others than Reads::ones is a multiple of 4.
template <Reads kReads>
__device__ inline float4 load_four(const StoredRow& row, int j, int left) {
  if constexpr (kReads == Reads::f32)
    return load_four<true>(reinterpret_cast<const float*>(row.at) + j, left);
  else if constexpr (kReads != Reads::ones)
    return left > 0 ? widened<kReads == Reads::f16>(*reinterpret_cast<const uint2*>(row.at + 2 * j)) : float4{};
  return {left > 0 ? row[j] : 0, left > 1 ? row[j + 1] : 0, left > 2 ? row[j + 2] : 0, left > 3 ? row[j + 3] : 0};
}
// The same, less what the centre has there.
template <bool kFours>
__device__ inline float4 load_four(const float* p, const float* centre, int left) {
  const float4 x = load_four<kFours>(p, left), mu = load_four<kFours>(centre, left);
  return {x.x - mu.x, x.y - mu.y, x.z - mu.z, x.w - mu.w};
}
template <Reads kReads>
__device__ inline float4 load_four(const StoredRow& row, const float* centre, int j, int left) {
  const float4 x = load_four<kReads>(row, j, left), mu = load_four<kReads != Reads::ones>(centre + j, left);
  return {x.x - mu.x, x.y - mu.y, x.z - mu.z, x.w - mu.w};
}

// D or L of the pairs, that of each group's x and c in its lanes. A lane has the sums of four neighbouring lanes of D
// (warp_loss), so that it reads four elements at a time, where kReads says that it can; the tree is the same.
template <Reads kReads, class Minimised>
__device__ inline float losses_of_pairs(const StoredRow& x, const float* c, int d, const Minimised& loss) {
  const int lane = lane_id() % kPairLanes;
  float sums[4] = {};
  const auto add = [&](const float4& a, const float4& b) {
    sums[0] = loss.add(a.x, b.x, sums[0]);
    sums[1] = loss.add(a.y, b.y, sums[1]);
    sums[2] = loss.add(a.z, b.z, sums[2]);
    sums[3] = loss.add(a.w, b.w, sums[3]);
  };
  constexpr bool kFours = kReads != Reads::ones;
#pragma unroll(kFours ? 2 : 1)
  for (int j = 4 * lane; j < d; j += kWarp)
    add(load_four<kReads>(x, j, d - j), load_four<kFours>(c + j, d - j));  // zeros add nothing
  // Lanes of D that are 16, 8 and 4 apart stand 4, 2 and 1 apart; those 2 and 1 apart in one lane, so two exchanges are
  // spared by giving half of what there is away.
  const bool high = lane & 4, middle = lane & 2;
  const float first = (high ? sums[2] : sums[0]) + __shfl_xor_sync(kAll, high ? sums[0] : sums[2], 4);
  const float second = (high ? sums[3] : sums[1]) + __shfl_xor_sync(kAll, high ? sums[1] : sums[3], 4);
  float sum = (middle ? second : first) + __shfl_xor_sync(kAll, middle ? first : second, 2);
  sum = sum + __shfl_xor_sync(kAll, sum, 1);
  sum = sum + __shfl_xor_sync(kAll, sum, 4);
  return sum + __shfl_xor_sync(kAll, sum, 2);
}

// Takes the lowest kPairs bits away. Returns which of them is that of the lane's group, or the lowest where there are
// fewer.
__device__ inline int take_pairs(unsigned& bits) {
  int mine = __ffs(static_cast<int>(bits)) - 1;
#pragma unroll
  for (int u = 0; u < kPairs; ++u, bits &= bits - 1)
    if (u == lane_group<kPairs>() && bits) mine = __ffs(static_cast<int>(bits)) - 1;
  return mine;
}

}  // namespace fastkmeans::cuda
