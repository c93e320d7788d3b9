// SPDX-License-Identifier: Apache-2.0
// The directions in which a sample of rows differs most from its centre.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cpu {

// Rows of a sample less their centre, zero-filled.
struct CentredSample {
  std::int64_t count = 0, d = 0, ld = 0;
  Buffer<float> rows;              // (count, ld)
  std::vector<double> sq_lengths;  // (count)
  const float* row(std::int64_t i) const { return &rows[i * ld]; }
};

// At most `directions` of them, the leading ones first: random combinations of the sample's rows after one step of
// power iteration (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011, algorithm
// 4.3), made orthonormal. So the first few are as good as if fewer had been asked for. Zeros where
// the sample does not differ in so many.
Basis principal_directions(const CentredSample& sample, std::int64_t directions, const Kernels& kernels,
                           Workers& workers);

}  // namespace fastkmeans::cpu
