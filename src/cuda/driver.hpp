// SPDX-License-Identifier: Apache-2.0
// What the NVIDIA driver says of this machine. It is looked up at run time, so the same library loads where there is
// none; this file needs no CUDA to build.
#pragma once

#include <string>

#include "fastkmeans/fastkmeans.hpp"

namespace fastkmeans::cuda {

// The CUDA version that our run time needs of the driver, and the least compute capability that our kernels need
// (m16n8k32 products of int8, cp.async).
inline constexpr int kNeededDriver = 13000;
inline constexpr int kLeastMajor = 8;

// That a device is of no use to us, for people.
std::string too_old(const CudaDevice& device);

// Asked once a process, without setting up a device; after_fork in a child of a process that had asked.
const CudaState& driver_state();

}  // namespace fastkmeans::cuda
