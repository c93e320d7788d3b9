// SPDX-License-Identifier: Apache-2.0
#include "cuda/distances.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 4;      // centroids whose elements are on their way at once
constexpr int kPerLook = 1 << 10;  // centroids between two looks at Device::stop()

// The nearest of all centroids, by a warp; false: told to stop.
__device__ bool search(const float* row, const Centroids& centroids, float factor, const volatile int* stop,
                       Best& best) {
  for (int c = 0; c < centroids.k; c += kTogether) {
    if (c > 0 && c % kPerLook == 0 && *stop) return false;
    const float* some[kTogether];
    float found[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) some[u] = centroids.row(min(c + u, centroids.k - 1));
    warp_distances(row, some, centroids.d, factor, found);
#pragma unroll
    for (int u = 0; u < kTogether; ++u) best.take(found[u], min(c + u, centroids.k - 1));
  }
  return true;
}

__device__ float factor_of(std::uint8_t state, bool tiny) { return tiny && (state & kTinyRow) ? kTinyScale : 1.0f; }

__global__ void search_kernel(const Centroids centroids, const Batch batch, const ChosenRows chosen,
                              const volatile int* stop, Integer* refined) {
  const int count = chosen.count ? *chosen.count : batch.count;
  Integer pairs = 0;
  for (std::int64_t place = warp_id(); place < count; place += warp_count()) {
    const int i = chosen.rows ? chosen.rows[place] : static_cast<int>(place);
    const std::uint8_t state = batch.states[i];
    Best best = {__int_as_float(0x7f800000), 0};
    const float factor = factor_of(state, centroids.tiny);
    if (state & kBadRow) {
      best.distance = 0;
    } else {
      if (!search(batch.rows.row(i), centroids, factor, stop, best)) return;
      pairs += static_cast<Integer>(centroids.k);
    }
    if (lane_id() == 0) {
      batch.labels[i] = best.label;
      batch.distances[i] = store_distance(best.distance, factor != 1.0f && !(state & kBadRow));
    }
  }
  if (lane_id() == 0 && pairs) atomicAdd(refined, pairs);
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
    Best best = {__int_as_float(0x7f800000), 0};
    if (!search(rows.row(i), added, factor, stop, best)) return;
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
  explicit AllDistances(Device& device) : device_(device) {}
  std::string_view name() const override { return "none"; }
  void prepare(const Centroids& centroids) override { centroids_ = centroids; }
  void assign(const Batch& batch, Integer* refined) override { search_all(device_, centroids_, batch, {}, refined); }

 private:
  Device& device_;
  Centroids centroids_ = {};
};

unsigned blocks_of_warps(Device& device, std::int64_t rows) {
  return std::max(1u, std::min(blocks_for(rows, kThreads / kWarp), static_cast<unsigned>(16 * device.processors())));
}

}  // namespace

void search_all(Device& device, const Centroids& centroids, const Batch& batch, const ChosenRows& chosen,
                Integer* refined) {
  search_kernel<<<blocks_of_warps(device, batch.count), kThreads, 0, device.stream()>>>(centroids, batch, chosen,
                                                                                       device.stop(), refined);
  launched("search");
}

std::unique_ptr<Filter> all_distances(Device& device) { return std::make_unique<AllDistances>(device); }

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
