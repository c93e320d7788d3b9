// SPDX-License-Identifier: Apache-2.0
// How long the steps of an assignment take on this CPU: behind the planner's costs, those in src/plan/tuning
// (benchmarks/kernel_costs.cpp prints them) and those measured in a long fit (calibrate.hpp).
#pragma once

#include <cstdint>
#include <functional>

#include "cpu/kernels.hpp"

namespace fastkmeans::cpu {

class Timing {
 public:
  // The best of `repeats`, each of at least so many nanoseconds.
  Timing(const Kernels& kernels, int repeats, double at_least)
      : kernels_(kernels), repeats_(repeats), at_least_(at_least) {}

  // Nanoseconds of a pair of row and centroid, no score passing; with_best: the best score of a row is wanted too.
  double fp32_pair(std::int64_t d, bool with_best = false) const;
  double int8_pair(std::int64_t size, bool with_best = false) const;
  double low_dim_pair(std::int64_t d) const;
  // Of D, between rows that are near and centroids of so many bytes in all.
  double distance(std::int64_t d, std::int64_t bytes) const;
  // Of the sketch of a row.
  double sketch(std::int64_t d) const;

 private:
  double nanoseconds(double items, const std::function<void()>& call) const;

  const Kernels& kernels_;
  int repeats_;
  double at_least_;
};

}  // namespace fastkmeans::cpu
