// SPDX-License-Identifier: Apache-2.0
// Compiled for ARMv8.2 with dot products of int8 (cmake/FastkmeansFlags.cmake).
#if defined(__aarch64__)
#define FASTKMEANS_KERNELS kNeonDotprodKernels
#include "cpu/kernels_inl.hpp"
#endif
