// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "cuda/projection.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// A block of four warps makes a tile of kTileRows x kGranule sums, a thread 8 x 8 of them: 16 numbers from shared
// memory for 64 products. Products are summed by kChunk, and then these sums: one chain of d would round so often that
// the bound would cost more than int8 does.
constexpr int kTileThreads = 128, kTileRows = 128, kOwn = 8, kChunk = 32;
static_assert(kTileThreads * kOwn * kOwn == kTileRows * kGranule);

// Of both factors, what a tile takes for the next products. kPad: no two lanes store to one bank.
constexpr int kStep = 16, kPad = 4;
static_assert(kChunk % kStep == 0);
struct Step {
  float a[kStep][kTileRows + kPad], b[kStep][kGranule];
};

struct Factors {
  RowsView rows;
  std::int64_t count;
  int d;
  const float* centre;
  const float* w;
  int columns;
};

// A step on its way from global to shared memory, in registers while the products of the one before are made. Of the
// rows, a thread brings eight elements of two: 32 bytes for each pair of lanes. kFours: they can be read, and those of
// the centre, four at a time.
template <bool kFours>
class Staged {
 public:
  __device__ Staged(const Factors& factors, std::int64_t first, int column)
      : factors_(factors), w_(factors.w + column + 4 * (thread() % kAcross)) {
    // Beyond the last row that one again, for sums that nobody takes.
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      row_[r] = factors.rows.row(min(first + thread() / 2 + r * (kTileThreads / 2), factors.count - 1));
  }

  __device__ void load(int begin) {
#pragma unroll
    for (int q = 0; q < kPieces; ++q) {
      const int j = begin + piece(q), left = factors_.d - j;
      centre_[q] = factors_.centre ? load_four<kFours>(factors_.centre + j, left) : float4{};
#pragma unroll
      for (int r = 0; r < kRows; ++r) rows_[r][q] = load_four<kFours>(row_[r] + j, left);
    }
#pragma unroll
    for (int i = 0; i < kOfW; ++i) {
      const int j = begin + thread() / kAcross + i * (kTileThreads / kAcross);
      w_rows_[i] =
          j < factors_.d ? *reinterpret_cast<const float4*>(w_ + std::int64_t{j} * factors_.columns) : float4{};
    }
  }

  __device__ void store(Step& step) const {
#pragma unroll
    for (int q = 0; q < kPieces; ++q)
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int i = thread() / 2 + r * (kTileThreads / 2), e = piece(q);
        step.a[e][i] = rows_[r][q].x - centre_[q].x;
        step.a[e + 1][i] = rows_[r][q].y - centre_[q].y;
        step.a[e + 2][i] = rows_[r][q].z - centre_[q].z;
        step.a[e + 3][i] = rows_[r][q].w - centre_[q].w;
      }
#pragma unroll
    for (int i = 0; i < kOfW; ++i)
      *reinterpret_cast<float4*>(&step.b[thread() / kAcross + i * (kTileThreads / kAcross)][4 * (thread() % kAcross)]) =
          w_rows_[i];
  }

 private:
  static constexpr int kRows = 2 * kTileRows / kTileThreads, kPieces = kStep / 8;
  static constexpr int kAcross = kGranule / 4, kOfW = kStep * kAcross / kTileThreads;
  static __device__ int thread() { return static_cast<int>(threadIdx.x); }
  static __device__ int piece(int q) { return 8 * q + 4 * (thread() % 2); }

  const Factors& factors_;
  const float *row_[kRows], *w_;
  float4 rows_[kRows][kPieces], centre_[kPieces], w_rows_[kOfW];
};

// Where in the tile the sums of a thread stand: four rows and columns from here on, and as many half the warp's part of
// the tile further, 64 x 32. Neighbouring lanes alternate between down and across, since shared memory serves sixteen
// lanes at a time if all of them share their 16 bytes with the next lane, or all with the next but one.
struct Place {
  int down, across;
  __device__ static Place of_thread() {
    const int lane = lane_id(), warp = static_cast<int>(threadIdx.x) / kWarp;
    return {warp / 2 * 64 + 4 * ((lane >> 1 & 1) | (lane >> 2 & 6)),
            warp % 2 * 32 + 4 * ((lane & 1) | (lane >> 1 & 2))};
  }
  __device__ int row(int i) const { return down + i / 4 * 32 + i % 4; }
  __device__ int column(int c) const { return across + c / 4 * 16 + c % 4; }
};

__device__ void load_eight(const float* p, int apart, float (&out)[kOwn]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float4 some = *reinterpret_cast<const float4*>(p + half * apart);
    out[4 * half] = some.x, out[4 * half + 1] = some.y, out[4 * half + 2] = some.z, out[4 * half + 3] = some.w;
  }
}

__device__ void add_products(const Step& step, const Place& place, float (&sums)[kOwn][kOwn]) {
#pragma unroll 8
  for (int e = 0; e < kStep; ++e) {
    float rows[kOwn], columns[kOwn];
    load_eight(&step.a[e][place.row(0)], place.row(4) - place.row(0), rows);
    load_eight(&step.b[e][place.column(0)], place.column(4) - place.column(0), columns);
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sums[i][c] = fmaf(rows[i], columns[c], sums[i][c]);
  }
}

// Adds the sums of a chunk to those of all, and begins a new one.
__device__ void add_chunk(float (&chunk)[kOwn][kOwn], float (&sums)[kOwn][kOwn]) {
#pragma unroll
  for (int i = 0; i < kOwn; ++i)
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      sums[i][c] += chunk[i][c];
      chunk[i][c] = 0;
    }
}

// A block a tile; those of the same rows are neighbours, so that the rows come from memory once. Two blocks to a
// multiprocessor: the sums of all and of a chunk are 128 registers.
template <bool kFours>
__global__ __launch_bounds__(kTileThreads, 2) void multiply_kernel(const Factors factors, float* out) {
  __shared__ __align__(16) Step steps[2];
  const unsigned tiles_across = static_cast<unsigned>(factors.columns / kGranule);
  const std::int64_t first = std::int64_t{blockIdx.x / tiles_across} * kTileRows;
  const int column = static_cast<int>(blockIdx.x % tiles_across) * kGranule;
  const Place place = Place::of_thread();
  Staged<kFours> staged(factors, first, column);
  staged.load(0);
  staged.store(steps[0]);
  __syncthreads();
  float sums[kOwn][kOwn] = {}, chunk[kOwn][kOwn] = {};
  for (int begin = 0, now = 0; begin < factors.d; now ^= 1) {
    staged.load(begin + kStep);
    add_products(steps[now], place, chunk);
    begin += kStep;
    if (begin % kChunk == 0) add_chunk(chunk, sums);
    staged.store(steps[now ^ 1]);  // read in the step before, which all warps have left
    __syncthreads();
  }
  add_chunk(chunk, sums);
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (first + place.row(i) >= factors.count) continue;
    float* const row = out + (first + place.row(i)) * factors.columns + column;
#pragma unroll
    for (int c = 0; c < kOwn; c += 4)
      *reinterpret_cast<float4*>(row + place.column(c)) =
          make_float4(sums[i][c], sums[i][c + 1], sums[i][c + 2], sums[i][c + 3]);
  }
}

__device__ double squares(const float4& v) {
  const auto square = [](float a) { return static_cast<double>(a) * a; };
  return (square(v.x) + square(v.y)) + (square(v.z) + square(v.w));
}

// A warp a row: its last element, 0 until then, and what all of them are off by.
template <bool kFours>
__global__ void add_tails(RowsView rows, std::int64_t count, int d, const float* centre, ProjectionBound bound,
                          int size, float* z, float* errors) {
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const float* const row = rows.row(i);
    float* const head = z + i * size;
    double sq_length = 0, sq_head = 0;
    for (int j = 4 * lane_id(); j < d; j += 4 * kWarp)
      sq_length +=
          squares(load_four<kFours>(row + j, centre + j, d - j));  // fp32 differences, as the products have them
    for (int j = 4 * lane_id(); j < size; j += 4 * kWarp) sq_head += squares(load_four<true>(head + j, size - j));
    const ProjectionBound::Tail tail = bound.tail(add_lanes(sq_length), add_lanes(sq_head));
    if (lane_id() != 0) continue;
    head[size - 1] = tail.norm;
    errors[i] = round_up(tail.error);
  }
}

// Whether rows and centre can be read four elements at a time.
bool both_in_fours(RowsView rows, std::int64_t d, const float* centre) {
  return in_fours(rows.x, rows.ld, static_cast<int>(d)) && in_fours(centre, d, static_cast<int>(d));
}

}  // namespace

double product_roundings(std::int64_t d) { return static_cast<double>(kChunk + 2 + (d + kChunk - 1) / kChunk); }

void multiply(Device& device, RowsView rows, std::int64_t count, std::int64_t d, const float* centre, const float* w,
              std::int64_t columns, float* out) {
  if (count == 0) return;
  const Factors factors = {rows, count, static_cast<int>(d), centre, w, static_cast<int>(columns)};
  const auto kernel = both_in_fours(rows, d, centre) ? multiply_kernel<true> : multiply_kernel<false>;
  kernel<<<blocks_for(count, kTileRows) * static_cast<unsigned>(columns / kGranule), kTileThreads, 0,
           device.stream()>>>(factors, out);
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
  const auto kernel = both_in_fours(rows, d_, centre_) ? add_tails<true> : add_tails<false>;
  kernel<<<grid_stride_blocks(device_, count, kThreads / kWarp, 32), kThreads, 0, device_.stream()>>>(
      rows, count, static_cast<int>(d_), centre_, bound_, static_cast<int>(size_), z, errors);
  launched("add_tails");
}

}  // namespace fastkmeans::cuda
