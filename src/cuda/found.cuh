// SPDX-License-Identifier: Apache-2.0
// What an assignment by sketches has found of each row so far, and how warps share the rows.
#pragma once

#include "cuda/batch.hpp"
#include "cuda/distances.hpp"
#include "cuda/epilogues.cuh"
#include "cuda/loss.cuh"
#include "cuda/scan.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// The nearest centroid of each row so far (distances.hpp); errors, reach: of the row.
struct Found {
  Integer* nearest;
  const float* errors;
  const float* own_losses;     // as of Batch
  float *reach, *least_reach;  // (epilogues.cuh)

  Reach reaches() const { return {reach, least_reach}; }
  template <class Minimised>
  __device__ void set_reach(int i, float loss, float error, const FilterBound& bound) const {
    const double radius = Minimised::radius(bound, loss, own_losses, i);
    reach[i] = least_reach[i] = round_up(radius + static_cast<double>(error));
  }
};

// Rows whose lists ran over, to be scanned again: their reach is that of the nearest centroid by then.
struct LeftOver {
  std::int32_t *rows, *count;  // of the batch
  Integer* seeds;              // those of the rows are unset
};

// Rows that a warp takes at once: what is known of each is asked for together, and radii, in fp64, are worked out side
// by side.
inline constexpr int kRowsAtOnce = 8;
inline constexpr int kThreads = 256;
inline unsigned blocks_of_rows(const Device& device, std::int64_t rows) {
  return grid_stride_blocks(device, rows, kThreads / kWarp * kRowsAtOnce, 32);
}
// With a warp for each row, where there are few. Of some rows, nobody knows how many, no more than keep the device
// busy, since blocks without a row take their time too: a multiple of the two or three that a multiprocessor holds.
inline constexpr int kBlocksOfSome = 12;
inline unsigned blocks_of_warps(const Device& device, const ScanTask& task) {
  return grid_stride_blocks(device, task.most, kThreads / kWarp, task.count ? kBlocksOfSome : 32);
}

// Calls with how losses_of_pairs() reads the rows of the batch.
template <class Call>
void by_reads(const Batch& batch, const Centroids& centroids, const Call& call) {
  const bool fours = in_fours(centroids.values, centroids.d, centroids.d);
  switch (fours ? how_to_read(batch.rows, centroids.d) : Reads::ones) {
    case Reads::f32: return call.template operator()<Reads::f32>();
    case Reads::f16: return call.template operator()<Reads::f16>();
    case Reads::bf16: return call.template operator()<Reads::bf16>();
    case Reads::ones: return call.template operator()<Reads::ones>();
  }
}

// D or L of kRowsAtOnce rows of the batch, i of each group's lanes, to one centroid each, `label` of these.
template <Reads kReads, class Minimised>
__device__ inline float losses_of_rows(const Batch& batch, const Centroids& centroids, int i, std::int32_t label) {
  const int group = lane_group<kRowsAtOnce>();
  float mine = 0;
#pragma unroll
  for (int first = 0; first < kRowsAtOnce; first += kPairs) {
    const int its_i = of_group<kRowsAtOnce>(i, first + lane_group<kPairs>());
    const std::int32_t its_label = of_group<kRowsAtOnce>(label, first + lane_group<kPairs>());
    const float losses =
        losses_of_pairs<kReads>(batch.rows.row(its_i), centroids.row(its_label), centroids.d, Minimised{});
    const float own = of_group<kPairs>(losses, group % kPairs);
    if (group / kPairs == first / kPairs) mine = own;
  }
  return mine;
}

}  // namespace fastkmeans::cuda
