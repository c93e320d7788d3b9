// SPDX-License-Identifier: Apache-2.0
#include "host/masses.hpp"

#include <algorithm>
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

}  // namespace

double mass_factor(double largest) { return std::ldexp(1.0, mass_exponent(largest)); }

double largest_distance(const float* distances, const Source& rows, Workers& workers) {
  double largest = 0;
  std::mutex mutex;
  workers.for_blocks(rows.rows(), kRowsPerPass, 4.0 * static_cast<double>(rows.rows()),
                     [&](std::int64_t first, std::int64_t count, int) {
                       double part = 0;
                       for (std::int64_t i = first; i < first + count; ++i)
                         // mutant: largest_of_weight
                         if (rows.weight(i) > 0) part = std::max(part, true_distance(distances[i]));
                       const std::lock_guard lock(mutex);
                       largest = std::max(largest, part);
                     });
  return largest;
}

Masses::Masses(const float* distances, const Source& rows, int exponent, Workers& workers)
    : distances_(distances),
      rows_(rows),
      exponent_(exponent),
      factor_(std::ldexp(1.0, exponent)),
      ends_(static_cast<std::size_t>((rows.rows() + kRowsPerPart - 1) / kRowsPerPart)) {
  static_assert(kRowsPerPass % kRowsPerPart == 0);
  workers.for_blocks(rows.rows(), kRowsPerPass, 4.0 * static_cast<double>(rows.rows()),
                     [&](std::int64_t first, std::int64_t count, int) {
                       for (std::int64_t i = first; i < first + count; ++i)
                         ends_[static_cast<std::size_t>(i / kRowsPerPart)] += mass_of(i);
                     });
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
}

Mass Masses::mass_of(std::int64_t row) const {
  return mass(true_distance(distances_[row]), factor_, rows_.weight(row));
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
