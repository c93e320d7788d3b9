// SPDX-License-Identifier: Apache-2.0
// Compiled for ARMv8.2 with dot products of int8 (cmake/FastkmeansFlags.cmake).
#if defined(__aarch64__)
#include "plan/tuning/neon_dotprod.hpp"
#define FASTKMEANS_KERNELS kNeonDotprodKernels
#define FASTKMEANS_COSTS kNeonDotprodCosts
#include "cpu/kernels_inl.hpp"
#endif
