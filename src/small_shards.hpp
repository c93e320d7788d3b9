// SPDX-License-Identifier: Apache-2.0
// The rows of many small problems on one device, each as a shard of its own (shard.hpp): all take a step at a time.
// What is rare is not done here: its problem fails, and whoever runs it begins again with a Shard.
#pragma once

#include <cstdint>
#include <span>

#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans {

struct SmallProblem {
  MatrixView rows;  // on the device, k or more
  std::int64_t k;
};

class SmallShards {
 public:
  // What a step of a problem came to.
  struct Step {
    double inertia;          // of the assignment
    double shift;            // as Updated has it
    std::int64_t changed;    // as Assigned has it
    std::int32_t zero_rows;  // as Statistics has it
    // Bad rows or initial centroids, drawn rows that are equal, two limbs, tiny centroids, or an empty cluster: nothing
    // else of the problem means anything from here on.
    std::int32_t failed;
  };

  virtual ~SmallShards() = default;

  // Of the problems given, so many from the first on fitted into memory; the others are not here.
  virtual std::int64_t count() const = 0;
  // Initial centroids of all problems, one problem after the other: (sum of k, d) values, which the metric has not
  // taken yet; or (sum of k) rows, each of its problem. The other is empty.
  virtual void start_runs(std::span<const float> values, std::span<const std::int32_t> rows) = 0;
  // An iteration of these problems: assign, accumulate, update. A step for each, good until the next call.
  virtual std::span<const Step> iterate(std::span<const std::int32_t> problems) = 0;
  // An assignment alone; `shift` and `changed` mean nothing.
  virtual std::span<const Step> assign(std::span<const std::int32_t> problems) = 0;
  // Of `count` problems from the first on, one after the other: (sum of k, d), and (sum of n) of the last assignments.
  virtual void copy_centroids(std::int64_t first, std::int64_t count, float* out) = 0;
  virtual void copy_labels(std::int64_t first, std::int64_t count, std::int64_t* out) = 0;
};

}  // namespace fastkmeans
