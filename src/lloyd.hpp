// SPDX-License-Identifier: Apache-2.0
// Lloyd's loop: one for all backends.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.hpp"
#include "fastkmeans/fastkmeans.hpp"

namespace fastkmeans {

// One run: what it ends with.
struct Run {
  std::vector<float> centroids;      // (k, d)
  std::vector<std::int32_t> labels;  // (n_used), of the last assignment
  double inertia = 0;                // of the last assignment
  std::vector<IterationStats> iterations;
  bool converged = false;
  bool settled =
      false;  // the last iteration changed nothing: labels and inertia of the rows used belong to `centroids`
  bool stopped = false;  // by the callback
  std::int64_t n_empty = 0;
};

// x: the rows used, all valid; initial: (k, d).
Run lloyd(const MatrixView& x, std::vector<float> initial, int redo, const FixedPoint& scale, const Params& params,
          Backend& backend, Workers& workers);

}  // namespace fastkmeans
