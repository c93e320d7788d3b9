// SPDX-License-Identifier: Apache-2.0
#include "source/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {

void require_valid_rows(const RowCheck& check, const MatrixView& x, const char* what,
                        const std::function<std::int64_t(std::int64_t)>& row_name) {
  if (check.bad == 0) return;
  const std::string row = std::to_string(row_name ? row_name(check.first) : check.first);
  const std::string count = std::to_string(check.bad) + (check.bad == 1 ? " row" : " rows");
  for (std::int64_t j = 0; j < x.cols; ++j) {
    const float value = element(x, check.first, j);
    if (magnitude_bits(value) < magnitude_limit_bits(x.cols)) continue;
    const std::string where = ", the first is row " + row + " (column " + std::to_string(j) + ")";
    if (std::isnan(value)) throw std::invalid_argument(std::string(what) + " has NaN in " + count + where);
    const int exponent = static_cast<int>(magnitude_limit_bits(x.cols) >> 23) - 127;
    throw std::invalid_argument(std::string(what) + " has infinity or a magnitude of 2**" + std::to_string(exponent) +
                                " or more, as float32, in " + count + where);
  }
}

std::string precision_warning(const MatrixView& x, Workers& workers) {
  if (x.dtype != DType::f64 || x.rows < 2) return "";
  const auto d = static_cast<std::size_t>(x.cols);
  auto value = [&x](std::int64_t i, std::size_t j) {
    double v;
    std::memcpy(&v, element_address(x, i, static_cast<std::int64_t>(j)), sizeof v);
    return v;
  };
  // Moments about the first row, a part of the rows at a time, so that a common offset cancels.
  const std::int64_t parts = std::clamp<std::int64_t>((1 << 20) / x.cols, 1, 64);  // at most 16 MiB of sums
  std::vector<double> sum(static_cast<std::size_t>(parts) * d), square(sum.size());
  const std::int64_t between = std::max<std::int64_t>(1, (1 << 16) / x.cols);  // rows from checkpoint to checkpoint
  const double operations = 4.0 * static_cast<double>(x.rows) * static_cast<double>(d);
  workers.for_each(parts, operations, [&](std::int64_t part, int seat) {
    double* s = &sum[static_cast<std::size_t>(part) * d];
    double* q = &square[static_cast<std::size_t>(part) * d];
    for (std::int64_t i = x.rows * part / parts; i < x.rows * (part + 1) / parts; ++i) {
      if (i % between == 0) workers.checkpoint(seat);
      for (std::size_t j = 0; j < d; ++j) {
        const double t = value(i, j) - value(0, j);
        s[j] += t;
        q[j] += t * t;
      }
    }
  });
  for (std::size_t j = 0; j < d; ++j) {
    double s = 0, q = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      s += sum[static_cast<std::size_t>(part) * d + j];
      q += square[static_cast<std::size_t>(part) * d + j];
    }
    const auto n = static_cast<double>(x.rows);
    const double variance = q / n - (s / n) * (s / n);
    const double mean = value(0, j) + s / n;
    if (variance > 0 && std::abs(mean) > 0x1p20 * std::sqrt(variance))
      return "column " + std::to_string(j) + " of the float64 data has a mean more than 2**20 times its standard " +
             "deviation; rows are used as float32, which loses most of that spread: subtract the mean first";
  }
  return "";
}

}  // namespace fastkmeans
