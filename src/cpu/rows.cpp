// SPDX-License-Identifier: Apache-2.0
#include "cpu/rows.hpp"

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {

RowTile::RowTile(const MatrixView& x, const Metric& metric, const Kernels& kernels, std::int64_t capacity,
                 std::int64_t width)
    : x_(x),
      metric_(metric),
      kernels_(kernels),
      capacity_(capacity),
      ld_(padded(x.cols)),
      in_place_(metric.keeps_rows() && width == x.cols && row_in_place(x, 0)) {}  // mutant: in_place_as_wanted

void RowTile::load(std::int64_t first, std::int64_t count) {
  if (!in_place_) return load_copy(first, count);
  first_row_ = reinterpret_cast<const char*>(row_in_place(x_, first));
  stride_ = x_.row_stride;
}

void RowTile::load_copy(std::int64_t first, std::int64_t count) {
  copy_.resize(static_cast<std::size_t>(capacity_ * ld_));
  kernels_.load_rows(x_, first, count, copied(0), ld_);
  first_row_ = reinterpret_cast<const char*>(copied(0));
  stride_ = ld_ * static_cast<std::int64_t>(sizeof(float));
  if (metric_.keeps_rows()) return;
  for (std::int64_t i = 0; i < count; ++i)
    if (kernels_.largest_bits(copied(i), x_.cols) < magnitude_limit_bits(x_.cols))  // mutant: bad_rows_kept
      metric_.transform(copied(i), x_.cols);
}

void RowTile::scale(std::int64_t i) {
  for (std::int64_t j = 0; j < x_.cols; ++j) copied(i)[j] *= kTinyScale;
}

}  // namespace fastkmeans::cpu
