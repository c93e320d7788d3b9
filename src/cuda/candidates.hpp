// SPDX-License-Identifier: Apache-2.0
// Candidates for the next centroid, a few at a time, and the rows that are nearer to one of them than to the centroids
// so far, on the device. The int8 filter finds them, with the D that a row has in place of D to its old centroid
// (docs/initialisation.md).
#pragma once

#include <optional>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/masses.hpp"
#include "cuda/sketches.hpp"
#include "numeric/centroids_view.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// A row and a candidate whose sketches are near enough.
struct NearPair {
  std::int32_t row, candidate;
};
// Those of all rows, in any order, in device memory.
struct NearPairs {
  NearPair* pairs;   // (room)
  float* distances;  // (room) their D
  Integer room;
};

class Candidates {
 public:
  static constexpr std::int64_t kMost = 16;  // at a time

  // Whether rows of this length have sketches here.
  static bool possible(std::int64_t d) { return sketch_size(d) <= kLongestSketch; }

  // Sketches all rows, which must be good and of which there is one.
  Candidates(Device& device, const SeededRows& rows);

  // What the mass of all rows loses with each of these alone, none of which is tiny (kTinyBelow). Nothing, if so many
  // pairs are near that there is no room for them.
  std::optional<std::vector<Mass>> look_at(const SeededRows& rows, CentroidsView candidates, int exponent);
  // Which of these candidates has these bits, or -1. row: (d)
  int find(const float* row) const;
  // Distances become no more than those to this candidate.
  void lower(const SeededRows& rows, int candidate);
  // Distances are others than they were; the candidates looked at are forgotten.
  void lowered(const SeededRows& rows);

 private:
  // What kernels tell of a look.
  struct Near {
    Integer pairs;
    MassWords taken[kMost];
  };

  NearPairs pairs() const { return {pairs_.data(), pair_distances_.data(), static_cast<Integer>(pairs_.size())}; }
  RowSketches sketches_from(std::int64_t row) const;
  void scan(const SeededRows& rows, int count);
  // D of the pairs [begin, end); view: all rows, or the rows of these pairs.
  void refine(const SeededRows& rows, RowsView view, bool are_all, Integer begin, Integer end, double factor);
  void refine_fetched(const SeededRows& rows, Integer count, double factor);

  Device& device_;
  Sketcher sketcher_;
  FilterBound bound_;
  DeviceBuffer<std::int8_t> q_;                           // of the rows
  DeviceBuffer<float> half_inverse_, sq_norms_, errors_;  // (n)
  DeviceBuffer<float> reach_;                             // (n) how far D may lie and be no more, and the row's error
  DeviceBuffer<float> values_;                            // (kMost, d) the candidates
  DeviceBuffer<std::uint8_t> good_;                       // (kMost) their states
  DeviceBuffer<std::int8_t> few_q_;
  DeviceBuffer<float> few_half_inverse_, few_sq_norms_, few_errors_;
  DeviceBuffer<NearPair> pairs_;
  DeviceBuffer<float> pair_distances_;
  Answer<Near> near_;
  Integer found_ = 0;             // pairs of the last look
  std::vector<float> looked_at_;  // (count, d) in host memory; none: nothing is known
};

}  // namespace fastkmeans::cuda
