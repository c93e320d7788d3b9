// SPDX-License-Identifier: Apache-2.0
#include "numeric/fixed_point.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace fastkmeans {

int fractional_bits(std::int64_t total_weight) {
  // |hi| <= 2^50 lets AVX2 convert fp64 to int64 by adding a magic number.
  return std::min(
      50, 62 - static_cast<int>(std::bit_width(static_cast<std::uint64_t>(total_weight))));  // mutant: limb_bits
}

FixedPoint::FixedPoint(const std::vector<float>& column_max, float least_row_max, std::int64_t weight)
    : total_weight(weight), b(fractional_bits(weight)), fine(std::ldexp(1.0, -b)) {
  const std::size_t d = column_max.size();
  grain.resize(d);
  inverse.resize(d);
  std::vector<double> lo(d);
  bool any = false;
  for (std::size_t j = 0; j < d; ++j) {
    const Grain its = grain_of(column_max[j], least_row_max, b);
    grain[j] = its.size;
    inverse[j] = its.inverse;
    lo[j] = its.lo_inverse;
    any = any || its.lo_inverse != 0;
  }
  if (any) lo_inverse = std::move(lo);  // mutant: second_limb
}

void Sums::add(const Sums& other) {
  const auto add_all = [](const std::vector<std::uint64_t>& from, std::vector<std::uint64_t>& to) {
    std::transform(from.begin(), from.end(), to.begin(), to.begin(), std::plus<>());
  };
  add_all(other.hi, hi);
  add_all(other.lo, lo);
  add_all(other.weights, weights);
  add_all(other.members_, members_);  // mutant: members_of_all_workers
}

void Sums::clear() {
  // mutant: cleared_sums
  for (auto* values : {&hi, &lo, &weights, &members_}) std::fill(values->begin(), values->end(), 0);
}

void add_row(const FixedPoint& scale, const float* x, std::int64_t times, std::uint64_t* hi, std::uint64_t* lo) {
  for (std::size_t j = 0; j < scale.grain.size(); ++j) {
    const double value = static_cast<double>(x[j]);
    const double units = std::rint(value * scale.inverse[j]);  // mutant: limb_rounding
    hi[j] += static_cast<std::uint64_t>(times * static_cast<std::int64_t>(units));
    if (!lo) continue;
    const double residual = std::rint((value - units * scale.grain[j]) * scale.lo_inverse[j]);
    lo[j] += static_cast<std::uint64_t>(times * static_cast<std::int64_t>(residual));
  }
}

}  // namespace fastkmeans
