// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "cuda/masses.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "host/masses.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
// Rows whose masses are added up apart: row_at looks through one part on the host.
constexpr std::int64_t kPart = 4096;

struct MassWords {
  Integer low, high;
  Mass mass() const { return low | Mass{high} << 64; }
};

__device__ void add(MassWords* to, Mass mass) {
  const auto low = static_cast<Integer>(mass);
  const Integer before = atomicAdd(&to->low, low);
  const Integer carry = before + low < before ? 1 : 0;
  if (const Integer high = static_cast<Integer>(mass >> 64) + carry) atomicAdd(&to->high, high);
}

// A block for each part.
__global__ void masses_of_parts(const float* distances, const std::int64_t* weights, std::int64_t n, double factor,
                                MassWords* out) {
  Mass sum = 0;
  const std::int64_t begin = blockIdx.x * kPart;
  for (std::int64_t i = begin + threadIdx.x; i < min(begin + kPart, n); i += kThreads)
    sum += Masses::mass(true_distance(distances[i]), factor, weights ? weights[i] : 1);
  add(out + blockIdx.x, sum);
}

__global__ void largest_distance(const float* distances, const std::int64_t* weights, std::int64_t n, Integer* out) {
  double most = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::int64_t>(gridDim.x) * kThreads)
    if (!weights || weights[i] > 0) most = max(most, true_distance(distances[i]));
  // D >= 0, so its bits are ordered as it is.
  if (most > 0) atomicMax(out, static_cast<Integer>(__double_as_longlong(most)));
}

struct Candidates {
  const float* values;       // (count, d)
  const std::uint8_t* tiny;  // (count) whether all elements are: the rule holds for each alone
  int count, d;
};

// A warp for each row; lane c adds up for candidate c.
__global__ void masses_with(const Candidates candidates, RowsView rows, std::int64_t count, const std::uint8_t* states,
                            const std::int64_t* weights, const float* distances, double factor, MassWords* out) {
  Mass sum = 0;
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const double kept = true_distance(distances[i]);
    double own = 0;  // of this lane's candidate
    for (int c = 0; c < candidates.count; ++c) {
      const Distance loss = Distance::of_row(states[i], candidates.tiny[c]);
      const float distance =
          warp_loss(rows.row(i), candidates.values + static_cast<std::int64_t>(c) * candidates.d, candidates.d, loss);
      if (lane_id() == c) own = min(kept, true_distance(loss.stored(distance)));
    }
    if (lane_id() < candidates.count) sum += Masses::mass(own, factor, weights ? weights[i] : 1);
  }
  if (lane_id() < candidates.count) add(out + lane_id(), sum);
}

bool is_tiny(const float* values, std::int64_t d) {
  return std::all_of(values, values + d, [](float v) { return magnitude_bits(v) < magnitude_bits(kTinyBelow); });
}

std::vector<Mass> fetch(Device& device, const DeviceBuffer<MassWords>& words) {
  std::vector<MassWords> some(static_cast<std::size_t>(words.size()));
  device.download(some.data(), words.data(), words.bytes());
  std::vector<Mass> masses(some.size());
  std::transform(some.begin(), some.end(), masses.begin(), [](const MassWords& w) { return w.mass(); });
  return masses;
}

}  // namespace

double DeviceMasses::largest() const {
  DeviceBuffer<Integer> bits(device_, 1);
  device_.clear(bits.data(), bits.bytes());
  largest_distance<<<std::max(1u, std::min(blocks_for(n_, kThreads), static_cast<unsigned>(8 * device_.processors()))),
                     kThreads, 0, device_.stream()>>>(distances_, weights_, n_, bits.data());
  launched("largest_distance");
  Integer most = 0;
  device_.download(&most, bits.data(), sizeof most);
  return std::bit_cast<double>(most);
}

std::vector<Mass> DeviceMasses::parts(int exponent) const {
  const unsigned count = blocks_for(n_, kPart);
  if (count == 0) return {};
  DeviceBuffer<MassWords> sums(device_, count);
  device_.clear(sums.data(), sums.bytes());
  masses_of_parts<<<count, kThreads, 0, device_.stream()>>>(distances_, weights_, n_, std::ldexp(1.0, exponent),
                                                            sums.data());
  launched("masses_of_parts");
  return fetch(device_, sums);
}

Mass DeviceMasses::total(int exponent) const {
  const std::vector<Mass> found = parts(exponent);
  return std::accumulate(found.begin(), found.end(), Mass{0});
}

std::int64_t DeviceMasses::row_at(int exponent, Mass mass) const {
  const std::vector<Mass> found = parts(exponent);
  std::size_t part = 0;
  for (; mass >= found[part]; ++part) mass -= found[part];
  std::int64_t row = static_cast<std::int64_t>(part) * kPart;
  std::vector<float> some(static_cast<std::size_t>(std::min(kPart, n_ - row)));
  device_.download(some.data(), distances_ + row, static_cast<std::int64_t>(some.size() * sizeof(float)));
  const double factor = std::ldexp(1.0, exponent);
  for (const float distance : some) {
    const Mass own = Masses::mass(true_distance(distance), factor, source_.weight(row));
    if (mass < own) break;
    mass -= own;
    ++row;
  }
  return row;
}

std::vector<Mass> DeviceMasses::with(CentroidsView candidates, int exponent, Rows& rows, std::int64_t most,
                                     const std::uint8_t* states) const {
  std::vector<Mass> masses;
  for (std::int64_t first = 0; first < candidates.k; first += kWarp) {  // k-means++ has fewer: 2 + log k
    const std::int64_t count = std::min<std::int64_t>(kWarp, candidates.k - first), d = candidates.d;
    std::vector<std::uint8_t> are_tiny(static_cast<std::size_t>(count));
    for (std::int64_t c = 0; c < count; ++c)
      are_tiny[static_cast<std::size_t>(c)] = is_tiny(candidates.row(first + c), d);
    const auto values = uploaded(device_, candidates.row(first), count * d);
    const auto tiny = uploaded(device_, are_tiny.data(), count);
    DeviceBuffer<MassWords> sums(device_, count);
    device_.clear(sums.data(), sums.bytes());
    const Candidates some = {values.data(), tiny.data(), static_cast<int>(count), static_cast<int>(d)};
    rows.each_batch(most, [&](std::int64_t begin, std::int64_t batch, RowsView view) {
      const auto blocks =
          std::min(blocks_for(batch, kThreads / kWarp), static_cast<unsigned>(16 * device_.processors()));
      masses_with<<<blocks, kThreads, 0, device_.stream()>>>(some, view, batch, states + begin,
                                                             weights_ ? weights_ + begin : nullptr, distances_ + begin,
                                                             std::ldexp(1.0, exponent), sums.data());
      launched("masses_with");
    });
    const std::vector<Mass> found = fetch(device_, sums);
    masses.insert(masses.end(), found.begin(), found.end());
  }
  return masses;
}

}  // namespace fastkmeans::cuda
