// SPDX-License-Identifier: Apache-2.0
// A shard whose state lies in host memory: what the scalar oracle and the CPU share. They differ in how they read rows.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "host/empty_clusters.hpp"
#include "host/masses.hpp"
#include "numeric/metric.hpp"
#include "runtime/buffer.hpp"
#include "shard.hpp"

namespace fastkmeans {

class Workers;

// fp64 pairwise tree over the square roots of (k) stored D's.
double total_shift(const std::vector<float>& center_shifts);

class HostShard : public Shard {
 public:
  HostShard(const Source& rows, const Metric& metric, Workers& workers);

  Moments moments() final;
  void hash_rows(const std::int64_t* rows, std::int64_t count, std::uint64_t* out) final;
  void start_run(Start start) final;
  void assign(bool more) final;
  void accumulate(const FixedPoint& scale) final;
  void update(const CentroidRule& rule, Reducer& reducer) final;
  const Assigned& assigned() final { return assigned_; }
  const Updated& updated() final { return updated_; }
  std::vector<float> centroids() final { return centroids_; }
  std::vector<float> take_centroids() final { return std::move(centroids_); }
  void copy_labels(std::int64_t* out) final;
  void copy_distances(double* out) final;
  void look_up(const std::int64_t* rows, std::int64_t count, std::int32_t* labels, float* distances) final;
  void lower_distances(CentroidsView added, bool first) final;
  double largest_distance() final;
  Mass total_mass(int exponent) final;
  std::vector<std::int64_t> rows_at(int exponent, const std::vector<Mass>& masses) final;
  std::vector<Mass> masses_with(CentroidsView candidates, int exponent) final;

 protected:
  // Nothing of an earlier run may be used any more.
  virtual void forget() = 0;
  // As Shard::assign; previous: labels that were good before, each in [0, k), or null. What it fills in of `changed`
  // and `inertia` is of rows that count once each.
  virtual Assigned assign_rows(CentroidsView centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                               float* distances) = 0;
  // For each row i with from[i] != to[i]: out of cluster from[i], into cluster to[i]. from null: all rows are new.
  virtual void accumulate_rows(const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale,
                               Sums& sums) = 0;
  // distances[c] = D(a_c, b_c), scaled by the same rule as in assign_rows with b as the centroids.
  virtual void center_shifts(CentroidsView a, CentroidsView b, float* distances) = 0;
  // losses[i] = L(x_i, x_i).
  virtual void own_losses(float* losses) = 0;
  // As Shard::lower_distances.
  virtual void lower_rows(CentroidsView added, bool first, float* distances) = 0;
  // As Shard::masses_with; distances: (n) D as stored.
  virtual std::vector<Mass> masses_of(CentroidsView candidates, int exponent, const float* distances) = 0;

  const Source& rows_;
  const Metric& metric_;
  Workers& workers_;
  const MatrixView x_;  // the rows where they lie

 private:
  CentroidsView view(const std::vector<float>& centroids) const {
    return {centroids.data(), static_cast<std::int64_t>(centroids.size()) / x_.cols, x_.cols};
  }
  ExactSum weighted_inertia() const;
  // Of the present distances.
  const Masses& masses(int exponent);
  // What each row would gain as a centroid of its own, as stored: its distance, if that is what it minimises.
  const float* gains();
  void relocate(const std::vector<Relocation>& relocations);
  // The sums of all shards.
  const Sums& sums_over_shards(Reducer& reducer);

  std::vector<float> centroids_, next_;   // (k, d)
  Buffer<std::int32_t> labels_, before_;  // (n) of the last assignment, and of the one before
  Buffer<float> distances_;               // (n) losses as stored
  std::optional<Masses> masses_;          // of initialisations; none after the distances changed
  Buffer<float> own_losses_, gains_;      // (n) of rows as centroids, and over those; empty until they are needed
  int assignments_ = 0;                   // of this run
  const FixedPoint* scale_ = nullptr;
  std::optional<Sums> sums_, total_;  // of the own rows; of all shards', where there are more
  std::vector<float> center_shifts_;  // (k)
  Assigned assigned_;
  Updated updated_;
};

}  // namespace fastkmeans
