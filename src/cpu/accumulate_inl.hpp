// SPDX-License-Identifier: Apache-2.0
// Rows as integers, added to a sum or taken out of it.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include "cpu/simd.hpp"

namespace fastkmeans::cpu {
namespace {

// rint of |value| <= 2^51 in int64: after adding 1.5 * 2^52 the integer stands in the low bits of the mantissa.
constexpr double kMagic = 0x1.8p52;
[[gnu::always_inline]] inline std::int64_t to_integer(double value) {
  const double shifted = value + kMagic, magic = kMagic;
  std::int64_t bits, zero;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&zero, &magic, sizeof zero);
  return bits - zero;
}

void add_row(const float* __restrict x, std::int64_t n, std::int64_t sign, const double* __restrict inverse,
             const double* __restrict grain, const double* __restrict lo_inverse, std::uint64_t* __restrict hi,
             std::uint64_t* __restrict lo) {
  const auto flip = static_cast<std::uint64_t>(sign < 0 ? -1 : 0);  // -v = (v ^ -1) + 1
  for (std::int64_t j = 0; j < n; ++j) {
    const double units = static_cast<double>(x[j]) * inverse[j];
    hi[j] += (static_cast<std::uint64_t>(to_integer(units)) ^ flip) - flip;
  }
  if (!lo) return;
  for (std::int64_t j = 0; j < n; ++j) {
    const double value = static_cast<double>(x[j]);
    const double units = (value * inverse[j] + kMagic) - kMagic;  // rint
    const double residual = (value - units * grain[j]) * lo_inverse[j];
    lo[j] += (static_cast<std::uint64_t>(to_integer(residual)) ^ flip) - flip;
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
