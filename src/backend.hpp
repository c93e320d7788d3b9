// SPDX-License-Identifier: Apache-2.0
// What a kind of hardware must do; lloyd.cpp and fit.cpp do the rest, the same for all. Every backend gives the same
// bits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fastkmeans/fastkmeans.hpp"
#include "numeric/exact_sum.hpp"
#include "numeric/fixed_point.hpp"
#include "source/statistics.hpp"

namespace fastkmeans {

class Workers;

// Centroids handled together by a thread: microseconds of work, many tasks where there are many centroids.
inline constexpr std::int64_t kCentroidsPerTask = 256;

// k centroids of d dimensions, fp32, C order, without gaps.
struct CentroidsView {
  const float* values;
  std::int64_t k, d;
  const float* row(std::int64_t c) const { return values + c * d; }
};

// What was computed, in pairs of a row and a centroid.
struct Effort {
  std::int64_t scored = 0, refined = 0;
};

// How an assignment was made; no bit of a result depends on it.
struct Assigned {
  RowCheck check;
  FilterStats filter;
  Effort abandoned;          // by a filter that was given up, and so not in `filter`: others did the same pairs again
  std::int64_t changed = 0;  // rows whose label differs from the previous one; all where there was none
  ExactSum inertia = {};
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual Statistics statistics(const MatrixView& x) = 0;

  // labels[i] = argmin over c of D(x_i, c), ties to the lowest c; distances[i] = that D (see store_distance). previous:
  // labels that were good before, each in [0, k), or null (a hint for speed); it may be labels itself. Bad rows get
  // label 0, distance 0.
  // again: the same good rows will be assigned again, to centroids not far away: what is worth knowing may be kept.
  virtual Assigned assign(const MatrixView& x, CentroidsView centroids, const std::int32_t* previous, bool again,
                          std::int32_t* labels, float* distances) = 0;

  // For each row i with from[i] != to[i]: out of cluster from[i], into cluster to[i]. from null: all rows are new.
  virtual void accumulate(const MatrixView& x, const std::int32_t* from, const std::int32_t* to,
                          const FixedPoint& scale, Sums& sums) = 0;

  // distances[c] = D(a_c, b_c), scaled by the same rule as in assign with b as the centroids.
  virtual void moved(CentroidsView a, CentroidsView b, float* distances) = 0;
};

// The backend of an instruction set ("": FASTKMEANS_ISA, else the best one); std::runtime_error if it cannot be had.
std::unique_ptr<Backend> make_backend(const Execution& execution, Workers& workers);

}  // namespace fastkmeans
