// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/kept_memory.hpp"

namespace fastkmeans::cuda {
namespace {

// One part in so many of the device's memory: 4.4 GiB of an H200. Fits of the sizes where it matters, a tenth of a
// second and less, take up to 2 GiB.
constexpr std::size_t kKeptPart = 32;

// Of pinned memory, no more than a fit has on its way at once; larger pieces are not kept. Those above 1 MiB leave room
// for small ones, which each fit needs.
constexpr std::int64_t kLargestPinned = kMostPinned / 4, kSmallPinned = 1 << 20;

// Pinned memory that nobody has, by its size, a power of two.
struct Pinned {
  std::mutex mutex;
  std::map<std::int64_t, std::vector<void*>> unused;
  std::int64_t bytes = 0;
};
Pinned& pinned() {
  static Pinned* const all = new Pinned;  // never destroyed: CUDA may be gone before it
  return *all;
}
std::int64_t rounded(std::int64_t bytes) {
  constexpr std::int64_t kPage = 4096;
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(bytes, kPage))));
}

}  // namespace

KeptMemory& KeptMemory::of(int device) {
  static std::mutex mutex;
  static auto* const all = new std::map<int, KeptMemory*>;
  const std::lock_guard lock(mutex);
  KeptMemory*& found = (*all)[device];
  if (!found) found = new KeptMemory(device);
  return *found;
}

KeptMemory::KeptMemory(int device) {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  most_ = static_cast<std::int64_t>(total / kKeptPart);
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device};
  check(cudaMemPoolCreate(&pool_, &properties), "cudaMemPoolCreate");
  auto threshold = static_cast<std::uint64_t>(most_);
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &threshold), "cudaMemPoolSetAttribute");
}

cudaError_t KeptMemory::allocate(void** memory, std::int64_t bytes, cudaStream_t stream) {
  const auto size = static_cast<std::size_t>(bytes);
  const cudaError_t error = cudaMallocFromPoolAsync(memory, size, pool_, stream);
  if (error != cudaErrorMemoryAllocation) return error;
  // What is kept may be in pieces too small for it.
  cudaGetLastError();
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  check(cudaMemPoolTrimTo(pool_, 0), "cudaMemPoolTrimTo");
  return cudaMallocFromPoolAsync(memory, size, pool_, stream);
}

std::int64_t KeptMemory::unused() const {
  std::uint64_t reserved = 0, used = 0;
  check(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &reserved), "cudaMemPoolGetAttribute");
  check(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrUsedMemCurrent, &used), "cudaMemPoolGetAttribute");
  return static_cast<std::int64_t>(reserved - std::min(reserved, used));  // others may allocate between the two
}

void* take_pinned(std::int64_t bytes) {
  const std::int64_t size = rounded(bytes);
  {
    Pinned& all = pinned();
    const std::lock_guard lock(all.mutex);
    if (const auto some = all.unused.find(size); some != all.unused.end() && !some->second.empty()) {
      void* const memory = some->second.back();
      some->second.pop_back();
      all.bytes -= size;
      return memory;
    }
  }
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, static_cast<std::size_t>(size), cudaHostAllocPortable), "cudaHostAlloc");
  return memory;
}

void give_pinned(void* memory, std::int64_t bytes) noexcept {
  const std::int64_t size = rounded(bytes);
  try {
    Pinned& all = pinned();
    const std::lock_guard lock(all.mutex);
    const std::int64_t most = size > kSmallPinned ? kMostPinned - kSmallPinned : kMostPinned;
    if (size <= kLargestPinned && all.bytes + size <= most) {
      all.unused[size].push_back(memory);
      all.bytes += size;
      return;
    }
  } catch (...) {  // no memory to remember it
  }
  cudaFreeHost(memory);
}

std::int64_t unused_pinned() {
  Pinned& all = pinned();
  const std::lock_guard lock(all.mutex);
  return all.bytes;
}

}  // namespace fastkmeans::cuda
