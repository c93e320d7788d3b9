// SPDX-License-Identifier: Apache-2.0
#include "host/masses.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

// Rows handled between two looks at the interrupt: a few operations each.
constexpr std::int64_t kRowsPerPass = 1 << 14;
// Rows that are looked at one by one to find where a mass is.
constexpr std::int64_t kRowsPerPart = 1 << 8;

// The magnitudes of the largest D, as bits: of integers compilers find the largest by vectors.
struct Largest {
  std::int32_t plain = 0, tiny = 0;
};

Largest largest_bits(const float* distances, const std::int64_t* weights, std::int64_t count) {
  Largest largest;
  for (std::int64_t i = 0; i < count; ++i) {
    // mutant: largest_of_weight
    const std::int32_t bits = !weights || weights[i] > 0 ? std::bit_cast<std::int32_t>(distances[i]) : 0;
    largest.plain = std::max(largest.plain, bits);
    largest.tiny = std::max(largest.tiny, bits < 0 ? bits & 0x7fffffff : 0);
  }
  return largest;
}

}  // namespace

double mass_factor(double largest) { return std::ldexp(1.0, mass_exponent(largest)); }

double largest_distance(const float* distances, const Source& rows, Workers& workers) {
  const std::int64_t* const weights = rows.weights();
  Largest largest;
  std::mutex mutex;
  const auto look = [&](std::int64_t first, std::int64_t count, int) {
    const Largest part = largest_bits(distances + first, weights ? weights + first : nullptr, count);
    const std::lock_guard lock(mutex);
    largest.plain = std::max(largest.plain, part.plain);
    largest.tiny = std::max(largest.tiny, part.tiny);
  };
  workers.for_blocks(rows.rows(), kRowsPerPass, static_cast<double>(rows.rows()), look);
  return std::max(true_distance(std::bit_cast<float>(largest.plain)),
                  true_distance(store_distance(std::bit_cast<float>(largest.tiny), true)));
}

Masses::Masses(const float* distances, const Source& rows, int exponent, Workers& workers)
    : distances_(distances),
      weights_(rows.weights()),
      exponent_(exponent),
      factor_(std::ldexp(1.0, exponent)),
      ends_(static_cast<std::size_t>((rows.rows() + kRowsPerPart - 1) / kRowsPerPart)) {
  static_assert(kRowsPerPass % kRowsPerPart == 0);
  workers.for_blocks(rows.rows(), kRowsPerPass, 4.0 * static_cast<double>(rows.rows()),
                     [&](std::int64_t first, std::int64_t count, int) {
                       for (std::int64_t begin = first; begin < first + count; begin += kRowsPerPart) {
                         const std::int64_t end = std::min(begin + kRowsPerPart, first + count);
                         Mass sum = 0;
                         for (std::int64_t i = begin; i < end; ++i) sum += mass_of(i);
                         ends_[static_cast<std::size_t>(begin / kRowsPerPart)] = sum;
                       }
                     });
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
}

Mass Masses::mass_of(std::int64_t row) const {
  return mass(true_distance(distances_[row]), factor_, weights_ ? weights_[row] : 1);
}

std::int64_t Masses::row_at(Mass mass) const {
  const auto part = std::upper_bound(ends_.begin(), ends_.end(), mass);
  if (part != ends_.begin()) mass -= *(part - 1);
  std::int64_t row = (part - ends_.begin()) * kRowsPerPart;  // mutant: mass_of_parts
  for (;; ++row) {
    const Mass own = mass_of(row);
    if (mass < own) return row;  // mutant: row_at
    mass -= own;
  }
}

}  // namespace fastkmeans
