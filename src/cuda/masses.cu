// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "cuda/masses.cuh"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
// Rows whose masses are added up apart: the host finds the part of a mass, and a block the row in it.
constexpr std::int64_t kPart = 4096;

// A block for each part. largest: the bits of the largest D, if that decides about the factor; or null.
__global__ void masses_of_parts(const MassesView rows, std::int64_t n, const Integer* largest, double factor,
                                MassWords* out) {
  if (largest) factor = ldexp(1.0, mass_exponent(__longlong_as_double(static_cast<long long>(*largest))));
  Mass sum = 0;
  const std::int64_t begin = blockIdx.x * kPart;
  for (std::int64_t i = begin + threadIdx.x; i < min(begin + kPart, n); i += kThreads) sum += rows.mass(i, factor);
  sum = sum_of_lanes(sum);
  if (lane_id() == 0) add(out + blockIdx.x, sum);
}

__global__ void largest_distance(const MassesView rows, std::int64_t n, Integer* out) {
  double most = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::int64_t>(gridDim.x) * kThreads)
    if (rows.weight(i) > 0) most = max(most, rows.distance(i));
  // D >= 0, so its bits are ordered as it is. Of a warp at once: atomics to one place wait for each other.
  const Integer bits = largest_of_lanes(static_cast<Integer>(__double_as_longlong(most)));
  if (lane_id() == 0 && bits > 0) atomicMax(out, bits);
}

// A mass among those of a part.
struct Wanted {
  MassWords mass;
  std::int64_t part;
};

// A block for each mass: the row at which the sum exceeds it. Sums of kOwn rows are a thread's, those of kGroup threads
// are a group's; one thread walks through them.
__global__ void find_rows(const MassesView rows, std::int64_t n, double factor, const Wanted* wanted,
                          std::int64_t* out) {
  constexpr int kOwn = kPart / kThreads, kGroup = 16;
  __shared__ Mass threads[kThreads], groups[kThreads / kGroup];
  const int t = static_cast<int>(threadIdx.x);
  const std::int64_t begin = wanted[blockIdx.x].part * kPart;
  Mass own = 0;
  for (std::int64_t i = begin + t * kOwn; i < min(begin + (t + 1) * kOwn, n); ++i) own += rows.mass(i, factor);
  threads[t] = own;
  __syncthreads();
  if (t < kThreads / kGroup) {
    Mass sum = 0;
    for (int i = 0; i < kGroup; ++i) sum += threads[t * kGroup + i];
    groups[t] = sum;
  }
  __syncthreads();
  if (t > 0) return;
  Mass left = wanted[blockIdx.x].mass.mass();
  int group = 0;
  for (; left >= groups[group]; ++group) left -= groups[group];
  int thread = group * kGroup;
  for (; left >= threads[thread]; ++thread) left -= threads[thread];
  std::int64_t row = begin + thread * kOwn;
  for (;; ++row) {
    const Mass mass = rows.mass(row, factor);
    if (left < mass) break;
    left -= mass;
  }
  out[blockIdx.x] = row;
}

struct Candidates {
  const float* values;       // (count, d)
  const std::uint8_t* tiny;  // (count) whether all elements are: the rule holds for each alone
  int count, d;
};

// A warp for each row; lane c adds up for candidate c.
__global__ void masses_with(const Candidates candidates, RowsView rows, std::int64_t count, const std::uint8_t* states,
                            const MassesView masses, double factor, MassWords* out) {
  Mass sum = 0;
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const double kept = masses.distance(i);
    double own = 0;  // of this lane's candidate
    for (int c = 0; c < candidates.count; ++c) {
      const Distance loss = Distance::of_row(states[i], candidates.tiny[c]);
      const float distance =
          warp_loss(rows.row(i), candidates.values + static_cast<std::int64_t>(c) * candidates.d, candidates.d, loss);
      if (lane_id() == c) own = min(kept, true_distance(loss.stored(distance)));
    }
    if (lane_id() < candidates.count) sum += Masses::mass(own, factor, masses.weight(i));
  }
  if (lane_id() < candidates.count) add(out + lane_id(), sum);
}

}  // namespace

void DeviceMasses::changed() {
  largest_.reset();
  exponent_.reset();
}

// By the exponent, or by that of the largest distance, which is looked for then: one wait tells both.
void DeviceMasses::measure(const SeededRows& rows, std::optional<int> exponent) {
  const MassesView view = {rows.distances, rows.weights};
  const unsigned parts = blocks_for(rows.n, kPart);
  if (!words_) words_.emplace(device_, 1 + parts);
  Integer* const largest = &words_->data()->low;
  words_->clear();
  if (!exponent) {
    largest_distance<<<grid_stride_blocks(device_, rows.n, kThreads, 4), kThreads, 0, device_.stream()>>>(view, rows.n,
                                                                                                          largest);
    launched("largest_distance");
  }
  if (parts > 0) {
    masses_of_parts<<<parts, kThreads, 0, device_.stream()>>>(
        view, rows.n, exponent ? nullptr : largest, std::ldexp(1.0, exponent.value_or(0)), words_->data() + 1);
    launched("masses_of_parts");
  }
  const MassWords* const found = words_->fetch(1 + parts);
  if (!exponent) {
    largest_ = std::bit_cast<double>(found->low);
    exponent = mass_exponent(*largest_);
  }
  exponent_ = exponent;
  parts_.resize(parts);
  std::transform(found + 1, found + 1 + parts, parts_.begin(), [](const MassWords& words) { return words.mass(); });
}

double DeviceMasses::largest(const SeededRows& rows) {
  if (!largest_) measure(rows, {});
  return *largest_;
}

Mass DeviceMasses::total(const SeededRows& rows, int exponent) {
  if (exponent_ != exponent) measure(rows, exponent);
  return std::accumulate(parts_.begin(), parts_.end(), Mass{0});
}

std::vector<std::int64_t> DeviceMasses::rows_at(const SeededRows& rows, int exponent, const std::vector<Mass>& masses) {
  if (masses.empty()) return {};
  if (exponent_ != exponent) measure(rows, exponent);
  std::vector<Wanted> wanted;
  for (Mass mass : masses) {
    std::size_t part = 0;
    for (; mass >= parts_[part]; ++part) mass -= parts_[part];
    wanted.push_back({{static_cast<Integer>(mass), static_cast<Integer>(mass >> 64)}, static_cast<std::int64_t>(part)});
  }
  const auto count = static_cast<std::int64_t>(masses.size());
  const auto places = uploaded(device_, wanted.data(), count);
  if (!found_ || found_->size() < count) found_.emplace(device_, count);
  find_rows<<<static_cast<unsigned>(count), kThreads, 0, device_.stream()>>>(
      {rows.distances, rows.weights}, rows.n, std::ldexp(1.0, exponent), places.data(), found_->data());
  launched("find_rows");
  const std::int64_t* const found = found_->fetch(count);
  return {found, found + count};
}

std::vector<Mass> DeviceMasses::with(const SeededRows& rows, CentroidsView candidates,
                                     const std::vector<std::uint8_t>& are_tiny, int exponent) {
  const std::int64_t count = candidates.k, d = candidates.d;
  const auto values = uploaded(device_, candidates.values, count * d);
  const auto tiny = uploaded(device_, are_tiny.data(), count);
  DeviceBuffer<MassWords> sums(device_, count);
  device_.clear(sums.data(), sums.bytes());
  const Candidates some = {values.data(), tiny.data(), static_cast<int>(count), static_cast<int>(d)};
  rows.store.each_batch(rows.most, [&](std::int64_t begin, std::int64_t batch, RowsView view) {
    const MassesView masses = {rows.distances + begin, rows.weights ? rows.weights + begin : nullptr};
    masses_with<<<grid_stride_blocks(device_, batch, kThreads / kWarp, 16), kThreads, 0, device_.stream()>>>(
        some, view, batch, rows.states + begin, masses, std::ldexp(1.0, exponent), sums.data());
    launched("masses_with");
  });
  std::vector<Mass> found;
  for (const MassWords& words : downloaded(device_, sums.data(), count)) found.push_back(words.mass());
  return found;
}

}  // namespace fastkmeans::cuda
