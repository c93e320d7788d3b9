// SPDX-License-Identifier: Apache-2.0
// Memory that the process keeps between fits.
#ifdef FASTKMEANS_CUDA

#include <cuda_runtime.h>

#include "cuda/device.hpp"
#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

class CudaKeptMemory : public CudaFits {
 protected:
  static constexpr std::int64_t kBytes = 64 << 20;
  Workers workers_{1, {}};
};

// What a fit gives back is kept, counts as free, and is what the next one takes.
TEST_F(CudaKeptMemory, IsTakenAgain) {
  std::int64_t unused = 0;
  void* before = nullptr;
  for (int turn = 0; turn < 3; ++turn) {
    cuda::Device device(0, on(Path{"cuda", ""}), workers_);
    cuda::KeptMemory& kept = cuda::KeptMemory::of(0);
    {
      cuda::DeviceBuffer<char> some(device, kBytes);
      device.clear(some.data(), some.bytes());
      device.wait();
      if (turn > 0) {
        EXPECT_EQ(some.data(), before);
        EXPECT_EQ(kept.unused(), unused - kBytes);
      }
      before = some.data();
    }
    device.wait();
    if (turn > 0) {
      EXPECT_EQ(kept.unused(), unused);
    }
    unused = kept.unused();
    EXPECT_GE(unused, kBytes);
    EXPECT_LE(unused, kept.most());
  }
}

// Only so much of it: a share of the device, however much a fit had.
TEST_F(CudaKeptMemory, IsLimited) {
  {
    cuda::Device device(0, on(Path{"cuda", ""}), workers_);
    const std::int64_t part = cuda::KeptMemory::of(0).most() / 4 * 3;
    const cuda::DeviceBuffer<char> one(device, part), other(device, part);
    EXPECT_GT(part, 0);
  }
  EXPECT_LE(cuda::KeptMemory::of(0).unused(), cuda::KeptMemory::of(0).most());
}

TEST_F(CudaKeptMemory, Pinned) {
  const std::int64_t before = cuda::unused_pinned();
  void* const first = cuda::take_pinned(5000);
  static_cast<char*>(first)[4999] = 1;
  cuda::give_pinned(first, 5000);
  const std::int64_t kept = cuda::unused_pinned();
  EXPECT_GE(kept, 8192);
  EXPECT_GE(kept, before);
  void* const again = cuda::take_pinned(8192);  // of the same size, as it is kept
  EXPECT_EQ(again, first);
  EXPECT_EQ(cuda::unused_pinned(), kept - 8192);
  void* const smaller = cuda::take_pinned(100);
  cuda::give_pinned(again, 8192);
  cuda::give_pinned(smaller, 100);
  const std::int64_t all = cuda::unused_pinned();
  cuda::give_pinned(cuda::take_pinned(cuda::kMostPinned / 2), cuda::kMostPinned / 2);  // too much to be kept
  EXPECT_EQ(cuda::unused_pinned(), all);
  EXPECT_LE(all, cuda::kMostPinned);
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
