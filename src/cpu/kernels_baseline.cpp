// SPDX-License-Identifier: Apache-2.0
// Compiled with no flags: SSE2 on x86-64, NEON with fma on aarch64 (cmake/FastkmeansFlags.cmake).
#define FASTKMEANS_KERNELS kBaselineKernels
#include "cpu/kernels_inl.hpp"
