// SPDX-License-Identifier: Apache-2.0
// The centroids of one assignment in the forms that filter and refine read.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "cpu/sketcher.hpp"
#include "numeric/centroids_view.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"
#include "sketch/bound.hpp"
#include "sketch/lift.hpp"

namespace fastkmeans::cpu {

// All below kTinyBelow: rows that are too are multiplied by kTinyScale, and so are they.
bool is_tiny(CentroidsView centroids, const Kernels& kernels);

// A row (d) times `factor`, out: (padded(d)), zero-filled: as Kernels::distance takes it.
void write_padded(const float* row, std::int64_t d, float factor, float* out);

// Plain, for D; and where each stands among those that the filter scans.
struct CentroidRows {
  std::int64_t k = 0, d = 0, ld = 0;
  std::vector<float> mu;               // (ld) the centre that the filter takes away, zero-filled
  Buffer<float> rows;                  // (k, ld) times the factor, zero-filled
  std::vector<std::int32_t> order;     // (places) which centroid stands there; -1: none
  std::vector<std::int32_t> place_of;  // (k) and where it stands first
  std::vector<std::uint8_t> is_copy;   // (k) of a lower one: the filter leaves it out

  const Lift* lift = nullptr;  // none, but for inner products

  const float* row(std::int64_t c) const { return rows.data() + c * ld; }

  // centre: (d), or empty for zero. factor: kTinyScale where rows and centroids are multiplied by it first, else 1.
  // with_order: who stands where, each at least once, or null for their own order. with_lift: of the centroids, kept.
  void prepare(CentroidsView centroids, const std::vector<float>& centre, float factor,
               const std::vector<std::int32_t>* with_order, const Lift& with_lift, Workers& workers);
};

// What is the same in all forms that a filter scans: places in panels of `width`, the last one filled up.
struct Panels {
  std::int64_t count = 0, width = 0;
  std::vector<float> starts;           // (count, width) of the scores; -infinity leaves a place out
  std::vector<std::uint8_t> members;   // (count) centroids in the panel
  std::vector<std::uint8_t> has_copy;  // (count) one of them was left out as a copy

  const float* starts_of(std::int64_t panel) const { return starts.data() + panel * width; }

 protected:
  static constexpr std::int64_t kMostWidth = 32;  // see Hit
  void resize(const CentroidRows& centroids, std::int64_t panel_width);
  // write(panel, rows, sizes, worker) stores the centroids of a panel, zeros for a row that is null, and says their
  // sizes; several threads at a time.
  template <class Write>
  void fill(const CentroidRows& centroids, const FilterBound& bound, Workers& workers, const Write& write);
};

// b = row - mu in fp32, the elements of `together` places beside each other: (places / together, d, together). A
// panel's width for the fp32 filter, 1 for rows of few dimensions.
struct FloatPanels : Panels {
  Buffer<float> values;
  const float* panel(std::int64_t index, std::int64_t d) const { return values.data() + index * width * d; }
  void prepare(const CentroidRows& centroids, const FilterBound& bound, std::int64_t together, const Kernels& kernels,
               Workers& workers);
};

// The int8 filter's: (panels, size / 4, width, 4). panel_width: that of the kernels, or half of it.
struct SketchPanels : Panels {
  Buffer<std::uint8_t> values;
  std::vector<float> scales;  // (count, width)
  const std::uint8_t* panel(std::int64_t index, std::int64_t size) const {
    return values.data() + index * width * size;
  }
  void prepare(const CentroidRows& centroids, const FilterBound& bound, const Sketcher& sketcher,
               std::int64_t panel_width, const Kernels& kernels, Workers& workers);
};

}  // namespace fastkmeans::cpu
