// SPDX-License-Identifier: Apache-2.0
#include "cpu/rows.hpp"

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {

RowTile::RowTile(const Context& context, std::int64_t capacity, std::int64_t width)
    : context_(context),
      capacity_(capacity),
      ld_(padded(context.x.cols)),
      // mutant: in_place_as_wanted
      in_place_(context.metric.keeps_rows() && width == context.x.cols && row_in_place(context.x, 0)) {}

void RowTile::load(std::int64_t first, std::int64_t count) {
  if (!in_place_) return load_copy(first, count);
  first_row_ = reinterpret_cast<const char*>(row_in_place(context_.x, first));
  stride_ = context_.x.row_stride;
}

void RowTile::load_copy(std::int64_t first, std::int64_t count) {
  const auto& [x, metric, kernels, workers] = context_;
  copy_.resize(static_cast<std::size_t>(capacity_ * ld_));
  kernels.load_rows(x, first, count, copied(0), ld_);
  first_row_ = reinterpret_cast<const char*>(copied(0));
  stride_ = ld_ * static_cast<std::int64_t>(sizeof(float));
  if (metric.keeps_rows()) return;
  for (std::int64_t i = 0; i < count; ++i)
    // mutant: bad_rows_kept
    if (kernels.largest_bits(copied(i), x.cols) < magnitude_limit_bits(x.cols)) metric.transform(copied(i), x.cols);
}

void RowTile::scale(std::int64_t i) {
  for (std::int64_t j = 0; j < context_.x.cols; ++j) copied(i)[j] *= kTinyScale;
}

}  // namespace fastkmeans::cpu
