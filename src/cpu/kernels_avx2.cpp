// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mfma (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#include "plan/tuning/avx2.hpp"
#define FASTKMEANS_KERNELS kAvx2Kernels
#define FASTKMEANS_COSTS kAvx2Costs
#include "cpu/kernels_inl.hpp"
#endif
