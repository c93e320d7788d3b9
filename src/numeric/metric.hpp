// SPDX-License-Identifier: Apache-2.0
// What tells one kind of k-means from another (docs/algorithm.md section 8): how a row is taken, what decides a label,
// and where the centroid of a cluster lies.
#pragma once

#include <cstdint>

#include "numeric/both.hpp"
#include "numeric/exact_sum.hpp"
#include "numeric/fixed_point.hpp"

namespace fastkmeans {

// What is least for the centroid of a row's label: D; or L, the negative of the inner product.
enum class Loss { distance, negated_product };

// What a row would win as a centroid of its own.
FASTKMEANS_BOTH inline float gain_of_row(float loss, float own_loss) {
  const float gain = loss - own_loss;  // mutant: gain_of_a_row
  return gain > 0 ? gain : 0.0f;
}

class Metric {
 public:
  virtual ~Metric() = default;

  // Whether rows are taken as they are: transform changes nothing, and need not be called.
  virtual bool keeps_rows() const = 0;
  // A row (d), all of whose elements are below magnitude_limit(d), in place.
  virtual void transform(float* row, std::int64_t d) const = 0;
  // The centroid of a cluster whose rows' weights add up to `weight` > 0. hi, lo: its sums, (d), lo null with one limb;
  // before: where it was; out: (d).
  virtual void update(const FixedPoint& scale, const std::uint64_t* hi, const std::uint64_t* lo, std::int64_t weight,
                      const float* before, float* out) const = 0;

  // Losses are stored as floats: D as store_distance has it, L as it is. What follows is D's, unless overridden.
  virtual Loss loss() const { return Loss::distance; }
  // What a caller gets for a stored one: D in its true size, or the inner product.
  virtual double value(float stored) const { return true_distance(stored); }
  // And for a sum of them.
  virtual double inertia(const ExactSum& losses) const { return losses.value(); }
  // By how much one such sum is better than another.
  virtual double gain(double before, double now) const { return before - now; }
};

// Rows as they are, means.
const Metric& euclidean();
// The same, but the label is the centroid of largest inner product.
const Metric& inner_product();
// Rows and centroids of length 1; a zero row stays zero, and where the sum is zero the centroid stays where it was.
const Metric& spherical();

}  // namespace fastkmeans
