// SPDX-License-Identifier: Apache-2.0
// What k-means++ asks of the distances of a shard's rows (docs/algorithm.md section 5): P_i = floor(D_i 2^exponent).
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "numeric/both.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// The exponent with which the largest D becomes a number of 31 bits; largest: 0 for none.
FASTKMEANS_BOTH inline int mass_exponent(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return 31 - exponent;  // mutant: mass_exponent
}
// 2 to the power of it.
double mass_factor(double largest);

// Of the rows of weight; 0 without rows. distances: (rows.rows()) D as stored, in host memory.
double largest_distance(const float* distances, const Source& rows, Workers& workers);

class Masses {
 public:
  // distances: as above; they stay as they are as long as this is asked.
  Masses(const float* distances, const Source& rows, int exponent, Workers& workers);

  // Of one row: weight floor(D factor), D factor being below 2^63.
  FASTKMEANS_BOTH static Mass mass(double distance, double factor, std::int64_t weight) {
    if (weight == 0) return 0;  // its D may be beyond
    // mutant: mass_weights
    return static_cast<Mass>(static_cast<std::int64_t>(distance * factor)) * static_cast<Mass>(weight);
  }

  int exponent() const { return exponent_; }
  Mass total() const { return ends_.empty() ? 0 : ends_.back(); }
  // The lowest row at which the sum exceeds `mass`, which is below the total.
  std::int64_t row_at(Mass mass) const;

 private:
  Mass mass_of(std::int64_t row) const;

  const float* distances_;
  const std::int64_t* weights_;  // (n), or null: 1 each
  int exponent_;
  double factor_;           // 2^exponent
  std::vector<Mass> ends_;  // of every kRowsPerPart rows, among the masses of all
};

}  // namespace fastkmeans
