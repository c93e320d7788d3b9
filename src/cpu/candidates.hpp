// SPDX-License-Identifier: Apache-2.0
// Candidates for the next centroid, a few at a time, and the rows that are nearer to one of them than to the centroids
// so far. The int8 filter finds them, with the D that a row has in place of D to its old centroid: of the rows of
// k-means++, about one in c is nearer to candidate c (docs/initialisation.md).
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/centroids.hpp"
#include "cpu/points.hpp"
#include "cpu/rows.hpp"
#include "cpu/sketcher.hpp"
#include "numeric/centroids_view.hpp"
#include "runtime/buffer.hpp"
#include "sketch/bound.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans::cpu {

class Candidates {
 public:
  // A row, and its D to a candidate, as stored.
  struct Nearer {
    std::int64_t row;
    std::int64_t candidate;
    float distance;
  };

  // Whether rows of this length have sketches here.
  static bool possible(const Context& context);

  // Sketches all rows, which must be good. distances: (n) D so far, as stored; the same array in all calls. Both must
  // outlive this.
  Candidates(const Context& context, const float* distances);

  // Returns the pairs with a lower D than the row has so far, in parts, in any order. None is tiny (kTinyBelow).
  const std::vector<std::vector<Nearer>>& look_at(CentroidsView candidates);
  // What look_at returned last.
  const std::vector<std::vector<Nearer>>& nearer() const { return nearer_; }
  // Which of the candidates of the last look_at has these bits, or -1. row: (d)
  std::int64_t find(const float* row) const;
  // distances[row] changed.
  void lowered(std::int64_t row) { thresholds_[row] = threshold(row); }

 private:
  struct Scan;

  FilterBound bound(double split) const { return FilterBound::of_sketches(context_.x.cols, split); }
  SketchedPoints::Shared shared();
  std::int64_t tile_rows() const;
  void sketch_rows();
  // FilterBound's: a typical error over a typical distance.
  double split() const;
  float threshold(std::int64_t row) const;
  void scan_tile(std::int64_t first, std::int64_t count, Scan& scan, std::vector<Nearer>& nearer) const;

  const Context& context_;
  const float* distances_;
  const FullSketcher sketcher_;
  FilterBound bound_;
  const Lift no_lift_ = {};                  // by D, whatever the metric
  CentroidRows centroids_;                   // the candidates, and the centre
  SketchPanels panels_;                      // of the candidates
  Sketches sketches_;                        // of the rows
  Buffer<float> thresholds_;                 // (n, and up to a whole group)
  std::vector<std::vector<Nearer>> nearer_;  // by thread
};

}  // namespace fastkmeans::cpu
