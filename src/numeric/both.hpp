// SPDX-License-Identifier: Apache-2.0
// FASTKMEANS_BOTH marks functions that the host and CUDA devices compute alike, to the bit.
#pragma once

#if defined(__CUDACC__)
#define FASTKMEANS_BOTH __host__ __device__
#else
#define FASTKMEANS_BOTH
#endif
