// SPDX-License-Identifier: Apache-2.0
// Few directions in which rows differ most: the head of a narrow sketch (docs/filter.md section 6.8).
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/workers.hpp"

namespace fastkmeans {

// W: its columns are nearly orthonormal, or zero. Any W is valid, a better one leaves the filter less to refine.
struct Basis {
  std::int64_t d = 0, directions = 0;
  std::vector<float> w;  // (d, directions)
  double excess = 0;     // eta: |W a|^2 <= (1 + eta) |a|^2, proven
};

// The columns of w (d, directions) made orthonormal, each to those before it, as Cholesky QR does in fp64 (Yamamoto et
// al., "Roundoff error analysis of the CholeskyQR2 algorithm", ETNA 44, 2015); columns that depend on those before
// become zero, and all of them if that does not succeed. w: finite.
Basis orthonormal(std::vector<float> w, std::int64_t d, std::int64_t directions, Workers& workers);

}  // namespace fastkmeans
