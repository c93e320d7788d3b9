// SPDX-License-Identifier: Apache-2.0
// Assignments one after the other: how each is made, and what it leaves for the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/assign.hpp"
#include "plan.hpp"

namespace fastkmeans::cpu {

class Assignments {
 public:
  Assignments(const Kernels& kernels, const Execution& execution, Workers& workers);

  // As Backend::assign.
  Assigned assign(const MatrixView& x, CentroidsView centroids, const std::int32_t* previous, bool again,
                  std::int32_t* labels, float* distances);

 private:
  std::int64_t rows_per_tile(const MatrixView& x, Filter filter) const;
  // Bounds moved to these centroids, or new ones, or none.
  void keep_bounds(const MatrixView& x, CentroidsView centroids, bool wanted, bool again, std::int64_t tile_rows);
  bool is_known(const MatrixView& x) const;
  // Sets split_ by what is typical.
  void look_at(const MatrixView& x, const float* distances);

  const Kernels& kernels_;
  const Execution& execution_;
  Workers& workers_;
  Planner planner_;
  std::optional<Sketcher> sketcher_;

  std::vector<float> centre_;         // mu, of the first rows seen
  PreparedCentroids plain_, scaled_;  // kept for their memory
  std::optional<MatrixView> known_;   // the rows that the following belong to
  RowSketches sketches_;
  std::unique_ptr<DriftBounds> bounds_;
  double split_ = 0;  // FilterBound's: a typical error over a typical distance; 0: unknown
};

}  // namespace fastkmeans::cpu
