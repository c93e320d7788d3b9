// SPDX-License-Identifier: Apache-2.0
// Compiled with AVX-512 F, BW, DQ, VL and VNNI (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#include "plan/tuning/avx512_vnni.hpp"
#define FASTKMEANS_KERNELS kAvx512VnniKernels
#define FASTKMEANS_COSTS kAvx512VnniCosts
#include "cpu/kernels_inl.hpp"
#endif
