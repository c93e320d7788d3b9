// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>
#include <vector>

#include "cuda/directions.hpp"
#include "cuda/projection.hpp"
#include "cuda/warp.cuh"
#include "numeric/random.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// A warp a row: less the centre, of length 1, or 0 if it is bad. x: (count, d); turned: (d, count).
__global__ void unit_rows(const float* sample, int count, int d, const float* centre, std::uint32_t limit, float* x,
                          float* turned) {
  const std::int64_t i = warp_id();
  if (i >= count) return;
  const float* const row = sample + i * d;
  double squares = 0;
  for (int j = lane_id(); j < d; j += kWarp) {
    const double a = row[j] - centre[j];
    squares += a * a;
  }
  squares = add_lanes(squares);
  const bool bad = largest_bits(row, d) >= limit || squares == 0;
  const double factor = bad ? 0 : 1 / sqrt(squares);
  for (int j = lane_id(); j < d; j += kWarp) {
    const float a = bad ? 0.0f : static_cast<float>((row[j] - centre[j]) * factor);
    x[i * d + j] = a;
    turned[static_cast<std::int64_t>(j) * count + i] = a;
  }
}

__global__ void random_signs(float* signs, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const std::uint64_t bits = row_key(0, static_cast<std::uint64_t>(i / 64), Purpose::rotation, 2);
  signs[i] = bits >> i % 64 & 1 ? 1.0f : -1.0f;
}

}  // namespace

Basis principal_directions(Device& device, const float* sample, std::int64_t count, std::int64_t d, const float* centre,
                           std::int64_t directions) {
  const std::int64_t columns = sketch_size(directions);
  DeviceBuffer<float> x(device, count * d), turned(device, count * d);
  DeviceBuffer<float> in_n(device, count * columns), in_d(device, d * columns);
  unit_rows<<<blocks_for(count, kThreads / kWarp), kThreads, 0, device.stream()>>>(
      sample, static_cast<int>(count), static_cast<int>(d), centre, magnitude_limit_bits(d), x.data(), turned.data());
  launched("unit_rows");
  random_signs<<<blocks_for(in_n.size(), kThreads), kThreads, 0, device.stream()>>>(in_n.data(), in_n.size());
  launched("random_signs");
  multiply(device, {turned.data(), count}, d, count, nullptr, in_n.data(), columns, in_d.data());
  multiply(device, {x.data(), d}, count, d, nullptr, in_d.data(), columns, in_n.data());
  multiply(device, {turned.data(), count}, d, count, nullptr, in_n.data(), columns, in_d.data());

  const std::vector<float> found = downloaded(device, in_d.data(), in_d.size());
  std::vector<float> w(static_cast<std::size_t>(d * directions));
  for (std::int64_t j = 0; j < d; ++j) std::copy_n(found.begin() + j * columns, directions, w.begin() + j * directions);
  return orthonormal(std::move(w), d, directions, device.workers());
}

}  // namespace fastkmeans::cuda
