// SPDX-License-Identifier: Apache-2.0
#include "cuda/centroid.cuh"
#include "cuda/metric.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// As numeric/metric.cpp has it.
__global__ void to_length_one(float* rows, std::int64_t count, int d, std::uint32_t limit) {
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    float* row = rows + i * d;
    const std::uint32_t bits = largest_bits(row, d);
    if (bits == 0 || bits >= limit) continue;
    int exponent = 0;
    frexp(__uint_as_float(bits), &exponent);
    const double factor = ldexp(1.0, -exponent);
    float sum = 0;
    for (int j = lane_id(); j < d; j += kWarp) {
      const auto z = static_cast<float>(static_cast<double>(row[j]) * factor);
      row[j] = z;
      sum = fmaf(z, z, sum);
    }
    const float length = __fsqrt_rn(add_lanes(sum));
    for (int j = lane_id(); j < d; j += kWarp) row[j] = __fdiv_rn(row[j], length);
  }
}

template <class Kind>
__global__ void update(const CentroidRule rule, const SumsView sums, const ScaleView scale, const float* before,
                       float* out, Integer* empty) {
  for (std::int64_t c = warp_id(); c < sums.k; c += warp_count()) {
    const float* old = before + c * sums.d;
    float* to = out + c * sums.d;
    if (lane_id() == 0 && sums.counts()[c] == 0) atomicAdd(empty, Integer{1});
    if (sums.weights[c] != 0 && c >= rule.frozen) {
      Kind::update(sums, scale, c, old, to);
      // Each lane its own.
      for (int j = lane_id(); rule.integers && j < sums.d; j += kWarp) to[j] = rintf(to[j]);
    } else {
      for (int j = lane_id(); j < sums.d; j += kWarp) to[j] = old[j];
    }
  }
}

}  // namespace

void take_rows(Device& device, const Metric& metric, float* rows, std::int64_t count, std::int64_t d) {
  if (metric.keeps_rows() || count == 0) return;
  to_length_one<<<blocks_for(count, kThreads / kWarp), kThreads, 0, device.stream()>>>(rows, count, static_cast<int>(d),
                                                                                       magnitude_limit_bits(d));
  launched("to_length_one");
}

void new_centroids(Device& device, const Metric& metric, const CentroidRule& rule, const SumsView& sums,
                   const ScaleView& scale, const float* before, float* out, Integer* empty) {
  const auto kernel = metric.keeps_rows() ? update<Mean> : update<Direction>;
  kernel<<<blocks_for(sums.k, kThreads / kWarp), kThreads, 0, device.stream()>>>(rule, sums, scale, before, out, empty);
  launched("update");
}

}  // namespace fastkmeans::cuda
