// SPDX-License-Identifier: Apache-2.0
// Fits of many small problems on one CUDA device, all of them at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "deadline.hpp"
#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "numeric/metric.hpp"
#include "small_shards.hpp"

namespace fastkmeans {

class Workers;

// A fit whose rows lie on a device: what is its own of what was checked, and where centroids, (k, d), and labels, (n),
// go. Those of a fit that fails become anything.
struct LockstepFit {
  MatrixView rows;
  std::int64_t k;
  const MatrixView* init;  // initial centroids, or null
  float* centroids;
  std::int64_t* labels;
};

// What fits have in common. Initial centroids lie on the device for all of them or for none.
struct LockstepOptions {
  const Params& params;  // all but k, init and weights
  bool results_there;    // centroids and labels go to memory of the device
  const Deadline& deadline;
};

// Whether a fit asks for nothing but what SmallShards do, if they take so many clusters and dimensions. fp64 rows may
// need a warning.
bool runs_in_lockstep(const LockstepFit& fit, const Params& params);

// Gets what fit number `fit` found, but centroids, labels and iterations.
using TakeResult = std::function<void(std::int64_t fit, Result&&)>;

// The fits that SmallShards were made of; those that fail have no result.
void fit_in_lockstep(SmallShards& shards, std::span<const LockstepFit> fits, const LockstepOptions& options,
                     Workers& workers, const TakeResult& take);

// Any number of them on one device, as many at a time as it has memory for; none if it has none.
void fit_in_lockstep(std::span<const LockstepFit> fits, const LockstepOptions& options, Workers& workers,
                     const TakeResult& take);

}  // namespace fastkmeans
