// SPDX-License-Identifier: Apache-2.0
// Inner products as distances (docs/filter.md section 6.11 has the proof): with one dimension more, in which rows have
// 0 and centroid c has sqrt(M^2 - |c|^2), the largest inner product is the least distance.
#pragma once

#include <cstdint>
#include <vector>

#include "numeric/centroids_view.hpp"

namespace fastkmeans {

class Workers;

class Lift {
 public:
  // None, as distances want it: all heights are 0.
  Lift() = default;

  // Of these centroids from here on.
  void raise(CentroidsView centroids, Workers& workers);

  // M^2.
  double sq_ceiling() const { return sq_ceiling_; }
  // M^2 - |c|^2.
  double sq_height(std::int64_t c) const { return sq_heights_.empty() ? 0 : sq_heights_[static_cast<std::size_t>(c)]; }

 private:
  std::vector<double> sq_heights_;  // (k)
  double sq_ceiling_ = 0;
};

// The square of how far apart two heights are.
double sq_between_heights(double sq_a, double sq_b);

}  // namespace fastkmeans
