// SPDX-License-Identifier: Apache-2.0
// Facts about the rows used, found in one pass before the first iteration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans {

class Workers;

// Rows that no distance can be taken of: NaN, infinity, or an element at or above magnitude_limit(d).
struct RowCheck {
  std::int64_t bad = 0;
  std::int64_t first = -1;  // lowest bad row

  void note(std::int64_t row) {
    ++bad;
    if (first < 0 || row < first) first = row;
  }
  void merge(const RowCheck& other) {
    if (!other.bad) return;
    bad += other.bad;
    if (first < 0 || other.first < first) first = other.first;
  }
};

struct Statistics {
  std::vector<float> column_max;  // (d) max_i |x_ij|
  float least_row_max = 0;        // least nonzero max_j |x_ij|; 0 if all rows are zero
  RowCheck check;
};

// Throws std::invalid_argument naming the rows if there are bad ones. `what` is "data", "centroids" or "init";
// row_name(i) is the number of row i in the caller's array (a subsample has other numbers).
void require_valid_rows(const RowCheck& check, const MatrixView& x, const char* what,
                        const std::function<std::int64_t(std::int64_t)>& row_name = {});

// For fp64 input: a warning text if fp32 rows lose a column's spread (|mean| / std > 2^20), else "".
std::string precision_warning(const MatrixView& x, Workers& workers);

}  // namespace fastkmeans
