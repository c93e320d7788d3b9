// SPDX-License-Identifier: Apache-2.0
// The directions in which a sample of rows differs most from its centre.
#pragma once

#include <cstdint>
#include <functional>

#include "cpu/kernels.hpp"
#include "runtime/workers.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cpu {

// A sample that is read in parts, twice.
struct LearnedRows {
  std::int64_t count, d;
  std::int64_t together;  // rows that are held at a time, at most
  // Rows [first, first + count) less their centre to out, (count, padded(d)), zero-filled; zeros for what cannot be
  // used. All threads call it.
  std::function<void(std::int64_t first, std::int64_t count, float* out)> read;
};

// At most `directions` of them, the leading ones first: random combinations of the sample's rows after one step of
// power iteration (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011, algorithm
// 4.3), made orthonormal. So the first few are as good as if fewer had been asked for. Zeros where
// the sample does not differ in so many.
Basis principal_directions(const LearnedRows& sample, std::int64_t directions, const Kernels& kernels,
                           Workers& workers);

}  // namespace fastkmeans::cpu
