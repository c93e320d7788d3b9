// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mfma (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#define FASTKMEANS_KERNELS kAvx2Kernels
#include "cpu/kernels_inl.hpp"
#endif
