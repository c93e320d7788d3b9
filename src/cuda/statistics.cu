// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <limits>

#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "sketch/centre.hpp"
#include "source/element.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 8;  // rows that are on their way to a team at once
static_assert(kWarp % kTogether == 0);
constexpr int kMostTeam = 384;  // threads: as two blocks of a multiprocessor, which uses all of its registers
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// Of the rows looked at so far; magnitudes as ordered bits.
struct Found {
  Integer bad;
  Integer first_bad;  // its number in the shard, the lowest
  Integer zero_rows;
  std::uint32_t least_row_max;
};

// The threads that look at a row together, four neighbouring elements each: a part of a warp, or all of a block.
struct Team {
  int size;

  FASTKMEANS_BOTH explicit Team(int d) {
    const int fours = (d + 3) / 4, parts = (fours + kMostTeam - 1) / kMostTeam, most = (fours + parts - 1) / parts;
    size = most <= kWarp ? Lanes(most).count : (most + kWarp - 1) / kWarp * kWarp;
  }
  int block() const { return size <= kWarp ? kThreads : size; }
  std::int64_t rows_of_block() const { return std::int64_t{kTogether} * (block() / size); }

  // most: the largest of the lanes of a warp; of all warps after that. shared: not that of the call before.
  __device__ void largest_of_warps(std::uint32_t (&most)[kTogether], std::uint32_t (*shared)[kTogether]) const {
    if (lane_id() == 0) {
#pragma unroll
      for (int u = 0; u < kTogether; ++u) shared[threadIdx.x / kWarp][u] = most[u];
    }
    __syncthreads();
    std::uint32_t mine = 0;  // of row lane_id() % kTogether
#pragma unroll 1
    for (int warp = lane_id() / kTogether; warp < size / kWarp; warp += kWarp / kTogether)
      mine = max(mine, shared[warp][lane_id() % kTogether]);
#pragma unroll
    for (int step = kTogether; step < kWarp; step *= 2) mine = max(mine, __shfl_xor_sync(kAll, mine, step));
#pragma unroll
    for (int u = 0; u < kTogether; ++u) most[u] = __shfl_sync(kAll, mine, u);
  }
};

__device__ uint4 magnitudes(const float4& v) {
  return {magnitude_bits(v.x), magnitude_bits(v.y), magnitude_bits(v.z), magnitude_bits(v.w)};
}
__device__ uint4 larger(const uint4& a, const uint4& b) {
  return {max(a.x, b.x), max(a.y, b.y), max(a.z, b.z), max(a.w, b.w)};
}

// most: the largest magnitude of row i.
__device__ void note_state(std::int64_t i, std::uint32_t most, bool bad, std::uint8_t* states, Found* found) {
  states[i] = static_cast<std::uint8_t>((bad ? kBadRow : 0) | (most < magnitude_bits(kTinyBelow) ? kTinyRow : 0));
  if (!bad) return;
  atomicAdd(&found->bad, Integer{1});
  atomicMin(&found->first_bad, static_cast<Integer>(i));
}

// Four columns' maxima. An old value that is read is no more than the present one: it asks for an atomic in vain, at
// worst.
__device__ void raise(std::uint32_t* column_max, const uint4& to) {
  const uint4 from = *reinterpret_cast<const uint4*>(column_max);
  if (to.x > from.x) atomicMax(column_max, to.x);
  if (to.y > from.y) atomicMax(column_max + 1, to.y);
  if (to.z > from.z) atomicMax(column_max + 2, to.z);
  if (to.w > from.w) atomicMax(column_max + 3, to.w);
}

// column_max: (d), up to a multiple of four; null: states and the check alone. A row is known to be good when all of it
// has been read. Where a team has it all in registers, it is read once; of longer rows, all but the last part again.
template <bool kFours>
__global__ __launch_bounds__(kMostTeam, 2) void look(RowsView rows, std::int64_t first, std::int64_t count, int d,
                                                     const Team team, std::uint32_t limit, const std::int64_t* weights,
                                                     std::uint8_t* states, std::uint32_t* column_max, Found* found) {
  __shared__ std::uint32_t shared[2][kMostTeam / kWarp][kTogether];
  const Lanes lanes(team.size);
  const int own = static_cast<int>(threadIdx.x) % team.size, which = static_cast<int>(threadIdx.x) / team.size;
  const int teams = static_cast<int>(blockDim.x) / team.size;
  const int stride = 4 * team.size;
  const std::int64_t at_once = std::int64_t{kTogether} * teams, apart = teams * rows.ld;
  std::uint32_t zero_rows = 0, least = kNone;
  int now = 0;
  for (std::int64_t some = at_once * blockIdx.x; some < count; some += at_once * gridDim.x, now ^= 1) {
    const std::int64_t first_row = some + which;
    const int left = static_cast<int>(min(count - first_row, at_once));  // of this block, from the team's first on
    uint4 values[kTogether];
    const auto load = [&](int begin) {
      const int j = begin + 4 * own;
      const float* row = rows.row(first_row) + j;
#pragma unroll
      for (int u = 0; u < kTogether; ++u, row += apart)
        values[u] = magnitudes(load_four<kFours>(row, u * teams < left ? d - j : 0));
    };
    std::uint32_t most[kTogether] = {};
    int begin = 0;
    for (;; begin += stride) {
      load(begin);
#pragma unroll
      for (int u = 0; u < kTogether; ++u)
        most[u] = max(most[u], max(max(values[u].x, values[u].y), max(values[u].z, values[u].w)));
      if (begin + stride >= d) break;
    }
#pragma unroll
    for (std::uint32_t& magnitude : most) magnitude = lanes.largest(magnitude);
    if (team.size > kWarp) team.largest_of_warps(most, shared[now]);

    unsigned used = 0;  // a bit a row
#pragma unroll
    for (int u = 0; u < kTogether; ++u) used |= unsigned{most[u] < limit} << u;
    if (weights) {
#pragma unroll
      for (int u = 0; u < kTogether; ++u)
        if (u * teams < left && weights[first + first_row + u * teams] == 0) used &= ~(1u << u);
    }
    // A thread a row, where there are enough.
#pragma unroll 1
    for (int u = own; u < kTogether && u * teams < left; u += team.size) {
      std::uint32_t its_most = 0;
#pragma unroll
      for (int v = 0; v < kTogether; ++v)
        if (v == u) its_most = most[v];
      note_state(first + first_row + u * teams, its_most, its_most >= limit, states, found);
      if (!column_max || !(used >> u & 1)) continue;
      if (its_most > 0)
        least = min(least, its_most);
      else
        ++zero_rows;
    }
    if (!column_max) continue;
    for (;;) {
      uint4 largest = {};
#pragma unroll
      for (int u = 0; u < kTogether; ++u)
        if (used >> u & 1) largest = larger(largest, values[u]);
      // The teams of a warp have the same columns.
      for (int step = lanes.count; step < kWarp; step *= 2)
        largest = larger(largest, {__shfl_xor_sync(kAll, largest.x, step), __shfl_xor_sync(kAll, largest.y, step),
                                   __shfl_xor_sync(kAll, largest.z, step), __shfl_xor_sync(kAll, largest.w, step)});
      const int j = begin + 4 * own;
      if (lane_id() < lanes.count && j < d) raise(column_max + j, largest);
      if (begin == 0) break;
      begin -= stride;
      load(begin);
    }
  }
  zero_rows = __reduce_add_sync(kAll, zero_rows);
  least = __reduce_min_sync(kAll, least);
  if (lane_id() != 0) return;
  if (zero_rows > 0) atomicAdd(&found->zero_rows, static_cast<Integer>(zero_rows));
  if (least < found->least_row_max) atomicMin(&found->least_row_max, least);
}

__global__ void find_own_losses(RowsView rows, std::int64_t count, int d, float* out) {
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const float loss = warp_loss(rows.row(i), rows.row(i), d, NegatedProduct{});
    if (lane_id() == 0) out[i] = loss;
  }
}

// About the first row, a part of the rows for each block, so that a common offset cancels.
// origin: (d) that row.
__global__ void sum_moments(const MatrixView x, double* sums, double* squares, double* origin) {
  const auto value = [&](std::int64_t i, std::int64_t j) {
    double v;
    memcpy(&v, element_address(x, i, j), sizeof v);
    return v;
  };
  for (std::int64_t j = threadIdx.x; j < x.cols; j += blockDim.x) {
    if (blockIdx.x == 0) origin[j] = value(0, j);
    double s = 0, q = 0;
    for (std::int64_t i = blockIdx.x; i < x.rows; i += gridDim.x) {
      const double t = value(i, j) - value(0, j);
      s += t;
      q += t * t;
    }
    sums[blockIdx.x * x.cols + j] = s;
    squares[blockIdx.x * x.cols + j] = q;
  }
}

// A block a column: each thread has a row, and counts how many come before it.
__global__ void median(const float* rows, int count, int d, std::uint32_t limit, float* out) {
  __shared__ float column[kCentreRows];
  const int j = static_cast<int>(blockIdx.x), i = static_cast<int>(threadIdx.x);
  const float mine = i < count ? rows[static_cast<std::int64_t>(i) * d + j] : 0.0f;
  const bool valid = i < count && magnitude_bits(mine) < limit;
  if (i < count) column[i] = mine;
  if (i == 0) out[j] = 0;
  const int all = __syncthreads_count(valid);
  if (!valid) return;
  int before = 0;
  for (int other = 0; other < count; ++other)
    if (magnitude_bits(column[other]) < limit) before += column[other] < mine || (column[other] == mine && other < i);
  if (before == all / 2) out[j] = mine;
}

}  // namespace

RowFacts::RowFacts(Device& device, Rows& rows, std::int64_t n, std::int64_t d, std::int64_t batch,
                   const std::int64_t* weights, bool all_statistics, bool own_losses)
    : states_(device, n), own_losses_(device, own_losses ? n : 0) {
  DeviceBuffer<std::uint32_t> column_max(device, (d + 3) / 4 * 4);
  device.clear(column_max.data(), column_max.bytes());
  const Found none = {0, std::numeric_limits<Integer>::max(), 0, kNone};
  const auto found = uploaded(device, &none, 1);
  const Team team(static_cast<int>(d));
  rows.each_batch(batch, [&](std::int64_t first, std::int64_t count, RowsView view) {
    const auto kernel = in_fours(view.x, view.ld, static_cast<int>(d)) ? look<true> : look<false>;
    kernel<<<grid_stride_blocks(device, count, team.rows_of_block(), 32), team.block(), 0, device.stream()>>>(
        view, first, count, static_cast<int>(d), team, magnitude_limit_bits(d), weights, states_.data(),
        all_statistics ? column_max.data() : nullptr, found.data());
    launched("look");
    if (!own_losses) return;
    find_own_losses<<<grid_stride_blocks(device, count, kThreads / kWarp, 32), kThreads, 0, device.stream()>>>(
        view, count, static_cast<int>(d), own_losses_.data() + first);
    launched("find_own_losses");
  });
  Found result;
  device.download(&result, found.data(), sizeof result);
  statistics_.check.bad = static_cast<std::int64_t>(result.bad);
  if (result.bad) statistics_.check.first = static_cast<std::int64_t>(result.first_bad);
  statistics_.least_row_max = result.least_row_max == kNone ? 0.0f : std::bit_cast<float>(result.least_row_max);
  statistics_.zero_rows = static_cast<std::int64_t>(result.zero_rows);
  statistics_.column_max.resize(static_cast<std::size_t>(d));
  if (all_statistics)
    device.download(statistics_.column_max.data(), column_max.data(), d * static_cast<std::int64_t>(sizeof(float)));
}

Moments moments_of_device(Device& device, const MatrixView& x) {
  const auto d = static_cast<std::size_t>(x.cols);
  Moments moments{static_cast<double>(x.rows), std::vector<double>(d), std::vector<double>(d)};
  if (x.dtype != DType::f64 || x.rows == 0) return moments;
  const std::int64_t parts = std::clamp<std::int64_t>((1 << 20) / x.cols, 1, 4 * device.processors());
  const std::int64_t size = parts * x.cols;
  DeviceBuffer<double> on_device(device, 2 * size + x.cols);
  sum_moments<<<static_cast<unsigned>(parts), kThreads, 0, device.stream()>>>(
      x, on_device.data(), on_device.data() + size, on_device.data() + 2 * size);
  launched("sum_moments");
  const std::vector<double> sums = downloaded(device, on_device.data(), on_device.size());
  const double *squares = sums.data() + size, *origin = squares + size;
  return moments_of_parts(moments.count, parts, sums.data(), squares, {origin, origin + x.cols});
}

DeviceBuffer<float> central_row(Device& device, Rows& store, std::int64_t n, std::int64_t d) {
  const std::int64_t count = centre_rows(n, d);
  const DeviceBuffer<float> rows = spread_rows(device, store, n, d, count, 0);
  DeviceBuffer<float> centre(device, d);
  median<<<static_cast<unsigned>(d), kCentreRows, 0, device.stream()>>>(
      rows.data(), static_cast<int>(count), static_cast<int>(d), magnitude_limit_bits(d), centre.data());
  launched("median");
  return centre;
}

}  // namespace fastkmeans::cuda
