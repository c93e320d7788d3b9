// SPDX-License-Identifier: Apache-2.0
// Matrices that lie one after the other in memory, as one.
#pragma once

#include <span>
#include <vector>

#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans {

// The same rows in the same order, in fewer matrices where memory allows: all matrices of an array without gaps are
// one. Those without rows are left out.
std::vector<MatrixView> joined(std::span<const MatrixView> matrices);

}  // namespace fastkmeans
