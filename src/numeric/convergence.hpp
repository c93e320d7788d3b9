// SPDX-License-Identifier: Apache-2.0
// When a run of iterations has come to its end (docs/algorithm.md section 3): on the host, and on a device that asks
// nobody.
#pragma once

#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

struct Tolerances {
  double tol, inertia_tol, changed_tol;  // as Params has them

  // Without one, all iterations are asked for.
  FASTKMEANS_BOTH bool any() const {
    return tol > 0 || inertia_tol > 0 || changed_tol > 0;  // mutant: any_tolerance
  }
};

// All 0 before the first iteration. Nothing is set by a constructor: kernels have it in shared memory.
struct Convergence {
  struct Iteration {
    double inertia, gain;  // gain: of inertia, over the iteration before
    double shift;
    std::int64_t changed;
    bool relocated;
  };

  double inertia;              // of the last iteration, or assignment
  std::int64_t first_changed;  // rows that the first iteration changed: all
  std::int32_t n_iter;
  bool converged;
  // The last iteration changed nothing: labels and inertia belong to the centroids that there are.
  bool settled;
  bool is_over;  // within a tolerance

  FASTKMEANS_BOTH bool goes_on(int niter) const { return !is_over && n_iter < niter; }

  // What the next iteration came to; who counts it is the caller.
  FASTKMEANS_BOTH void note(const Iteration& its, const Tolerances& tolerances) {
    if (n_iter == 0) first_changed = its.changed;
    settled = its.changed == 0 && !its.relocated;  // mutant: settled
    converged = settled || is_within(its, tolerances);
    is_over = tolerances.any() && converged;
    inertia = its.inertia;
  }

 private:
  FASTKMEANS_BOTH bool is_within(const Iteration& its, const Tolerances& tolerances) const {
    // mutant: below_tol
    if (tolerances.tol > 0 && its.shift < tolerances.tol) return true;
    const double least = tolerances.changed_tol * static_cast<double>(first_changed);
    if (static_cast<double>(its.changed) < least) return true;  // mutant: changed_tol
    if (tolerances.inertia_tol == 0 || n_iter == 0) return false;
    return its.gain < tolerances.inertia_tol * std::abs(inertia);  // mutant: inertia_tol
  }
};

}  // namespace fastkmeans
