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
constexpr int kTogether = 4;  // rows, or groups of short ones, that are on their way to a warp at once
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// Of the rows looked at so far; magnitudes as ordered bits.
struct Found {
  Integer bad;
  Integer first_bad;  // its number in the shard, the lowest
  Integer zero_rows;
  std::uint32_t least_row_max;
};

// column_max null: states and the check alone.
__global__ void look(RowsView rows, std::int64_t first, std::int64_t count, int d, const Lanes lanes,
                     std::uint32_t limit, const std::int64_t* weights, std::uint8_t* states, std::uint32_t* column_max,
                     Found* found) {
  Integer zero_rows = 0;
  const int side_by_side = lanes.rows();
  const std::int64_t at_once = kTogether * side_by_side;
  for (std::int64_t some = at_once * warp_id(); some < count; some += at_once * warp_count()) {
    const std::int64_t first_row = some + lanes.row();
    const float* row[kTogether];
    std::uint32_t most[kTogether] = {};
#pragma unroll
    for (int u = 0; u < kTogether; ++u) row[u] = rows.row(min(first_row + u * side_by_side, count - 1));
    for (int j = lanes.lane(); j < d; j += lanes.count) {
#pragma unroll
      for (int u = 0; u < kTogether; ++u) most[u] = max(most[u], magnitude_bits(row[u][j]));
    }
#pragma unroll
    for (std::uint32_t& magnitude : most) magnitude = lanes.largest(magnitude);
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const std::int64_t i = first_row + u * side_by_side;
      if (i >= count) continue;
      const bool leads = lanes.lane() == 0, bad = most[u] >= limit;
      if (leads) {
        states[first + i] =
            static_cast<std::uint8_t>((bad ? kBadRow : 0) | (most[u] < magnitude_bits(kTinyBelow) ? kTinyRow : 0));
        if (bad) {
          atomicAdd(&found->bad, Integer{1});
          atomicMin(&found->first_bad, static_cast<Integer>(first + i));
        }
      }
      if (!column_max || bad || (weights && weights[first + i] == 0)) continue;
      zero_rows += leads && most[u] == 0;
      if (leads && most[u] > 0 && most[u] < found->least_row_max) atomicMin(&found->least_row_max, most[u]);
      // An old value of the maximum is no more than the present one: it asks for an atomic in vain, at worst.
      for (int j = lanes.lane(); j < d; j += lanes.count)
        if (const std::uint32_t bits = magnitude_bits(row[u][j]); bits > column_max[j]) atomicMax(column_max + j, bits);
    }
  }
  if (zero_rows > 0) atomicAdd(&found->zero_rows, zero_rows);
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
  DeviceBuffer<std::uint32_t> column_max(device, d);
  device.clear(column_max.data(), column_max.bytes());
  const Found none = {0, std::numeric_limits<Integer>::max(), 0, kNone};
  const auto found = uploaded(device, &none, 1);
  rows.each_batch(batch, [&](std::int64_t first, std::int64_t count, RowsView view) {
    const unsigned blocks = grid_stride_blocks(device, count, kThreads / kWarp, 32);
    look<<<blocks, kThreads, 0, device.stream()>>>(view, first, count, static_cast<int>(d), Lanes(static_cast<int>(d)),
                                                   magnitude_limit_bits(d), weights, states_.data(),
                                                   all_statistics ? column_max.data() : nullptr, found.data());
    launched("look");
    if (!own_losses) return;
    find_own_losses<<<blocks, kThreads, 0, device.stream()>>>(view, count, static_cast<int>(d),
                                                              own_losses_.data() + first);
    launched("find_own_losses");
  });
  Found result;
  device.download(&result, found.data(), sizeof result);
  statistics_.check.bad = static_cast<std::int64_t>(result.bad);
  if (result.bad) statistics_.check.first = static_cast<std::int64_t>(result.first_bad);
  statistics_.least_row_max = result.least_row_max == kNone ? 0.0f : std::bit_cast<float>(result.least_row_max);
  statistics_.zero_rows = static_cast<std::int64_t>(result.zero_rows);
  statistics_.column_max.resize(static_cast<std::size_t>(d));
  if (all_statistics) device.download(statistics_.column_max.data(), column_max.data(), column_max.bytes());
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
