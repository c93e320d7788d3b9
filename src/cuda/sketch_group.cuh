// SPDX-License-Identifier: Apache-2.0
// The threads that make one sketch together: a row less the centre, its rotation (sketch/rotation.hpp), its integers.
#pragma once

#include <type_traits>

#include "cuda/rows.hpp"
#include "cuda/sketches.hpp"
#include "cuda/warp.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// What a sketch says of its row, by its first digit and by both.
struct Quantised {
  RowSketch first, both;
  int low_sq_sum;  // of the second digits' squares
};

// Rows, or centroids, less the centre.
struct Centred {
  StoredRows rows;
  const float* centre;
  int d;
};

// Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even, below 2^22.
inline constexpr float kRound = 0x1.8p23f;

// The first kLevels levels of a Hadamard transform.
template <int kLevels>
__device__ inline void transform(float (&v)[1 << kLevels]) {
#pragma unroll
  for (int h = 1; h < 1 << kLevels; h *= 2)
#pragma unroll
    for (int i = 0; i < 1 << kLevels; ++i)
      if (!(i & h)) {
        const float a = v[i], b = v[i + h];
        v[i] = a + b;
        v[i + h] = a - b;
      }
}

// kThreads: part of a warp, or a block of several. Groups of a warp do everything at the same time. size: of sketches.
template <int kThreads>
class Group {
 public:
  static constexpr int kThreadsOfBlock = 128, kGroups = kThreadsOfBlock / kThreads;
  // Of dynamic shared memory, a block. Groups of a warp that read the same elements read them from different banks.
  FASTKMEANS_BOTH static constexpr int floats(int size) { return size + (kThreads < kWarp ? kThreads : 0); }
  FASTKMEANS_BOTH static constexpr int shared_bytes(int size) {
    return static_cast<int>(kGroups * floats(size) * sizeof(float) + kWarps * sizeof(double));
  }

  __device__ explicit Group(int size) : size_(size), thread_(static_cast<int>(threadIdx.x) % kThreads) {
    extern __shared__ float4 shared[];
    float* const all = reinterpret_cast<float*>(shared);
    y_ = all + static_cast<int>(threadIdx.x) / kThreads * floats(size);
    partial_ = reinterpret_cast<double*>(all + kGroups * floats(size));
  }

  __device__ bool leads() const { return thread_ == 0; }

  // visit(i), i < count, for each group of the grid in turn. One that has none left while others of its block have
  // takes the last, once more: all threads of a warp are needed.
  template <class Visit>
  __device__ void each(std::int64_t count, const Visit& visit) const {
    for (std::int64_t first = std::int64_t{blockIdx.x} * kGroups; first < count;
         first += std::int64_t{gridDim.x} * kGroups) {
      visit(min(first + static_cast<std::int64_t>(threadIdx.x) / kThreads, count - 1));
      sync();
    }
  }

  // y becomes row i of x, rotated; that of zeros if it is not there. Returns its squared length before, and the largest
  // magnitude.
  __device__ float2 rotate(const Centred& x, std::int64_t i, bool there, const RotationView& rotation) const {
    const StoredRow row = x.rows.row(i);
    const int elements = there ? x.d : 0;
    const Reads reads = how_to_read(x.rows, x.d);
    float squares = 0, most = 0;
    const auto first_round = [&]<Reads kReads>() {
      within_runs(rotation.factors[0], [&](int j) {
        const float4 a = load_four<kReads>(row, x.centre, j, elements - j);
        squares = fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(a.z, a.z, fmaf(a.w, a.w, squares))));
        return a;
      });
    };
#pragma unroll 1  // half the code
    for (int round = 0; round < rotation.rounds; ++round) {
      if (round == 1)
        within_runs(rotation.factors[1], [&](int j) { return four(j); });
      else if (reads == Reads::f32)
        first_round.template operator()<Reads::f32>();
      else if (reads == Reads::f16)
        first_round.template operator()<Reads::f16>();
      else if (reads == Reads::bf16)
        first_round.template operator()<Reads::bf16>();
      else
        first_round.template operator()<Reads::ones>();
      most = across_runs(round == 0 ? rotation.blocks[0] : rotation.blocks[1], rotation.block_count);
    }
    return {sum(squares), largest(most)};
  }

  // y in whole steps of `scale`, in both digits if kDigits is 2; place(digit, j): where element j goes, and the three
  // after it, j a multiple of 4.
  template <int kDigits, class Place>
  __device__ Quantised quantise(float scale, float sq_length, const Place& place) const {
    const int levels = second_levels(size_);
    const float inverse = scale > 0 ? __fdiv_rn(1.0f, scale) : 0.0f;
    const float fine = __fdiv_rn(scale, static_cast<float>(levels));
    const float fine_inverse = scale > 0 ? __fdiv_rn(1.0f, fine) : 0.0f;
    float lost = 0, fine_lost = 0;
    int squares = 0, low_squares = 0;
    double fine_squares = 0;  // exact
#pragma unroll 2
    for (int j = 4 * thread_; j < size_; j += 4 * kThreads) {
      const float4 values = four(j);
      char4 digits[kDigits];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float value = reinterpret_cast<const float*>(&values)[e];
        const float shifted = fminf(fmaxf(value * inverse, -kLevels), kLevels) + kRound;
        const int steps = __float_as_int(shifted) - __float_as_int(kRound);
        const float z = value - scale * (shifted - kRound);
        lost = fmaf(z, z, lost);
        reinterpret_cast<signed char*>(&digits[0])[e] = static_cast<signed char>(steps);
        if constexpr (kDigits == 2) {
          const int all = static_cast<int>(rintf(value * fine_inverse));
          const int low = min(max(all - levels * steps, -kLevels), kLevels);
          const float both = static_cast<float>(levels * steps + low), rest = value - fine * both;
          fine_lost = fmaf(rest, rest, fine_lost);
          fine_squares += static_cast<double>(both) * both;
          reinterpret_cast<signed char*>(&digits[1])[e] = static_cast<signed char>(low);
        }
      }
      squares = __dp4a(digits[0], digits[0], squares);
      if constexpr (kDigits == 2) low_squares = __dp4a(digits[1], digits[1], low_squares);
#pragma unroll
      for (int digit = 0; digit < kDigits; ++digit) *reinterpret_cast<char4*>(place(digit, j)) = digits[digit];
    }
    Quantised out = {};
    out.first.scale = scale;
    out.first.sq_sum = sum(squares);
    out.first.sq_error = sum(lost);
    out.first.sq_length = sq_length;
    if constexpr (kDigits == 2) {
      out.both.scale = fine;
      out.both.sq_sum = sum(fine_squares);
      out.both.sq_error = sum(fine_lost);
      out.both.sq_length = sq_length;
      out.low_sq_sum = sum(low_squares);
    }
    return out;
  }

 private:
  static constexpr int kWarps = kThreadsOfBlock / kWarp;
  static constexpr int kRun = 32;  // elements of eight threads; blocks of a rotation have two runs or more
  static_assert(kGranule % (2 * kRun) == 0 && kThreads % (kRun / 4) == 0);

  __device__ void sync() const {
    if constexpr (kThreads > kWarp)
      __syncthreads();
    else
      __syncwarp();
  }
  template <class T, class Join>
  __device__ T join(T value, const Join& join_two) const {
    for (int half = min(kThreads, kWarp) / 2; half >= 1; half /= 2)
      value = join_two(value, __shfl_xor_sync(kAll, value, half));
    if constexpr (kThreads > kWarp) {
      T* const all = reinterpret_cast<T*>(partial_);
      sync();
      if (lane_id() == 0) all[thread_ / kWarp] = value;
      sync();
      value = all[0];
      for (int w = 1; w < kWarps; ++w) value = join_two(value, all[w]);
    }
    return value;
  }
  template <class T>
  __device__ T sum(T value) const {
    return join(value, [](T a, T b) { return a + b; });
  }
  __device__ float largest(float value) const {
    return join(value, [](float a, float b) { return fmaxf(a, b); });
  }

  __device__ float4& four(int j) const { return *reinterpret_cast<float4*>(y_ + j); }

  // The beginning of a round, h = 1 to kRun / 2: y from load(j), four elements from j on. A thread has these four in
  // registers, which is two levels; the other three are exchanges with threads next to it.
  template <class Load>
  __device__ void within_runs(const float* factors, const Load& load) const {
#pragma unroll 4
    for (int begin = 4 * (thread_ / kWarp * kWarp); begin < size_; begin += 4 * kThreads) {  // the same for a warp
      const int j = begin + 4 * (thread_ % kWarp);
      const bool inside = 4 * kThreads <= kGranule || j < size_;
      float v[4] = {};
      if (inside) {
        const float4 a = load(j), factor = *reinterpret_cast<const float4*>(factors + j);
        v[0] = a.x * factor.x;
        v[1] = a.y * factor.y;
        v[2] = a.z * factor.z;
        v[3] = a.w * factor.w;
      }
      transform<2>(v);
#pragma unroll
      for (int lane = 1; lane < kRun / 4; lane *= 2) {
        const float sign = thread_ & lane ? -1.0f : 1.0f;  // the product is exact: a + b, or a - b
#pragma unroll
        for (float& own : v) own = fmaf(sign, own, __shfl_xor_sync(kAll, own, lane));
      }
      if (inside) four(j) = {v[0], v[1], v[2], v[3]};
    }
    sync();
  }

  // Its end, h = kRun and more, block by block: up to five levels between a load and a store of shared memory. Returns
  // the largest magnitude of what the thread stored last.
  __device__ float across_runs(const std::int64_t* blocks, int count) const {
    float most = 0;
    float* block = y_;
    for (int b = 0; b < count; ++b) {
      const int length = static_cast<int>(blocks[b]);
      float of_block = five_levels(block, length, std::integral_constant<int, kRun>{});
      if constexpr (kThreads > kWarp)  // blocks of up to 32 runs have no more levels
        for (int h = 32 * kRun; h < length; h *= 32) {
          sync();
          of_block = five_levels(block, length, h);
        }
      most = fmaxf(most, of_block);
      block += length;
    }
    sync();
    return most;
  }
  // Up to five: h, 2h, ..., as far as the block has them. h: a number that the compiler knows, or any.
  template <class Height>
  __device__ float five_levels(float* block, int length, Height h) const {
    switch (length / h) {
      case 2: return levels<1>(block, length, h);
      case 4: return levels<2>(block, length, h);
      case 8: return levels<3>(block, length, h);
      case 16: return levels<4>(block, length, h);
      default: return levels<5>(block, length, h);
    }
  }
  template <int kCount, class Height>
  __device__ float levels(float* block, int length, Height h) const {
    float most = 0;
#pragma unroll 1
    for (int i = thread_; i < length >> kCount; i += kThreads) {
      const int low = i & (h - 1);
      float* const first = block + ((i - low) << kCount) + low;
      float v[1 << kCount];
#pragma unroll
      for (int e = 0; e < 1 << kCount; ++e) v[e] = first[e * h];
      transform<kCount>(v);
#pragma unroll
      for (int e = 0; e < 1 << kCount; ++e) {
        first[e * h] = v[e];
        most = fmaxf(most, fabsf(v[e]));
      }
    }
    return most;
  }

  int size_, thread_;
  float* y_;         // (size)
  double* partial_;  // of each warp, for groups of several
};

// Threads of a sketch of up to 512 and up to 1024 elements. Many rows: few, so that a warp sums up and describes
// several at a time, but so many that 33 KB hold what a block works on, and several blocks fit a multiprocessor.
struct OfRows {
  static constexpr int kShort = 8, kMedium = 16;
};
// Centroids, which leave processors idle and are waited for: a warp.
struct OfCentroids {
  static constexpr int kShort = kWarp, kMedium = kWarp;
};
// Calls visit(that number). Longer ones have a block each.
template <class Threads, class Visit>
void by_length(std::int64_t size, const Visit& visit) {
  if (size <= 512)
    visit(std::integral_constant<int, Threads::kShort>{});
  else if (size <= 1024)
    visit(std::integral_constant<int, Threads::kMedium>{});
  else
    visit(std::integral_constant<int, 128>{});
}

}  // namespace fastkmeans::cuda
