// SPDX-License-Identifier: Apache-2.0
#include "cuda/distances.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 4;    // centroids whose elements are on their way at once
constexpr int kPart = 1 << 10;  // centroids that a warp takes: few rows must not leave the device idle

// The nearest of the centroids [begin, end), by a warp.
__device__ Best search(const float* row, const Centroids& centroids, int begin, int end, float factor) {
  Best best = {__int_as_float(0x7f800000), 0};
  for (int c = begin; c < end; c += kTogether) {
    const float* some[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) some[u] = centroids.row(min(c + u, end - 1));
    const float found = warp_distances(row, some, centroids.d, factor);
    best.take(found, min(c + lane_group<kTogether>(), end - 1));
  }
  Best nearest = best;
#pragma unroll
  for (int u = 0; u < kTogether; ++u)
    nearest.take(of_group<kTogether>(best.distance, u), of_group<kTogether>(best.label, u));
  return nearest;
}

__device__ float factor_of(std::uint8_t state, bool tiny) { return tiny && (state & kTinyRow) ? kTinyScale : 1.0f; }

// A warp for each row and part of the centroids; those that work together share their part.
__global__ void search_kernel(const Centroids centroids, const Batch batch, const ChosenRows chosen,
                              const volatile int* stop, Integer* nearest, Integer* refined) {
  const int count = chosen.count ? *chosen.count : batch.count, parts = (centroids.k + kPart - 1) / kPart;
  Integer pairs = 0;
  for (std::int64_t item = warp_id(); item < static_cast<std::int64_t>(count) * parts; item += warp_count()) {
    const int part = static_cast<int>(item / count), place = static_cast<int>(item - std::int64_t{part} * count);
    if (part > 0 && *stop) return;
    const int i = chosen.rows ? chosen.rows[place] : place;
    const std::uint8_t state = batch.states[i];
    if (state & kBadRow) continue;
    const int begin = part * kPart, end = min(begin + kPart, centroids.k);
    const Best best = search(batch.rows.row(i), centroids, begin, end, factor_of(state, centroids.tiny));
    if (lane_id() == 0) atomicMin(nearest + i, packed(best));
    pairs += static_cast<Integer>(end - begin);
  }
  if (lane_id() == 0 && pairs) atomicAdd(refined, pairs);
}

__global__ void unpack_kernel(const Integer* nearest, const Batch batch, bool tiny) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= batch.count) return;
  const std::uint8_t state = batch.states[i];
  const bool bad = state & kBadRow;
  const Best best = unpacked(nearest[i]);
  batch.labels[i] = bad ? 0 : best.label;
  batch.distances[i] = bad ? 0.0f : store_distance(best.distance, factor_of(state, tiny) != 1.0f);
}

__global__ void shifts(const float* a, const Centroids b, float* out) {
  const std::int64_t c = warp_id();
  if (c >= b.k) return;
  float factor = 1;
  if (b.tiny) {
    std::uint32_t bits = 0;
    for (int j = lane_id(); j < b.d; j += kWarp) bits = max(bits, magnitude_bits(a[c * b.d + j]));
    if (largest_of_lanes(bits) < magnitude_bits(kTinyBelow)) factor = kTinyScale;
  }
  const float distance = warp_distance(a + c * b.d, b.row(c), b.d, factor);
  if (lane_id() == 0) out[c] = store_distance(distance, factor != 1.0f);
}

__global__ void lower_kernel(const Centroids added, RowsView rows, std::int64_t count, const std::uint8_t* states,
                             bool first, const volatile int* stop, float* distances) {
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const float factor = factor_of(states[i], added.tiny);
    if (i >= warp_count() && *stop) return;
    const Best best = search(rows.row(i), added, 0, added.k, factor);
    const float distance = store_distance(best.distance, factor != 1.0f);
    if (lane_id() == 0 && (first || true_distance(distance) < true_distance(distances[i]))) distances[i] = distance;
  }
}

__global__ void largest_kernel(const float* values, std::int64_t count, std::uint32_t* out) {
  std::uint32_t bits = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    bits = max(bits, magnitude_bits(values[i]));
  bits = largest_of_lanes(bits);
  if (lane_id() == 0) atomicMax(out, bits);
}

class AllDistances final : public Filter {
 public:
  AllDistances(Device& device, std::int64_t most) : device_(device), nearest_(device, most) {}
  std::string_view name() const override { return "none"; }
  void prepare(const Centroids& centroids) override { centroids_ = centroids; }
  void assign(const Batch& batch, Notes* notes) override {
    unset_nearest(device_, nearest_.data(), batch.count);
    search_chosen(device_, centroids_, batch, {}, nearest_.data(), &notes->refined);
    unpack_nearest(device_, nearest_.data(), batch, centroids_.tiny);
  }

 private:
  Device& device_;
  DeviceBuffer<Integer> nearest_;
  Centroids centroids_ = {};
};

unsigned blocks_of_warps(Device& device, std::int64_t rows) {
  return std::max(1u, std::min(blocks_for(rows, kThreads / kWarp), static_cast<unsigned>(16 * device.processors())));
}

}  // namespace

void unset_nearest(Device& device, Integer* nearest, std::int64_t count) {
  check(cudaMemsetAsync(nearest, 0xff, static_cast<std::size_t>(count) * sizeof(Integer), device.stream()),
        "cudaMemset");
}

void search_chosen(Device& device, const Centroids& centroids, const Batch& batch, const ChosenRows& chosen,
                   Integer* nearest, Integer* refined) {
  const std::int64_t parts = (centroids.k + kPart - 1) / kPart;
  search_kernel<<<blocks_of_warps(device, batch.count * parts), kThreads, 0, device.stream()>>>(
      centroids, batch, chosen, device.stop(), nearest, refined);
  launched("search");
}

void unpack_nearest(Device& device, const Integer* nearest, const Batch& batch, bool tiny) {
  unpack_kernel<<<blocks_for(batch.count, kThreads), kThreads, 0, device.stream()>>>(nearest, batch, tiny);
  launched("unpack_nearest");
}

std::unique_ptr<Filter> all_distances(Device& device, std::int64_t most) {
  return std::make_unique<AllDistances>(device, most);
}

void center_shifts(Device& device, const float* a, const Centroids& b, float* out) {
  shifts<<<blocks_for(b.k, kThreads / kWarp), kThreads, 0, device.stream()>>>(a, b, out);
  launched("shifts");
}

void lower_distances(Device& device, const Centroids& added, RowsView rows, std::int64_t count,
                     const std::uint8_t* states, bool first, float* distances) {
  lower_kernel<<<blocks_of_warps(device, count), kThreads, 0, device.stream()>>>(added, rows, count, states, first,
                                                                                 device.stop(), distances);
  launched("lower_distances");
}

void largest_magnitude(Device& device, const float* values, std::int64_t count, std::uint32_t* out) {
  largest_kernel<<<std::min(blocks_for(count, kThreads), static_cast<unsigned>(8 * device.processors())), kThreads, 0,
                   device.stream()>>>(values, count, out);
  launched("largest_magnitude");
}

}  // namespace fastkmeans::cuda
