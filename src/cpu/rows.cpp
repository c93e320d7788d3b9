// SPDX-License-Identifier: Apache-2.0
#include "cpu/rows.hpp"

#include <algorithm>

#include "numeric/distance.hpp"
#include "plan/survey.hpp"
#include "sketch/centre.hpp"

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

std::vector<float> centre_of(const Context& context) {
  const std::int64_t n = context.x.rows, d = context.x.cols, count = centre_rows(n, d);
  std::vector<float> rows(static_cast<std::size_t>(count * d));
  const double operations = 4.0 * static_cast<double>(count) * static_cast<double>(d);
  context.workers.for_blocks(count, kPadding, operations, [&](std::int64_t first, std::int64_t block, int) {
    RowTile tile(context, 1, d);
    for (std::int64_t i = first; i < first + block; ++i) {
      tile.load(spread_row(n, count, i), 1);
      std::copy_n(tile.row(0), d, rows.begin() + i * d);
    }
  });
  return central_row(rows, count, d, context.workers);
}

}  // namespace fastkmeans::cpu
