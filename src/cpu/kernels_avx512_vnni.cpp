// SPDX-License-Identifier: Apache-2.0
// Compiled with AVX-512 F, BW, DQ, VL and VNNI (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#define FASTKMEANS_KERNELS kAvx512VnniKernels
#include "cpu/kernels_inl.hpp"
#endif
