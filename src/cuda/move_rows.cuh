// SPDX-License-Identifier: Apache-2.0
// Rows that move from sum to sum, by a warp. Sums: a SumsView, or what stands for one (accumulate.cu), with an add_to()
// of its own.
#pragma once

#include <cstdint>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {

__device__ inline void add_to(const SumsView&, Integer* sum, Integer amount) { atomicAdd(sum, amount); }

// What a row of weight `times` does to the sums of the cluster that it leaves and to those of the one that it comes to,
// each negative if there is none.
struct Move {
  std::int64_t times;  // 0: it stays
  std::int32_t from, to;

  // As add_row of numeric/fixed_point.cpp, by an element of the row.
  template <class Sums>
  __device__ void add(float x, int j, const ScaleView& scale, const Sums& sums) const {
    const auto value = static_cast<double>(x);
    const double units = rint(value * scale.inverse[j]);
    shift(sums, sums.hi, sums.d, j, static_cast<Integer>(times * static_cast<long long>(units)));
    if (!sums.lo) return;
    const double residual = rint((value - units * scale.grain[j]) * scale.lo_inverse[j]);
    shift(sums, sums.lo, sums.d, j, static_cast<Integer>(times * static_cast<long long>(residual)));
  }
  template <class Sums>
  __device__ void count(const Sums& sums) const {
    shift(sums, sums.weights, 1, 0, static_cast<Integer>(times));
    if (sums.members) shift(sums, sums.members, 1, 0, Integer{1});
  }

 private:
  template <class Sums, class Value>
  __device__ void shift(const Sums& sums, Value* values, std::int64_t width, int j, Integer amount) const {
    if (to >= 0) add_to(sums, values + to * width + j, amount);
    if (from >= 0) add_to(sums, values + from * width + j, Integer{0} - amount);
  }
};

// Each lane has a row, that of its number, and its move; those of the first `count` lanes move. kTogether: how many
// rows are on their way to a lane at once.
template <int kTogether, class Rows, class Sums>
__device__ void move_rows(const Rows& rows, int count, const Move& own, const ScaleView& scale, const Sums& sums,
                          const Lanes& lanes) {
  const int side_by_side = lanes.rows(), row = lanes.row();
  if (own.times != 0) own.count(sums);
  const unsigned moving = __ballot_sync(kAll, own.times != 0);
  for (int begin = 0; begin < count; begin += kTogether * side_by_side) {
    const int some = min(kTogether * side_by_side, kWarp);
    if (!(moving >> begin & kAll >> (kWarp - some))) continue;
    Move moves[kTogether];
    decltype(rows.row(0)) x[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int who = begin + u * side_by_side + row;
      moves[u].times = static_cast<std::int64_t>(__shfl_sync(kAll, static_cast<long long>(own.times), who));
      moves[u].from = __shfl_sync(kAll, own.from, who);
      moves[u].to = __shfl_sync(kAll, own.to, who);
      if (who >= count) moves[u].times = 0;
      x[u] = rows.row(who);
    }
    for (int j = lanes.lane(); j < sums.d; j += lanes.count) {
      float values[kTogether];
#pragma unroll
      for (int u = 0; u < kTogether; ++u) values[u] = moves[u].times != 0 ? x[u][j] : 0.0f;
#pragma unroll
      for (int u = 0; u < kTogether; ++u)
        if (moves[u].times != 0) moves[u].add(values[u], j, scale, sums);
    }
  }
}

}  // namespace fastkmeans::cuda
