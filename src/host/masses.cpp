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
constexpr std::int64_t kRowsPerPass = 1 << 16;

}  // namespace

double mass_factor(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0, 31 - exponent);
}

double Masses::largest() const {
  double largest = 0;
  std::mutex mutex;
  workers_.for_blocks(rows_.rows(), kRowsPerPass, 4.0 * static_cast<double>(rows_.rows()),
                      [&](std::int64_t first, std::int64_t count, int) {
                        double part = 0;
                        for (std::int64_t i = first; i < first + count; ++i)
                          // mutant: largest_of_weight
                          if (rows_.weight(i) > 0) part = std::max(part, true_distance(distances_[i]));
                        const std::lock_guard lock(mutex);
                        largest = std::max(largest, part);
                      });
  return largest;
}

Mass Masses::mass_of(std::int64_t first, std::int64_t count, double factor) const {
  Mass sum = 0;
  for (std::int64_t i = first; i < first + count; ++i)
    sum += mass(true_distance(distances_[i]), factor, rows_.weight(i));
  return sum;
}

std::vector<Mass> Masses::parts(double factor) const {
  std::vector<Mass> found(static_cast<std::size_t>((rows_.rows() + kRowsPerPass - 1) / kRowsPerPass));
  workers_.for_blocks(rows_.rows(), kRowsPerPass, 4.0 * static_cast<double>(rows_.rows()),
                      [&](std::int64_t first, std::int64_t count, int) {
                        found[static_cast<std::size_t>(first / kRowsPerPass)] = mass_of(first, count, factor);
                      });
  return found;
}

Mass Masses::total(int exponent) const {
  const std::vector<Mass> found = parts(std::ldexp(1.0, exponent));
  return std::accumulate(found.begin(), found.end(), Mass{0});
}

std::int64_t Masses::row_at(int exponent, Mass mass) const {
  const double factor = std::ldexp(1.0, exponent);
  const std::vector<Mass> found = parts(factor);
  std::int64_t row = 0;
  for (std::size_t part = 0; mass >= found[part]; ++part) {
    mass -= found[part];
    row += kRowsPerPass;  // mutant: mass_of_parts
  }
  for (;; ++row) {
    const Mass own = mass_of(row, 1, factor);
    if (mass < own) return row;  // mutant: row_at
    mass -= own;
  }
}

}  // namespace fastkmeans
