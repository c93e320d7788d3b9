// SPDX-License-Identifier: Apache-2.0
// Cluster sums as integers (docs/algorithm.md section 2): adding has no order, and taking a row out undoes adding it.
#pragma once

#include <cstdint>
#include <vector>

#include "source/statistics.hpp"

namespace fastkmeans {

// Dimension j counts in grains g_j = 2^(E_j - b): hi = rint(x / g_j). Where a grain is coarse beside the smallest rows,
// a second limb counts the residual in grains of g_j 2^-b: lo = rint((x - hi g_j) 2^b / g_j). Both are powers of two,
// so all products below are exact.
struct FixedPoint {
  FixedPoint(const Statistics& statistics, std::int64_t n);

  int b;                           // fractional bits; n 2^b < 2^62
  double fine;                     // 2^-b
  std::vector<double> grain;       // (d) g_j
  std::vector<double> inverse;     // (d) 1 / g_j
  std::vector<double> lo_inverse;  // (d) 2^b / g_j, or 0 where one limb does; empty if it does everywhere
  std::int64_t d() const { return static_cast<std::int64_t>(grain.size()); }
  bool two_limbs() const { return !lo_inverse.empty(); }

  // S_j = hi g_j + lo g_j 2^-b in fp64. hi, lo: (d); lo may be null.
  double sum(std::int64_t j, const std::uint64_t* hi, const std::uint64_t* lo) const {
    const auto at = static_cast<std::size_t>(j);
    double sum = static_cast<double>(static_cast<std::int64_t>(hi[at])) * grain[at];
    if (lo) sum += static_cast<double>(static_cast<std::int64_t>(lo[at])) * (grain[at] * fine);
    return sum;
  }
};

// Sums and counts of k clusters. uint64, since taking a row out may wrap on the way.
struct Sums {
  Sums(std::int64_t k, std::int64_t d, bool two_limbs)
      : k(k),
        d(d),
        hi(static_cast<std::size_t>(k * d)),
        lo(two_limbs ? hi.size() : 0),
        counts(static_cast<std::size_t>(k)) {}

  std::uint64_t* hi_row(std::int64_t c) { return hi.data() + c * d; }
  std::uint64_t* lo_row(std::int64_t c) { return lo.empty() ? nullptr : lo.data() + c * d; }

  std::int64_t k, d;
  std::vector<std::uint64_t> hi, lo;  // (k, d); lo empty with one limb
  std::vector<std::int64_t> counts;   // (k)
};

// One row, as integers, added to a row of sums (sign 1) or taken out (sign -1). hi, lo: (d); lo may be null.
void add_row(const FixedPoint& scale, const float* x, std::int64_t sign, std::uint64_t* hi, std::uint64_t* lo);

}  // namespace fastkmeans
