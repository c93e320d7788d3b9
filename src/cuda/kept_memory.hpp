// SPDX-License-Identifier: Apache-2.0
// Memory that fits give back and the next ones take, kept by the process. To map and unmap memory of the device takes 3
// ms a GiB, pinned memory 0.6 ms a MiB (H200): a tenth of a fit of 2,621,440 x 128 into 4,096 clusters, a fifth of one
// from the host.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fastkmeans::cuda {

// Of one device, which is current in all calls.
class KeptMemory {
 public:
  // Made when it is first asked for, and never destroyed: CUDA may be gone before it.
  static KeptMemory& of(int device);
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;

  // In stream order, as cudaMallocAsync and cudaFreeAsync.
  cudaError_t allocate(void** memory, std::int64_t bytes, cudaStream_t stream);
  void release(void* memory, cudaStream_t stream) noexcept { cudaFreeAsync(memory, stream); }
  // Bytes that are kept and nobody has; the most that are, once a fit is over.
  std::int64_t unused() const;
  std::int64_t most() const { return most_; }

 private:
  explicit KeptMemory(int device);

  cudaMemPool_t pool_ = nullptr;
  std::int64_t most_ = 0;
};

// Pinned host memory of at least so many bytes, for any device; OutOfMemory if there is none. Given back when nothing
// reads or writes it any more.
void* take_pinned(std::int64_t bytes);
void give_pinned(void* memory, std::int64_t bytes) noexcept;
// Bytes that are kept and nobody has: never more than this.
std::int64_t unused_pinned();
inline constexpr std::int64_t kMostPinned = 32 << 20;

}  // namespace fastkmeans::cuda
