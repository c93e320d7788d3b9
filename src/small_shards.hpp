// SPDX-License-Identifier: Apache-2.0
// The rows of many small problems on one device, each as a shard of its own (shard.hpp), which iterates by itself.
// What is rare is not done here: its problem fails, and whoever runs it begins again with a Shard.
#pragma once

#include <cstdint>
#include <span>

#include "fastkmeans/matrix_view.hpp"
#include "numeric/both.hpp"
#include "numeric/convergence.hpp"

namespace fastkmeans {

struct SmallProblem {
  MatrixView rows;  // on the device, k or more
  std::int64_t k;
};

// Initial centroids of all problems, one problem after the other: (sum of k, d) values in host memory, or in matrices
// on the device, which the metric has not taken yet; or (sum of k) rows, each of its problem. The others are empty.
struct SmallStart {
  std::span<const float> values;
  std::span<const MatrixView> matrices;
  std::span<const std::int32_t> rows;
};

class SmallShards {
 public:
  // How far a problem has come.
  struct State {
    Convergence run;         // with labels, in the end: of the last assignment
    std::int32_t zero_rows;  // as Statistics has it
    // Bad rows or initial centroids, drawn rows that are equal, two limbs, tiny centroids, or an empty cluster: nothing
    // else of the problem means anything from here on.
    std::int32_t failed;
  };
  // How far problems go: to the end of their runs, `niter` iterations at most, but now only `most` of them. A run that
  // comes to its end gets labels that belong to its centroids, if they are wanted.
  struct Until {
    Tolerances tolerances;
    std::int32_t niter, most;
    bool labels;

    enum class Step : std::int32_t { iteration, assignment, none };
    // After `done` iterations of this call.
    FASTKMEANS_BOTH Step next(const Convergence& run, std::int32_t done) const {
      if (run.goes_on(niter)) return done < most ? Step::iteration : Step::none;
      return labels && !run.settled ? Step::assignment : Step::none;  // mutant: settled_in_lockstep
    }
    FASTKMEANS_BOTH void note(const Convergence::Iteration& its, Convergence& run) const {
      run.note(its, tolerances);
      // Without a tolerance all iterations are asked for; once settled each is the identity.
      run.n_iter = run.settled && !run.is_over ? niter : run.n_iter + 1;  // mutant: settled_iterations
    }
  };

  virtual ~SmallShards() = default;

  // Of the problems given, so many from the first on fitted into memory; the others are not here.
  virtual std::int64_t count() const = 0;
  virtual void start_runs(const SmallStart& start) = 0;
  // Iterations (assign, accumulate, update) of these problems, which did not fail, and whose runs are not over. The
  // states of all problems, good until the next call.
  virtual std::span<const State> iterate(std::span<const std::int32_t> problems, const Until& until) = 0;
  // Of `count` problems from the first on, one after the other: (sum of k, d), and (sum of n) of the last assignments.
  // there: `out` lies on the device.
  virtual void copy_centroids(std::int64_t first, std::int64_t count, float* out, bool there) = 0;
  virtual void copy_labels(std::int64_t first, std::int64_t count, std::int64_t* out, bool there) = 0;
};

}  // namespace fastkmeans
