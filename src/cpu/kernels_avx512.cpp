// SPDX-License-Identifier: Apache-2.0
// Compiled with AVX-512 F, BW, DQ and VL (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#include "plan/tuning/avx512.hpp"
#define FASTKMEANS_KERNELS kAvx512Kernels
#define FASTKMEANS_COSTS kAvx512Costs
#include "cpu/kernels_inl.hpp"
#endif
