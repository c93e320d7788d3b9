// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "cuda/keyed_rows.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 128;
// Rows of a warp: few enough that less than a million rows keep all multiprocessors busy.
constexpr std::int64_t kRowsPerWarp = 1024;
constexpr std::int64_t kRowsPerBlock = kRowsPerWarp * kThreads / kWarp;
// Rows that were found, in a part on the host: 4 MiB, so that many threads share new pages and few copies are made.
constexpr std::int64_t kFoundPerPart = 1 << 18;
constexpr double kOperationsPerFound = 50;  // to have the page that it lies in cleared, its share of that

// Calls visit(row, key, lanes) for the rows of this warp, one for each lane at a time, ascending; lanes: a bit for each
// row that is in the range.
template <class Visit>
__device__ void each_step(const KeyRange& range, std::int64_t n, const Visit& visit) {
  const std::int64_t first = warp_id() * kRowsPerWarp, end = min(first + kRowsPerWarp, n);
#pragma unroll 4
  for (std::int64_t begin = first; begin < end; begin += kWarp) {
    const std::int64_t row = begin + lane_id();
    const std::uint64_t key = range.key(row);
    visit(row, key, __ballot_sync(kAll, row < end && range.holds(key)));
  }
}

// counts: (warps) how many rows of each are in the range.
__global__ void count_keyed_rows(const KeyRange range, std::int64_t n, std::int64_t* counts) {
  int count = 0;
  each_step(range, n, [&](std::int64_t, std::uint64_t, unsigned lanes) { count += __popc(lanes); });
  if (lane_id() == 0) counts[warp_id()] = count;
}

// begins: (warps) where those of each are written.
__global__ void write_keyed_rows(const KeyRange range, std::int64_t n, const std::int64_t* begins, KeyedRow* out) {
  out += begins[warp_id()];
  each_step(range, n, [&](std::int64_t row, std::uint64_t key, unsigned lanes) {
    const unsigned own = 1u << lane_id();
    if (lanes & own) out[__popc(lanes & (own - 1))] = {key, row};
    out += __popc(lanes);
  });
}

}  // namespace

// Keys are computed twice, which takes less time than to copy room for rows that might have been more.
KeyedRows find_keyed_rows(Device& device, const KeyRange& range, std::int64_t n, Workers& workers) {
  if (n == 0) return {};
  const unsigned blocks = blocks_for(n, kRowsPerBlock);
  DeviceBuffer<std::int64_t> places(device, std::int64_t{blocks} * (kThreads / kWarp));
  count_keyed_rows<<<blocks, kThreads, 0, device.stream()>>>(range, n, places.data());
  launched("count_keyed_rows");
  std::vector<std::int64_t> begins = downloaded(device, places.data(), places.size());
  const std::int64_t all = std::accumulate(begins.begin(), begins.end(), std::int64_t{0});
  std::exclusive_scan(begins.begin(), begins.end(), begins.begin(), std::int64_t{0});
  DeviceBuffer<KeyedRow> found(device, all);
  device.upload(places.data(), begins.data(), places.bytes());
  write_keyed_rows<<<blocks, kThreads, 0, device.stream()>>>(range, n, places.data(), found.data());
  launched("write_keyed_rows");

  KeyedRows parts(static_cast<std::size_t>((all + kFoundPerPart - 1) / kFoundPerPart));
  const auto make_room = [&](std::int64_t first, std::int64_t count, int) {
    parts[static_cast<std::size_t>(first / kFoundPerPart)].resize(static_cast<std::size_t>(count));
  };
  workers.for_blocks(all, kFoundPerPart, kOperationsPerFound * static_cast<double>(all), make_room);
  const KeyedRow* from = found.data();
  for (auto& part : parts) {
    device.download(part.data(), from, static_cast<std::int64_t>(part.size() * sizeof(KeyedRow)));
    from += part.size();
  }
  return parts;
}

}  // namespace fastkmeans::cuda
