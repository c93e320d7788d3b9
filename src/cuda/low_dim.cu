// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <type_traits>

#include "cuda/distances.hpp"
#include "cuda/low_dim.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kOfTile = 8;              // centroids that an instruction multiplies with
constexpr int kSharedValues = 6 << 10;  // of centroids, in shared memory at a time: 24 KiB

FASTKMEANS_BOTH std::int64_t whole_tiles(std::int64_t k) { return (k + kOfTile - 1) / kOfTile * kOfTile; }

// Rows and centroids as the tensor cores see them: kDims elements, padded with zeros.
template <int kDims>
struct Shape {
  static constexpr int kSteps = kDims / 8;               // instructions for a product
  static constexpr int kRowTiles = kDims <= 32 ? 4 : 2;  // of 16 rows, in the registers of a warp
  static constexpr int kRows = 16 * kRowTiles;
  // Of a centroid in shared memory: the eight of a tile are read from different banks.
  static constexpr int kStride = kDims <= 16 ? kDims : kDims + 16;
  static constexpr int kChunk = kSharedValues / kStride / kOfTile * kOfTile;  // centroids at a time

  // Which element stands where in the operands is of no account, as long as rows and centroids agree: a lane has
  // kWidth side by side of each piece, two for a step.
  static constexpr int kWidth = kDims == 8 ? 2 : 4;
  static constexpr int kPieces = kDims / (4 * kWidth);
  static __device__ int first_of(int piece, int quarter) { return kWidth * (4 * piece + quarter); }
  using Vector = std::conditional_t<kWidth == 2, float2, float4>;
};

// sums = start + the products of 16 rows and 8 centroids, 8 elements of each.
__device__ void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const float (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}

// What the kernel reads of the centroids, in whole tiles: less the centre, rounded, in rows of `dims`; a thread each.
__global__ void describe_centroids(const Centroids centroids, const float* centre, FilterBound bound, int dims,
                                   float* values, float* starts) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= whole_tiles(centroids.k)) return;
  double squares = 0, kept = 0, lost = 0;
  for (int j = 0; j < dims; ++j) {
    const float b = c < centroids.k && j < centroids.d ? centroids.row(c)[j] - centre[j] : 0.0f,
                w = tensor_core_value(b);
    values[static_cast<std::int64_t>(c) * dims + j] = w;
    const auto exact = static_cast<double>(b), near = static_cast<double>(w);
    squares += exact * exact;
    kept += near * near;
    lost += (exact - near) * (exact - near);
  }
  starts[c] =
      c < centroids.k ? bound.start({.sq_norm = kept, .error = sqrt(lost) + kCentring * sqrt(squares)}) : -kInfinity;
}

// A row's two best scores among some centroids.
struct Two {
  float best, second;
  int who;
  __device__ void take(float score, int c) {
    second = fmaxf(second, fminf(best, score));
    who = score > best ? c : who;
    best = fmaxf(best, score);
  }
  // Those of a lane whose number differs in this bit: of other centroids. Both lanes agree on the best.
  __device__ void join(int bit) {
    const float other = __shfl_xor_sync(kAll, best, bit), other_second = __shfl_xor_sync(kAll, second, bit);
    const int other_who = __shfl_xor_sync(kAll, who, bit);
    second = fmaxf(fmaxf(second, other_second), fminf(best, other));
    who = other > best || (other == best && other_who < who) ? other_who : who;
    best = fmaxf(best, other);
  }
};

// Of four lanes and the values of four slots, the one that is the lane's.
template <class T, int kSlots>
__device__ T own_of(const T (&values)[kSlots], int own) {
  T value = values[4 * own];
#pragma unroll
  for (int quarter = 1; quarter < 4; ++quarter)
    if (lane_id() % 4 == quarter) value = values[4 * own + quarter];
  return value;
}
// Of the sums over those four lanes.
template <int kSlots>
__device__ float own_sum(float (&values)[kSlots], int own) {
#pragma unroll
  for (int slot = 4 * own; slot < 4 * own + 4; ++slot)
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) values[slot] += __shfl_xor_sync(kAll, values[slot], bit);
  return own_of(values, own);
}

// A warp for some rows, whose elements stay in its registers while all centroids pass by: four lanes share a row. Rows
// whose two best scores are too near to tell are left to others, with the nearest so far.
template <int kDims>
__global__ __launch_bounds__(kThreads, 3) void nearest_two(const Centroids centroids, const Batch batch,
                                                           const float* centre, const float* values,
                                                           const float* starts, bool whole,
                                                           const FilterBound::Rounded bound, Integer* nearest,
                                                           std::int32_t* left_over, std::int32_t* left_over_count,
                                                           Integer* refined) {
  using S = Shape<kDims>;
  constexpr int kSlots = 2 * S::kRowTiles;  // rows that a lane has a part of; one in four is its own in the end
  __shared__ __align__(16) float shared[S::kChunk * S::kStride];
  __shared__ __align__(8) float shared_starts[S::kChunk];
  const int group = lane_id() / 4, quarter = lane_id() % 4;
  const int first =
      (static_cast<int>(blockIdx.x) * (kThreads / kWarp) + static_cast<int>(threadIdx.x) / kWarp) * S::kRows;

  std::uint32_t words[S::kRowTiles][S::kSteps][4];
  float sq_norms[kSlots] = {}, sq_errors[kSlots] = {};
  const auto take_rows = [&](const auto& values_of) {
#pragma unroll
    for (int piece = 0; piece < S::kPieces; ++piece) {
      const int j = S::first_of(piece, quarter);
      float middle[S::kWidth];
#pragma unroll
      for (int e = 0; e < S::kWidth; ++e) middle[e] = j + e < centroids.d ? centre[j + e] : 0.0f;
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        __align__(16) float row[S::kWidth];
        values_of(batch.rows.row(min(first + 8 * slot + group, batch.count - 1)) + j, j, row);
#pragma unroll
        for (int e = 0; e < S::kWidth; ++e) {
          const float a = row[e] - middle[e], v = tensor_core_value(a), lost = a - v;
          sq_norms[slot] = fmaf(v, v, sq_norms[slot]);
          sq_errors[slot] = fmaf(lost, lost, sq_errors[slot]);
          words[slot / 2][S::kWidth / 2 * piece + e / 2][slot % 2 + 2 * (e % 2)] = __float_as_uint(v);
        }
      }
    }
  };
  if (whole)
    take_rows([](const float* from, int, float* to) {
      *reinterpret_cast<typename S::Vector*>(to) = *reinterpret_cast<const typename S::Vector*>(from);
    });
  else
    take_rows([&](const float* from, int j, float* to) {
#pragma unroll
      for (int e = 0; e < S::kWidth; ++e) to[e] = j + e < centroids.d ? from[e] : 0.0f;
    });

  float sq_norm[kSlots / 4], sq_error[kSlots / 4];
#pragma unroll
  for (int own = 0; own < kSlots / 4; ++own) {
    sq_norm[own] = own_sum(sq_norms, own);
    sq_error[own] = own_sum(sq_errors, own);
  }

  Two two[kSlots];
#pragma unroll
  for (Two& of_slot : two) of_slot = {-kInfinity, -kInfinity, 0};
  const int k = static_cast<int>(whole_tiles(centroids.k));
  for (int begin = 0; begin < k; begin += S::kChunk) {
    const int count = min(S::kChunk, k - begin);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < count * kDims / 4; e += kThreads)
      reinterpret_cast<float4*>(shared)[e / (kDims / 4) * (S::kStride / 4) + e % (kDims / 4)] =
          reinterpret_cast<const float4*>(values + static_cast<std::int64_t>(begin) * kDims)[e];
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kThreads) shared_starts[c] = starts[begin + c];
    __syncthreads();
    for (int tile = 0; tile < count; tile += kOfTile) {
      const float* const column = shared + (tile + group) * S::kStride;
      __align__(16) float b[S::kSteps][2];
#pragma unroll
      for (int piece = 0; piece < S::kPieces; ++piece)
        *reinterpret_cast<typename S::Vector*>(b[S::kWidth / 2 * piece]) =
            *reinterpret_cast<const typename S::Vector*>(column + S::first_of(piece, quarter));
      const float2 start = *reinterpret_cast<const float2*>(shared_starts + tile + 2 * quarter);
      const int c = begin + tile + 2 * quarter;
#pragma unroll
      for (int rows = 0; rows < S::kRowTiles; ++rows) {
        float sums[4] = {start.x, start.y, start.x, start.y};
#pragma unroll
        for (int step = 0; step < S::kSteps; ++step) multiply(sums, words[rows][step], b[step]);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          two[2 * rows + h].take(sums[2 * h], c);
          two[2 * rows + h].take(sums[2 * h + 1], c + 1);
        }
      }
    }
  }

#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot)
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) two[slot].join(bit);
  // D of the nearest, by the whole warp: eight rows at a time, whose sums come to the lanes that share the row.
  float distances[kSlots];
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    const float *x[8], *c[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) {
      x[u] = batch.rows.row(min(first + 8 * slot + u, batch.count - 1));
      c[u] = centroids.row(of_group<8>(two[slot].who, u));
    }
    distances[slot] = warp_losses(x, c, centroids.d, Distance{});
  }
  int pairs = 0;
#pragma unroll
  for (int own = 0; own < kSlots / 4; ++own) {
    const Two found = own_of(two, own);
    const int i = first + 8 * (4 * own + quarter) + group;
    if (i >= batch.count) continue;
    const bool bad = batch.states[i] & kBadRow;
    const int label = bad ? 0 : found.who;
    const float distance = bad ? 0.0f : own_of(distances, own);
    nearest[i] = Distance::packed({distance, label});
    pairs += !bad;
    if (!bad && !(found.second < bound.threshold(distance, sq_norm[own], sq_error[own])))
      left_over[atomicAdd(left_over_count, 1)] = i;
  }
  pairs = __reduce_add_sync(kAll, pairs);
  if (lane_id() == 0) atomicAdd(refined, static_cast<Integer>(pairs));
}

class LowDim final : public Filter {
 public:
  LowDim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most, DeviceBuffer<float> centre)
      : device_(device),
        dims_(d <= 8    ? 8
              : d <= 16 ? 16
              : d <= 32 ? 32
                        : 64),
        centre_(std::move(centre)),
        bound_(FilterBound::of_tensor_cores(d, dims_)),
        values_(device, whole_tiles(k) * dims_),
        starts_(device, whole_tiles(k)),
        nearest_(device, most),
        left_over_(device, most),
        left_over_count_(device, 1) {}

  std::string_view name() const override { return "low_dim"; }

  void prepare(const Centroids& centroids) override {
    centroids_ = centroids;
    describe_centroids<<<blocks_for(whole_tiles(centroids.k), kThreads), kThreads, 0, device_.stream()>>>(
        centroids, centre_.data(), bound_, dims_, values_.data(), starts_.data());
    launched("describe_centroids");
  }

  void assign(const Batch& batch, Notes* notes) override {
    Integer* const refined = &notes->refined;
    device_.clear(left_over_count_.data(), left_over_count_.bytes());
    const auto launch = [&](auto shape, auto kernel) {
      using S = decltype(shape);
      constexpr int kRows = kThreads / kWarp * S::kRows;
      // Rows of which a lane reads its part at once.
      const bool whole = centroids_.d == dims_ && batch.rows.ld % S::kWidth == 0 &&
                         reinterpret_cast<std::uintptr_t>(batch.rows.x) % sizeof(typename S::Vector) == 0;
      kernel<<<blocks_for(batch.count, kRows), kThreads, 0, device_.stream()>>>(
          centroids_, batch, centre_.data(), values_.data(), starts_.data(), whole, FilterBound::Rounded(bound_, dims_),
          nearest_.data(), left_over_.data(), left_over_count_.data(), refined);
    };
    switch (dims_) {
      case 8: launch(Shape<8>{}, nearest_two<8>); break;
      case 16: launch(Shape<16>{}, nearest_two<16>); break;
      case 32: launch(Shape<32>{}, nearest_two<32>); break;
      default: launch(Shape<64>{}, nearest_two<64>);
    }
    launched("nearest_two");
    search_chosen<Distance>(device_, centroids_, batch, {left_over_.data(), left_over_count_.data()}, nearest_.data(),
                            refined);
    unpack_nearest<Distance>(device_, nearest_.data(), batch);
  }

 private:
  Device& device_;
  int dims_;
  FilterBound bound_;
  DeviceBuffer<float> centre_, values_, starts_;
  DeviceBuffer<Integer> nearest_;
  DeviceBuffer<std::int32_t> left_over_, left_over_count_;
  Centroids centroids_ = {};
};

}  // namespace

std::unique_ptr<Filter> low_dim(Device& device, std::int64_t k, std::int64_t d, std::int64_t most,
                                DeviceBuffer<float> centre) {
  return std::make_unique<LowDim>(device, k, d, most, std::move(centre));
}

}  // namespace fastkmeans::cuda
