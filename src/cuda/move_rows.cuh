// SPDX-License-Identifier: Apache-2.0
// Rows that move from sum to sum, by a warp.
#pragma once

#include <cstdint>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {

// As add_row of numeric/fixed_point.cpp: `times` times into the sums of one cluster or out of those of another, each
// null if there is none.
__device__ inline void move_row(const float* x, std::int64_t times, std::int64_t from, std::int64_t to,
                                const ScaleView& scale, const SumsView& sums, const Lanes& lanes) {
  const auto add = [&](Integer* values, int j, Integer units) {
    if (to >= 0) atomicAdd(values + to * sums.d + j, units);
    if (from >= 0) atomicAdd(values + from * sums.d + j, Integer{0} - units);
  };
  for (int j = lanes.lane(); j < sums.d; j += lanes.count) {
    const auto value = static_cast<double>(x[j]);
    const double units = rint(value * scale.inverse[j]);
    add(sums.hi, j, static_cast<Integer>(times * static_cast<long long>(units)));
    if (!sums.lo) continue;
    const double residual = rint((value - units * scale.grain[j]) * scale.lo_inverse[j]);
    add(sums.lo, j, static_cast<Integer>(times * static_cast<long long>(residual)));
  }
  if (lanes.lane() != 0) return;
  const auto weight = static_cast<Integer>(times);
  if (to >= 0) {
    atomicAdd(sums.weights + to, weight);
    if (sums.members) atomicAdd(sums.members + to, Integer{1});
  }
  if (from >= 0) {
    atomicAdd(sums.weights + from, Integer{0} - weight);
    if (sums.members) atomicAdd(sums.members + from, ~Integer{0});
  }
}

// Each lane has a row, that of its number; those with times != 0 move from cluster `from` to cluster `to`.
__device__ inline void move_rows(RowsView rows, std::int64_t times, std::int32_t from, std::int32_t to,
                                 const ScaleView& scale, const SumsView& sums, const Lanes& lanes) {
  for (unsigned moving = __ballot_sync(kAll, times != 0); moving != 0;) {
    unsigned rest = moving;
    for (int r = 0; r < lanes.row(); ++r) rest &= rest - 1;  // 0 where fewer are left
    const int who = rest ? __ffs(static_cast<int>(rest)) - 1 : 0;
    const std::int32_t out_of = __shfl_sync(kAll, from, who), into = __shfl_sync(kAll, to, who);
    const auto as_often = static_cast<std::int64_t>(__shfl_sync(kAll, static_cast<long long>(times), who));
    if (rest) move_row(rows.row(who), as_often, out_of, into, scale, sums, lanes);
    for (int r = 0; r < lanes.rows(); ++r) moving &= moving - 1;
  }
}

}  // namespace fastkmeans::cuda
