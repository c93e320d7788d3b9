// SPDX-License-Identifier: Apache-2.0
// Facts about the rows used, found before the first iteration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fastkmeans/matrix_view.hpp"
#include "runtime/reducer.hpp"
#include "source/source.hpp"

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
  std::vector<float> column_max;  // (d) max_i |x_ij| of the rows of weight
  float least_row_max = 0;        // least nonzero max_j |x_ij| of them; 0 if all are zero
  std::int64_t zero_rows = 0;     // of them, all of whose elements are 0
  RowCheck check;                 // of all rows

  // Those of all shards' rows; the check stays that of the shard's own.
  void merge_over_shards(Reducer& reducer);
};

// Throws std::invalid_argument naming the rows, on every shard, if a shard has bad ones. `what` is "data", "centroids"
// or "init".
void require_valid_rows(const RowCheck& check, const Source& rows, const char* what, Reducer& reducer,
                        Workers& workers);

// Mean and sum of squared deviations of each column, (d).
struct Moments {
  double count = 0;
  std::vector<double> mean, squares;
};
Moments moments_of(const MatrixView& x, Workers& workers);
// The same from sums of (x_ij - origin_j) and of its squares over parts of `count` rows: (parts, d); origin: (d).
Moments moments_of_parts(double count, std::int64_t parts, const double* sums, const double* squares,
                         const std::vector<double>& origin);

// For fp64 input: a warning text if fp32 rows lose a column's spread (|mean| / std > 2^20), else "".
std::string precision_warning(const Moments& own, Reducer& reducer);

}  // namespace fastkmeans
