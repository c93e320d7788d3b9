// SPDX-License-Identifier: Apache-2.0
// Compiled with AVX-512 F, BW, DQ and VL (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#define FASTKMEANS_KERNELS kAvx512Kernels
#include "cpu/kernels_inl.hpp"
#endif
