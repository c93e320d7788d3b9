// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row, by filter and refine.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/prepare.hpp"
#include "statistics.hpp"

namespace fastkmeans::cpu {

struct AssignTask {
  const MatrixView& x;
  const PreparedCentroids& centroids;  // unscaled
  const PreparedCentroids* tiny;       // scaled, for rows below kTinyBelow; null unless all centroids are below it too
  const FilterBound& bound;
  const Kernels& kernels;
  const Execution& execution;
  const std::int32_t* previous;  // as in Backend::assign
  std::int32_t* labels;
  float* distances;
};

RowCheck assign(const AssignTask& task, Workers& workers);

}  // namespace fastkmeans::cpu
