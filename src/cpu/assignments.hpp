// SPDX-License-Identifier: Apache-2.0
// Assignments one after the other: how each is made, and what it leaves for the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/assign.hpp"
#include "fastkmeans/params.hpp"
#include "plan/plan.hpp"
#include "shard.hpp"

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
  // FilterBound's, for sketches: a typical centroid's error over a typical row's distance.
  double split(CentroidsView centroids) const;

  const Kernels& kernels_;
  const Execution& execution_;
  Workers& workers_;
  std::optional<Choice> forced_;
  History history_;
  std::optional<Sketcher> sketcher_;

  std::vector<float> centre_;         // mu, of the first rows seen
  PreparedCentroids plain_, scaled_;  // kept for their memory
  std::optional<MatrixView> known_;   // the rows that the following belong to
  RowSketches sketches_;
  std::unique_ptr<DriftBounds> bounds_;
  double radius_ = 0;  // a typical distance of the last assignment; 0: unknown
};

}  // namespace fastkmeans::cpu
