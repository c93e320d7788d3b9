// SPDX-License-Identifier: Apache-2.0
// The two kinds of points that a filter scans, with one interface: rows less the centre in fp32, and their sketches in
// int8. Points stand in the slots of a tile; a scan takes them where they are, or gathers some of them first.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "cpu/centroids.hpp"
#include "cpu/kernels.hpp"
#include "cpu/sketcher.hpp"
#include "runtime/buffer.hpp"
#include "sketch/bound.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans::cpu {

// What a scan reads, from one point of the arrays on; count: whole groups of rows.
template <class Arrays>
struct PointsView {
  const Arrays& arrays;
  std::int64_t first, count;

  const float* sq_norms() const { return &arrays.sq_norms[first]; }
  const float* errors() const { return &arrays.errors[first]; }
};

class CentredPoints {
  struct Arrays {
    Buffer<float> values;            // (capacity, ld)
    Buffer<float> sq_norms, errors;  // (capacity) FilterBound::Point of each
    void resize(std::int64_t capacity, std::int64_t ld);
  };

 public:
  using View = PointsView<Arrays>;
  // What the tiles of all threads share.
  struct Shared {
    const CentroidRows& centroids;
    const FloatPanels& panels;
    const FilterBound& bound;
    const Kernels& kernels;
    std::int64_t row_group() const { return kernels.row_group; }
  };

  CentredPoints(const Shared& shared, std::int64_t capacity);

  // The tile begins with this row of the shard.
  void begin(std::int64_t) {}
  // Whether the points of these rows are there already, and all of them good.
  bool described() const { return false; }
  void describe(const float* row, std::int64_t slot);
  // After the last row of a tile: only now its points are there.
  void described_all() {}
  // A point that takes no part: zeros.
  void clear(std::int64_t slot);
  FilterBound::Point known(std::int64_t slot) const {
    return {.sq_norm = own_.sq_norms[slot], .error = own_.errors[slot]};
  }
  View view(std::int64_t rows) const { return {own_, 0, whole_groups(rows, shared_.row_group())}; }
  // Copies of the chosen ones, side by side.
  View gather(const std::int32_t* chosen, std::int64_t count);
  // As Kernels::scan.
  std::int64_t scan(const View& view, std::int64_t panel, const float* thresholds, const ScanOut& out) const;

 private:
  const Shared& shared_;
  std::int64_t capacity_, ld_;
  Arrays own_, gathered_;
};

// Tiles of kept sketches hold whole groups of the scan and whole vectors of what the bound knows: no thread reads what
// another writes.
inline std::int64_t sketched_group(const SketchKernels& kernels) { return std::lcm(kernels.row_group, kPadding); }

class SketchedPoints {
 public:
  using View = PointsView<Sketches>;
  struct Shared {
    const CentroidRows& centroids;
    const SketchPanels& panels;
    const FilterBound& bound;
    const Kernels& kernels;
    const Sketcher& sketcher;
    Sketches* kept;  // of all rows of the shard; null: each tile makes its own, which the next overwrites
    bool complete;   // kept, and made by an earlier assignment
    std::int64_t row_group() const { return kernels.sketch->row_group; }
  };

  SketchedPoints(const Shared& shared, std::int64_t capacity);
  SketchedPoints(const SketchedPoints&) = delete;  // sketches_ may point into it
  SketchedPoints& operator=(const SketchedPoints&) = delete;

  void begin(std::int64_t first) { offset_ = shared_.kept ? first : 0; }
  bool described() const { return shared_.complete; }
  void describe(const float* row, std::int64_t slot);
  void described_all();
  void clear(std::int64_t slot);
  FilterBound::Point known(std::int64_t slot) const {
    return {.sq_norm = sketches_->sq_norms[offset_ + slot], .error = sketches_->errors[offset_ + slot]};
  }
  View view(std::int64_t rows) const { return {*sketches_, offset_, whole_groups(rows, shared_.row_group())}; }
  View gather(const std::int32_t* chosen, std::int64_t count);
  std::int64_t scan(const View& view, std::int64_t panel, const float* thresholds, const ScanOut& out) const;

 private:
  const Shared& shared_;
  std::int64_t capacity_, size_;
  Sketches own_, gathered_;  // (capacity) each, if they are needed
  Sketches* sketches_;       // the kept ones or own_
  std::int64_t offset_ = 0;  // of slot 0 in them
  // Rows that wait for their sketches, which are made together.
  std::int64_t waiting_ = 0;
  std::int64_t slots_[Sketcher::kBatch];
  const float* rows_[Sketcher::kBatch];
  Sketcher::Scratch scratch_;
};

}  // namespace fastkmeans::cpu
