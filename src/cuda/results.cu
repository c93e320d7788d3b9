// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "cuda/results.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
// Rows at a time.
constexpr std::int64_t kCopied = 1 << 22;

__global__ void pick(const std::int64_t* rows, std::int64_t count, const RowResults results, std::int32_t* some_labels,
                     float* some_distances) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  some_labels[i] = results.labels[rows[i]];
  some_distances[i] = results.distances[rows[i]];
}

__global__ void widen(const std::int32_t* labels, std::int64_t n, std::int64_t* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) out[i] = labels[i];
}

template <class T, class Put>
void copy_out(Device& device, const T* from, std::int64_t n, const Put& put) {
  std::vector<T> some(static_cast<std::size_t>(std::min(n, kCopied)));
  for (std::int64_t first = 0; first < n; first += kCopied) {
    const std::int64_t count = std::min(kCopied, n - first);
    device.download(some.data(), from + first, count * static_cast<std::int64_t>(sizeof(T)));
    constexpr std::int64_t kRowsPerTask = 1 << 16;
    const auto put_some = [&](std::int64_t begin, std::int64_t part, int) {
      for (std::int64_t i = begin; i < begin + part; ++i) put(first + i, some[static_cast<std::size_t>(i)]);
    };
    device.workers().for_blocks(count, kRowsPerTask, static_cast<double>(count), put_some);
  }
}

}  // namespace

void copy_labels(Device& device, const std::int32_t* labels, std::int64_t n, std::int64_t* out) {
  copy_out(device, labels, n, [out](std::int64_t i, std::int32_t label) { out[i] = label; });
}

void widen_labels(Device& device, const std::int32_t* labels, std::int64_t n, std::int64_t* out) {
  if (n == 0) return;
  widen<<<blocks_for(n, kThreads), kThreads, 0, device.stream()>>>(labels, n, out);
  launched("widen");
}

void copy_distances(Device& device, const Metric& metric, const float* distances, std::int64_t n, double* out) {
  copy_out(device, distances, n, [&](std::int64_t i, float stored) { out[i] = metric.value(stored); });
}

void look_up(Device& device, const std::int64_t* rows, std::int64_t count, const RowResults& results,
             std::int32_t* labels, float* distances) {
  const auto wanted = uploaded(device, rows, count);
  DeviceBuffer<std::int32_t> some_labels(device, count);
  DeviceBuffer<float> some_distances(device, count);
  pick<<<blocks_for(count, kThreads), kThreads, 0, device.stream()>>>(wanted.data(), count, results, some_labels.data(),
                                                                      some_distances.data());
  launched("pick");
  device.download(labels, some_labels.data(), some_labels.bytes());
  device.download(distances, some_distances.data(), some_distances.bytes());
}

}  // namespace fastkmeans::cuda
