// SPDX-License-Identifier: Apache-2.0
// What k-means++ asks of the distances of a shard's rows (docs/algorithm.md section 5): P_i = floor(D_i 2^exponent).
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/both.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans {

class Workers;

// 2^exponent, the exponent being the one with which the largest D becomes a number of 31 bits; largest: 0 for none.
double mass_factor(double largest);

class Masses {
 public:
  // distances: (rows.rows()) D as stored, in host memory.
  Masses(const float* distances, const Source& rows, Workers& workers)
      : distances_(distances), rows_(rows), workers_(workers) {}

  // Of one row: weight floor(D factor), D factor being below 2^63.
  FASTKMEANS_BOTH static Mass mass(double distance, double factor, std::int64_t weight) {
    if (weight == 0) return 0;  // its D may be beyond
    // mutant: mass_weights
    return static_cast<Mass>(static_cast<std::int64_t>(distance * factor)) * static_cast<Mass>(weight);
  }

  // As the verbs of Shard.
  double largest() const;
  Mass total(int exponent) const;
  std::int64_t row_at(int exponent, Mass mass) const;

 private:
  // Of these rows, and of every kRowsPerPass rows; factor: 2^exponent.
  Mass mass_of(std::int64_t first, std::int64_t count, double factor) const;
  std::vector<Mass> parts(double factor) const;

  const float* distances_;
  const Source& rows_;
  Workers& workers_;
};

}  // namespace fastkmeans
