// SPDX-License-Identifier: Apache-2.0
#include "source/joined.hpp"

#include "source/element.hpp"

namespace fastkmeans {
namespace {

bool follows(const MatrixView& next, const MatrixView& x) {
  const bool alike = next.cols == x.cols && next.dtype == x.dtype && next.cuda_device == x.cuda_device &&
                     next.row_stride == x.row_stride && next.col_stride == x.col_stride;  // mutant: joined_strides
  return alike && next.data == element_address(x, x.rows, 0);                             // mutant: joined_addresses
}

}  // namespace

std::vector<MatrixView> joined(std::span<const MatrixView> matrices) {
  std::vector<MatrixView> all;
  for (const MatrixView& x : matrices) {
    if (x.rows == 0) continue;
    if (!all.empty() && follows(x, all.back()))
      all.back().rows += x.rows;
    else
      all.push_back(x);
  }
  return all;
}

}  // namespace fastkmeans
