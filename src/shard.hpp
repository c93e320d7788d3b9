// SPDX-License-Identifier: Apache-2.0
// The rows of one shard, on one device, and all that is known of them: labels, distances, sketches, bounds, sums. What
// a kind of hardware must do; lloyd.cpp and fit.cpp do the rest, the same for all. Every shard gives the same bits,
// however the rows are spread over shards.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "fastkmeans/params.hpp"
#include "fastkmeans/result.hpp"
#include "numeric/centroid_rule.hpp"
#include "numeric/centroids_view.hpp"
#include "numeric/exact_sum.hpp"
#include "numeric/fixed_point.hpp"
#include "numeric/random.hpp"
#include "runtime/reducer.hpp"
#include "source/source.hpp"
#include "source/statistics.hpp"

namespace fastkmeans {

// The centroids that a run begins with: (m, d) values, then k - m rows of the shard as the metric takes them.
struct Start {
  std::vector<float> values;
  std::vector<std::int64_t> rows = {};
  std::span<const float> borrowed = {};  // in place of `values`: somebody else's, who keeps them until start_run() ends
};

// What was computed, in pairs of a row and a centroid.
struct Effort {
  std::int64_t scored = 0, refined = 0;
  Effort& operator+=(const Effort& other) {
    scored += other.scored;
    refined += other.refined;
    return *this;
  }
};

// What an assignment of the shard's own rows came to.
struct Assigned {
  RowCheck check;            // bad rows get label 0 and distance 0
  ExactSum inertia;          // of the distances
  std::int64_t changed = 0;  // rows whose label differs from the assignment before; all rows in the first of a run
  FilterStats filter;        // how; no bit of a result depends on it
  Effort abandoned;          // by a filter that was given up, and so not in `filter`: others did the same pairs again
};

// What an update came to, over all shards.
struct Updated {
  std::int64_t empty = 0;      // clusters without a row after assignment
  std::int64_t relocated = 0;  // of these, how many were given a row, or a part of a cluster
  double shift = 0;            // sum over centroids of the Euclidean distance each moved
};

// A sum of weights times distances as integers: below 2^71.
using Mass = Uint128;

class Shard {
 public:
  virtual ~Shard() = default;

  // --- facts about the shard's own rows, as the metric takes them ---

  virtual Statistics statistics() = 0;
  virtual Moments moments() = 0;
  // (count) row_hash() of these rows of the shard.
  virtual void hash_rows(const std::int64_t* rows, std::int64_t count, std::uint64_t* out) = 0;

  // --- a run ---

  // Forgets labels, sums and bounds of an earlier run.
  virtual void start_run(Start start) = 0;
  // labels[i] = argmin over c of D(x_i, c), ties to the lowest c. more: further assignments of this run will follow,
  // and what is worth knowing for them may be kept.
  virtual void assign(bool more) = 0;
  // Adds up the clusters' rows in this scale, the same on all shards and in all runs: those that changed since the
  // accumulation before move from sum to sum.
  virtual void accumulate(const FixedPoint& scale) = 0;
  // Fills empty clusters (docs/algorithm.md section 4), and moves the centroids to their clusters'.
  virtual void update(const CentroidRule& rule, Reducer& reducer) = 0;
  // Wait for the above.
  virtual const Assigned& assigned() = 0;
  virtual const Updated& updated() = 0;

  // --- results ---

  virtual std::vector<float> centroids() = 0;       // (k, d) a copy
  virtual std::vector<float> take_centroids() = 0;  // (k, d) until the next run there are none here
  virtual void copy_labels(std::int64_t* out) = 0;  // (n)
  virtual void copy_distances(double* out) = 0;     // (n) D, in its true size
  // Centroids and labels to the memory of the device where the rows lie: those that there is room for.
  virtual void copy_to_device(const DeviceResults&) { throw std::logic_error("the rows lie on no device"); }
  // Of these rows of the shard: labels, and D as stored (see store_distance).
  virtual void look_up(const std::int64_t* rows, std::int64_t count, std::int32_t* labels, float* distances) = 0;

  // --- what initialisations need: P_i = floor(D_i 2^exponent), D_i to the nearest of the centroids so far ---

  // D_i = D to the nearest of these; unless `first`, no more than it was.
  virtual void lower_distances(CentroidsView added, bool first) = 0;
  virtual double largest_distance() = 0;  // of the rows of weight; 0 without rows
  // Sum of weight times P_i over the shard's rows.
  virtual Mass total_mass(int exponent) = 0;
  // For each of these masses, which are below total_mass(exponent), the lowest row of the shard at which the sum
  // exceeds it.
  virtual std::vector<std::int64_t> rows_at(int exponent, const std::vector<Mass>& masses) = 0;
  // What total_mass(exponent) would be after lower_distances() with each of these alone; no D_i changes.
  virtual std::vector<Mass> masses_with(CentroidsView candidates, int exponent) = 0;
  // What told it the pairs whose D it need not know: "int8" or "none". No bit of a result depends on it.
  virtual std::string_view filter_of_masses() const { return "none"; }
  // A shard of other rows, by distances, on the same device, if that is a device of its own and has memory for it.
  // Until the next run nothing may be asked of this one, but another when the one before is gone.
  virtual std::unique_ptr<Shard> beside(const Source&) { return nullptr; }
};

}  // namespace fastkmeans
