// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "cuda/projection.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

// A block makes a tile of kTileRows x kGranule sums, a thread 4 x 4 of them. Products are summed by kChunk, and then
// these sums: one chain of d would round so often that the bound would cost more than int8 does.
constexpr int kThreads = 256;
constexpr int kChunk = 32, kTileRows = 64, kPad = 4;
constexpr int kOwn = 4, kAcross = kGranule / kOwn;
static_assert(kAcross * kTileRows / kOwn == kThreads);

__device__ void add_products(float4 a, float4 b, float (&sums)[kOwn][kOwn]) {
  const float rows[kOwn] = {a.x, a.y, a.z, a.w}, columns[kOwn] = {b.x, b.y, b.z, b.w};
#pragma unroll
  for (int i = 0; i < kOwn; ++i)
#pragma unroll
    for (int j = 0; j < kOwn; ++j) sums[i][j] = fmaf(rows[i], columns[j], sums[i][j]);
}

// Grid: (tiles of rows, tiles of columns).
__global__ __launch_bounds__(kThreads) void multiply_kernel(RowsView rows, std::int64_t count, int d,
                                                            const float* centre, const float* w, int columns,
                                                            float* out) {
  __shared__ __align__(16) float a[kChunk][kTileRows + kPad], b[kChunk][kGranule];
  const int t = static_cast<int>(threadIdx.x), across = kOwn * (t % kAcross), down = kOwn * (t / kAcross);
  const std::int64_t first = std::int64_t{blockIdx.x} * kTileRows;
  const int column = static_cast<int>(blockIdx.y) * kGranule;
  float sums[kOwn][kOwn] = {};
  for (int begin = 0; begin < d; begin += kChunk) {
    const int e = t % kChunk, j = begin + e;
    for (int i = t / kChunk; i < kTileRows; i += kThreads / kChunk)
      a[e][i] = j < d && first + i < count ? rows.row(first + i)[j] - (centre ? centre[j] : 0.0f) : 0.0f;
    for (int i = t / kGranule; i < kChunk; i += kThreads / kGranule)
      b[i][t % kGranule] = begin + i < d ? w[std::int64_t{begin + i} * columns + column + t % kGranule] : 0.0f;
    __syncthreads();
    float chunk[kOwn][kOwn] = {};
#pragma unroll 8
    for (int i = 0; i < kChunk; ++i)
      add_products(*reinterpret_cast<const float4*>(&a[i][down]), *reinterpret_cast<const float4*>(&b[i][across]),
                   chunk);
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sums[i][c] += chunk[i][c];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i)
    if (first + down + i < count)
      *reinterpret_cast<float4*>(out + (first + down + i) * columns + column + across) =
          make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
}

// A warp a row: its last element, and what all of them are off by.
__global__ void add_tails(RowsView rows, std::int64_t count, int d, const float* centre, ProjectionBound bound,
                          int size, float* z, float* errors) {
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const float* const row = rows.row(i);
    float* const head = z + i * size;
    double sq_length = 0, sq_head = 0;
    for (int j = lane_id(); j < d; j += kWarp) {
      const double a = row[j] - centre[j];  // an fp32 difference, as the products have it
      sq_length += a * a;
    }
    for (int j = lane_id(); j < size - 1; j += kWarp) sq_head += static_cast<double>(head[j]) * head[j];
    const ProjectionBound::Tail tail = bound.tail(add_lanes(sq_length), add_lanes(sq_head));
    if (lane_id() != 0) continue;
    head[size - 1] = tail.norm;
    errors[i] = round_up(tail.error);
  }
}

}  // namespace

double product_roundings(std::int64_t d) { return static_cast<double>(kChunk + 2 + (d + kChunk - 1) / kChunk); }

void multiply(Device& device, RowsView rows, std::int64_t count, std::int64_t d, const float* centre, const float* w,
              std::int64_t columns, float* out) {
  if (count == 0) return;
  multiply_kernel<<<dim3(blocks_for(count, kTileRows), static_cast<unsigned>(columns / kGranule)), kThreads, 0,
                    device.stream()>>>(rows, count, static_cast<int>(d), centre, w, static_cast<int>(columns), out);
  launched("multiply");
}

Projection::Projection(Device& device, const Basis& basis, std::int64_t size, const float* centre)
    : device_(device),
      d_(basis.d),
      size_(size),
      centre_(centre),
      bound_(basis, std::min(basis.directions, size - 1), product_roundings(basis.d)),
      w_(device, basis.d * size) {
  const std::int64_t used = std::min(basis.directions, size - 1);
  std::vector<float> w(static_cast<std::size_t>(w_.size()));
  for (std::int64_t j = 0; j < d_; ++j) std::copy_n(basis.w.begin() + j * basis.directions, used, w.begin() + j * size);
  device.upload(w_.data(), w.data(), w_.bytes());
}

void Projection::project(RowsView rows, std::int64_t count, float* z, float* errors) const {
  if (count == 0) return;
  multiply(device_, rows, count, d_, centre_, w_.data(), size_, z);
  add_tails<<<grid_stride_blocks(device_, count, kThreads / kWarp, 32), kThreads, 0, device_.stream()>>>(
      rows, count, static_cast<int>(d_), centre_, bound_, static_cast<int>(size_), z, errors);
  launched("add_tails");
}

}  // namespace fastkmeans::cuda
