// SPDX-License-Identifier: Apache-2.0
#include "cuda/small_tuning.hpp"

#include <algorithm>

namespace fastkmeans::cuda {
namespace {

constexpr int kLeastShared = 99 << 10;  // of a block, with compute capability 8.6 and 8.9; others have more
// Warps that keep a multiprocessor busy: four for each of its four schedulers.
constexpr std::int64_t kBusyWarps = 16;
constexpr int kRowsOfWarp = 32;

}  // namespace

std::int64_t small_shared_bytes(std::int64_t d, std::int64_t k, int warps) {
  const std::int64_t padded = padded_clusters(k), stride = row_floats(static_cast<int>(d));
  return padded * 8 + (padded * d + std::int64_t{warps} * kRowsOfWarp * stride) * 4;
}

bool small_shards_take(std::int64_t d, std::int64_t k) {
  // Neither product overflows.
  return d <= kLeastShared && k <= kLeastShared && small_shared_bytes(d, k, 1) + kSmallStatic <= kLeastShared;
}

int small_warps(std::int64_t problems, std::int64_t d, std::int64_t k, int processors, int shared_memory) {
  int warps = static_cast<int>(std::clamp<std::int64_t>(kBusyWarps * processors / problems, 2, kMostSmallWarps));
  while (warps > 1 && small_shared_bytes(d, k, warps) + kSmallStatic > shared_memory) --warps;
  return warps;
}

}  // namespace fastkmeans::cuda
