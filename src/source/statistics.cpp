// SPDX-License-Identifier: Apache-2.0
#include "source/statistics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {

void Statistics::merge_over_shards(Reducer& reducer) {
  // Bits of non-negative floats are ordered as they are.
  std::vector<std::uint64_t> most(column_max.size());
  std::transform(column_max.begin(), column_max.end(), most.begin(),
                 [](float value) { return std::bit_cast<std::uint32_t>(value); });
  reducer.max(most.data(), static_cast<std::int64_t>(most.size()));  // mutant: column_max_of_all_shards
  std::transform(most.begin(), most.end(), column_max.begin(),
                 [](std::uint64_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits)); });
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t least = least_row_max > 0 ? std::bit_cast<std::uint32_t>(least_row_max) : kNone;
  reducer.min(&least, 1);  // mutant: least_row_of_all_shards
  least_row_max = least == kNone ? 0.0f : std::bit_cast<float>(static_cast<std::uint32_t>(least));
  zero_rows = sum_over_shards(zero_rows, reducer);  // mutant: zero_rows_of_all_shards
}

void require_valid_rows(const RowCheck& check, const Source& rows, const char* what, Reducer& reducer,
                        Workers& workers) {
  const std::int64_t bad = sum_over_shards(check.bad, reducer);
  if (bad == 0) return;
  // mutant: bad_row_number
  const std::uint64_t own = check.bad ? static_cast<std::uint64_t>(rows.number(check.first)) : ~std::uint64_t{0};
  std::uint64_t first = own;
  reducer.min(&first, 1);  // mutant: first_bad_row_of_all_shards
  // The shard that has the row tells the others what is wrong with it: the column, and its value's bits.
  std::uint64_t found[2] = {};
  if (own == first) {
    std::vector<float> row(static_cast<std::size_t>(rows.cols()));
    rows.gather(&check.first, 1, row.data(), workers);
    const auto at = std::find_if(row.begin(), row.end(), [&](float value) {
      return magnitude_bits(value) >= magnitude_limit_bits(rows.cols());
    });
    found[0] = static_cast<std::uint64_t>(at - row.begin());
    found[1] = std::bit_cast<std::uint32_t>(*at);
  }
  reducer.sum(found, 2);
  const std::string in = std::string(what) + " has ";
  const std::string where = " in " + std::to_string(bad) + (bad == 1 ? " row" : " rows") + ", the first is row " +
                            std::to_string(first) + " (column " + std::to_string(found[0]) + ")";
  if (std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(found[1]))))
    throw std::invalid_argument(in + "NaN" + where);
  const int exponent = static_cast<int>(magnitude_limit_bits(rows.cols()) >> 23) - 127;
  throw std::invalid_argument(in + "infinity or a magnitude of 2**" + std::to_string(exponent) +
                              " or more, as float32," + where);
}

Moments moments_of(const MatrixView& x, Workers& workers) {
  const auto d = static_cast<std::size_t>(x.cols);
  Moments moments{static_cast<double>(x.rows), std::vector<double>(d), std::vector<double>(d)};
  if (x.dtype != DType::f64 || x.rows == 0) return moments;
  auto value = [&x](std::int64_t i, std::size_t j) {
    double v;
    std::memcpy(&v, element_address(x, i, static_cast<std::int64_t>(j)), sizeof v);
    return v;
  };
  // About the first row, a part of the rows at a time, so that a common offset cancels. The parts do not depend on the
  // number of threads.
  const std::int64_t parts = std::clamp<std::int64_t>((1 << 20) / x.cols, 1, 64);  // at most 16 MiB of sums
  std::vector<double> sum(static_cast<std::size_t>(parts) * d), square(sum.size());
  const std::int64_t between = std::max<std::int64_t>(1, (1 << 16) / x.cols);  // rows from checkpoint to checkpoint
  const double operations = 4.0 * static_cast<double>(x.rows) * static_cast<double>(d);
  workers.for_each(parts, operations, [&](std::int64_t part, int worker) {
    double* s = &sum[static_cast<std::size_t>(part) * d];
    double* q = &square[static_cast<std::size_t>(part) * d];
    for (std::int64_t i = x.rows * part / parts; i < x.rows * (part + 1) / parts; ++i) {
      if (i % between == 0) workers.checkpoint(worker);
      for (std::size_t j = 0; j < d; ++j) {
        const double t = value(i, j) - value(0, j);
        s[j] += t;
        q[j] += t * t;
      }
    }
  });
  std::vector<double> origin(d);
  for (std::size_t j = 0; j < d; ++j) origin[j] = value(0, j);
  return moments_of_parts(moments.count, parts, sum.data(), square.data(), origin);
}

Moments moments_of_parts(double count, std::int64_t parts, const double* sums, const double* squares,
                         const std::vector<double>& origin) {
  const std::size_t d = origin.size();
  Moments moments{count, std::vector<double>(d), std::vector<double>(d)};
  for (std::size_t j = 0; j < d; ++j) {
    double s = 0, q = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      s += sums[static_cast<std::size_t>(part) * d + j];
      q += squares[static_cast<std::size_t>(part) * d + j];
    }
    moments.mean[j] = origin[j] + s / count;
    moments.squares[j] = count * (q / count - (s / count) * (s / count));
  }
  return moments;
}

std::string precision_warning(const Moments& own, Reducer& reducer) {
  std::vector<std::uint64_t> bits = {std::bit_cast<std::uint64_t>(own.count)};
  for (const auto* values : {&own.mean, &own.squares})
    std::transform(values->begin(), values->end(), std::back_inserter(bits),
                   [](double value) { return std::bit_cast<std::uint64_t>(value); });
  const std::vector<std::uint64_t> all = gather_over_shards(bits, reducer);  // mutant: precision_of_all_shards
  const std::size_t d = own.mean.size();
  for (std::size_t j = 0; j < d; ++j) {
    // Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    double count = 0, mean = 0, squares = 0;
    for (auto shard = all.begin(); shard != all.end(); shard += static_cast<std::ptrdiff_t>(bits.size())) {
      const auto number = [&](std::size_t i) { return std::bit_cast<double>(shard[static_cast<std::ptrdiff_t>(i)]); };
      if (number(0) == 0) continue;
      const double apart = number(1 + j) - mean, both = count + number(0);
      squares += number(1 + d + j) + apart * apart * (count * number(0) / both);
      mean = count == 0 ? number(1 + j) : mean + apart * (number(0) / both);
      count = both;
    }
    const double variance = squares / count;
    if (count >= 2 && variance > 0 && std::abs(mean) > 0x1p20 * std::sqrt(variance))
      return "column " + std::to_string(j) + " of the float64 data has a mean more than 2**20 times its standard " +
             "deviation; rows are used as float32, which loses most of that spread: subtract the mean first";
  }
  return "";
}

}  // namespace fastkmeans
