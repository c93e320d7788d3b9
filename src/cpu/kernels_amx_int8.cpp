// SPDX-License-Identifier: Apache-2.0
// Compiled with AVX-512 F, BW, DQ, VL and AMX's tiles and int8 (cmake/FastkmeansFlags.cmake).
#if defined(__x86_64__)
#include "plan/tuning/amx_int8.hpp"
#define FASTKMEANS_KERNELS kAmxInt8Kernels
#define FASTKMEANS_COSTS kAmxInt8Costs
#define FASTKMEANS_AMX
#include "cpu/kernels_inl.hpp"
#endif
