// SPDX-License-Identifier: Apache-2.0
// Cluster sums as integers (docs/algorithm.md section 2): adding has no order, and taking a row out undoes adding it.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "numeric/both.hpp"

namespace fastkmeans {

// Dimension j counts in grains g_j = 2^(E_j - b): hi = rint(x / g_j). Where a grain is coarse beside the smallest rows,
// a second limb counts the residual in grains of g_j 2^-b: lo = rint((x - hi g_j) 2^b / g_j). Both are powers of two,
// so all products below are exact.
struct Grain {
  double size, inverse;  // g_j and 1 / g_j
  double lo_inverse;     // 2^b / g_j, or 0 where one limb does
};

// b: fractional bits.
FASTKMEANS_BOTH inline Grain grain_of(float column_max, float least_row_max, int b) {
  int exponent = 0;  // least with column_max < 2^exponent
  std::frexp(static_cast<double>(column_max), &exponent);
  const double size = std::ldexp(1.0, exponent - b);
  // mutant: second_limb_limit
  const bool is_coarse = size > 0x1p-26 * static_cast<double>(least_row_max) && column_max > 0;
  return {size, std::ldexp(1.0, b - exponent), is_coarse ? std::ldexp(1.0, 2 * b - exponent) : 0.0};
}

// b for rows of this weight in all.
int fractional_bits(std::int64_t total_weight);

// The grains of all dimensions.
struct FixedPoint {
  // column_max: (d) max_i |x_ij|; least_row_max: least nonzero max_j |x_ij|, or 0; total_weight: of the rows.
  FixedPoint(const std::vector<float>& column_max, float least_row_max, std::int64_t total_weight);

  std::int64_t total_weight;       // N: the rows, or the sum of their weights
  int b;                           // fractional bits; N 2^b < 2^62
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

// Sums of k clusters. uint64, since taking a row out may wrap on the way.
class Sums {
 public:
  // weighted: rows may count more or less often than once.
  Sums(std::int64_t clusters, std::int64_t dims, bool two_limbs, bool weighted)
      : k(clusters),
        d(dims),
        hi(static_cast<std::size_t>(k * d)),
        lo(two_limbs ? hi.size() : 0),
        weights(static_cast<std::size_t>(k)),
        members_(weighted ? weights.size() : 0) {}

  std::uint64_t* hi_row(std::int64_t c) { return hi.data() + c * d; }
  std::uint64_t* lo_row(std::int64_t c) { return lo.empty() ? nullptr : lo.data() + c * d; }
  const std::uint64_t* hi_row(std::int64_t c) const { return hi.data() + c * d; }
  const std::uint64_t* lo_row(std::int64_t c) const { return lo.empty() ? nullptr : lo.data() + c * d; }

  // A row of weight `times` > 0 came into the cluster, or one of weight -`times` left it.
  void count(std::int64_t c, std::int64_t times) {
    weights[static_cast<std::size_t>(c)] += static_cast<std::uint64_t>(times);
    // mutant: members_count_rows
    if (!members_.empty()) members_[static_cast<std::size_t>(c)] += times > 0 ? 1 : ~std::uint64_t{0};
  }
  // (k) rows of weight in each cluster.
  const std::vector<std::uint64_t>& members() const { return members_.empty() ? weights : members_; }

  // Adds another's.
  void add(const Sums& other);
  // All are zero again.
  void clear();

  std::int64_t k, d;
  std::vector<std::uint64_t> hi, lo;   // (k, d); lo empty with one limb
  std::vector<std::uint64_t> weights;  // (k) of the rows in each cluster

 private:
  std::vector<std::uint64_t> members_;
};

// One row, as integers, added `times` times to a row of sums, or taken out if times < 0. hi, lo: (d); lo may be null.
void add_row(const FixedPoint& scale, const float* x, std::int64_t times, std::uint64_t* hi, std::uint64_t* lo);

}  // namespace fastkmeans
