// SPDX-License-Identifier: Apache-2.0
// The assignments of the rows of one shard, one after the other: how each is made, and what it leaves for the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/assign.hpp"
#include "cpu/centroids.hpp"
#include "cpu/low_dim.hpp"
#include "cpu/lower_bounds.hpp"
#include "cpu/narrow.hpp"
#include "cpu/sketcher.hpp"
#include "fastkmeans/params.hpp"
#include "plan/plan.hpp"
#include "shard.hpp"

namespace fastkmeans::cpu {

class Assigner {
 public:
  // The rows, which must stay as they are, may be none. All that is referred to must outlive the assigner.
  Assigner(const Context& context, const Execution& execution);

  // labels[i] = argmin over c of the metric's loss, ties to the lowest c; distances[i] = that loss as stored. previous:
  // labels that were good before, each in [0, k), or null (a hint for speed); it may be labels itself. Bad rows get
  // label 0, distance 0.
  // more: the same rows will be assigned again, to centroids not far away: what is worth knowing is kept.
  Assigned assign(CentroidsView centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                  float* distances);

  // The next centroids have nothing to do with the last: another run begins. Sketches of the rows are kept.
  void forget();

 private:
  struct Call;  // what one assignment was asked for

  // Rows with known labels, as movers are chosen by them.
  std::vector<SampledRow> sample_rows(const Call& call) const;
  // Bounds moved to these centroids, or new ones, or none.
  void keep_bounds(const Call& call, bool wanted);
  AssignCounts run(const Call& call, Filter filter);
  AssignCounts run_fp32(const Call& call);
  AssignCounts run_sketched(const Call& call, const Sketcher& sketcher);
  // Null: the filter has none.
  const Sketcher* sketcher_of(Filter filter) const;
  // Whether the kept sketches are this sketcher's, and all of them.
  bool has_sketches_of(const Sketcher* sketcher) const { return sketcher && sketched_by_ == sketcher; }
  Problem problem(const Call& call) const;
  // Narrow sketches for rows like these and such centroids, if they are worth looking for.
  void look_for_narrow(const Call& call);
  // A trial by a tile for each thread, if it is worth it; labels and distances of these rows are written.
  void try_some_rows(const Call& call);
  // Tiles for this filter.
  void cut(AssignTask& task, Filter filter) const;
  std::int64_t rows_per_tile(Filter filter) const;
  // For these centroids, which are lifted for inner products.
  FilterBound bound_for(const FilterBound& bound) const { return products_ ? bound.lifted(lift_.sq_ceiling()) : bound; }
  // From a row to this centroid, about; rows: a tile of one row.
  double radius(RowTile& rows, std::int64_t row, CentroidsView centroids, std::int32_t c) const;
  // Of a centroid from the centre.
  double typical_length(CentroidsView centroids) const;
  // FilterBound's, for sketches: a typical centroid's error over a typical row's distance.
  double split(CentroidsView centroids) const;

  const Context context_;
  const MatrixView x_;      // the context's
  const Kernels& kernels_;  // likewise
  Workers& workers_;        // likewise
  const Execution execution_;
  const Costs* costs_;  // the kernels', or calibrated
  std::optional<Choice> forced_;
  const bool products_;  // labels are by inner products
  History history_;

  // Of the rows, for good.
  std::vector<float> centre_;                        // mu; empty until the first assignment
  std::unique_ptr<FullSketcher> sketcher_;           // null: no int8 here
  std::unique_ptr<NarrowSketches> narrow_sketches_;  // null: not looked for
  LowDimColumns low_dim_columns_;
  Sketches sketches_;
  const Sketcher* sketched_by_ = nullptr;  // whose sketches all rows have
  std::optional<double> slower_;           // than costs_ say, as a trial found
  int surveys_ = 0;
  bool narrow_ran_ = false;
  Narrow narrow_;

  // From one assignment to the next.
  Lift lift_;             // of its centroids, if products_
  bool follows_ = false;  // the last one found all rows good, and said that there is more
  std::unique_ptr<LowerBounds> bounds_;
  double radius_ = 0;  // a typical distance of the last assignment; 0: unknown

  // Made anew by each, kept for their memory.
  CentroidRows centroids_, tiny_centroids_;
  FloatPanels float_panels_, tiny_panels_;
  SketchPanels sketch_panels_;
};

}  // namespace fastkmeans::cpu
