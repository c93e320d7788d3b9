// SPDX-License-Identifier: Apache-2.0
// What tells one kind of k-means from another (docs/algorithm.md section 8): how a row is taken, and where the centroid
// of a cluster lies. The distance is D for all of them.
#pragma once

#include <cstdint>

#include "numeric/fixed_point.hpp"

namespace fastkmeans {

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
};

// Rows as they are, means.
const Metric& euclidean();
// Rows and centroids of length 1; a zero row stays zero, and where the sum is zero the centroid stays where it was.
const Metric& spherical();

}  // namespace fastkmeans
