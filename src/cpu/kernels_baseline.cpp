// SPDX-License-Identifier: Apache-2.0
// Compiled with no flags: SSE2 on x86-64, NEON with fma on aarch64 (cmake/FastkmeansFlags.cmake).
#define FASTKMEANS_KERNELS kBaselineKernels
#if defined(__aarch64__)
#include "plan/tuning/neon.hpp"
#define FASTKMEANS_COSTS kNeonCosts
#else
#include "plan/tuning/baseline.hpp"
#define FASTKMEANS_COSTS kBaselineCosts
#endif
#include "cpu/kernels_inl.hpp"
