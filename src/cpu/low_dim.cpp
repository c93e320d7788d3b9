// SPDX-License-Identifier: Apache-2.0
#include "cpu/low_dim.hpp"

#include <array>

#include "cpu/rows.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

class LowDimTile {
 public:
  LowDimTile(const AssignTask& task, const CentroidRows& centroids, const FloatPanels& panels, LowDimColumns* kept)
      : task_(task),
        kernels_(task.context.kernels),
        centroids_(centroids),
        panels_(panels),
        bound_(FilterBound::low_dim(centroids.d)),
        kept_(kept),
        rows_(task.context, whole_groups(task.tile_rows, kLowDimGroup), centroids.ld) {
    if (!kept) own_.resize(whole_groups(task.tile_rows, kLowDimGroup), centroids.d);
  }

  bool assign(std::int64_t first, std::int64_t count, int, AssignCounts& counts) {
    const std::int64_t ld = centroids_.ld;
    const std::uint32_t limit = magnitude_limit_bits(centroids_.d);
    const std::int64_t whole = whole_groups(count, kLowDimGroup);
    const bool known = kept_ && kept_->complete;
    LowDimColumns& columns = kept_ ? *kept_ : own_;
    const std::int64_t at = kept_ ? first : 0;
    float* const values = &columns.values[at * centroids_.d];
    float* const sq_norms = &columns.sq_norms[at];
    if (known || count == whole)
      rows_.load(first, count);
    else
      rows_.load_copy(first, count);  // to_columns reads whole groups
    if (!known)
      kernels_.to_columns(rows_.row(0), rows_.stride(), whole, centroids_.d, centroids_.mu.data(), values, sq_norms);
    score(whole, values);
    for (std::int64_t i = 0; i < count; ++i)
      distances_[static_cast<std::size_t>(i)] = distance(i, who_[static_cast<std::size_t>(i)]);
    kernels_.thresholds(distances_.data(), sq_norms, whole, bound_, thresholds_.data());
    const bool in_a_row = rows_.stride() == ld;  // mutant: low_dim_strided
    const bool all_good = known || (in_a_row && kernels_.largest_bits(rows_.row(0), count * ld) < limit);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto s = static_cast<std::size_t>(i);
      if (!all_good && kernels_.largest_bits(rows_.row(i), ld) >= limit) {
        counts.check.note(first + i);
        who_[s] = 0;
        distances_[s] = 0;
      } else if (!(second_[s] < thresholds_[s])) {  // mutant: low_dim_second_best
        search(i, counts.effort);
      }
      task_.answer(first + i, who_[s], distances_[s], counts);
    }
    counts.effort.scored += count * centroids_.k;
    return true;
  }

 private:
  float distance(std::int64_t i, std::int64_t c) const {
    return kernels_.distance(rows_.row(i), centroids_.row(c), centroids_.ld);
  }

  // The first `whole` rows, a multiple of kLowDimGroup.
  void score(std::int64_t whole, const float* columns) {
    kernels_.nearest_two({.columns = columns,
                          .rows = whole,
                          .d = centroids_.d,
                          .k = whole_groups(centroids_.k, kLowDimPadding),
                          .centroids = panels_.values.data(),
                          .starts = panels_.starts.data(),
                          .second = second_.data(),
                          .who = who_.data()});
  }

  // Two scores too near to tell: all distances.
  void search(std::int64_t i, Effort& effort) {
    const auto s = static_cast<std::size_t>(i);
    for (std::int32_t c = 0; c < centroids_.k; ++c) {
      const float d = distance(i, c);
      if (c == 0 || d < distances_[s]) {  // mutant: low_dim_tie_rule
        distances_[s] = d;
        who_[s] = c;
      }
    }
    effort.refined += centroids_.k;
  }

  const AssignTask& task_;
  const Kernels& kernels_;
  const CentroidRows& centroids_;
  const FloatPanels& panels_;
  FilterBound::LowDim bound_;
  LowDimColumns* kept_;  // null: columns are of this tile alone, and own_
  LowDimColumns own_;
  RowTile rows_;
  std::array<float, kLowDimRows> second_, distances_, thresholds_;
  std::array<std::int32_t, kLowDimRows> who_;
};

}  // namespace

AssignCounts assign_low_dim(const AssignTask& task, const CentroidRows& centroids, const FloatPanels& panels,
                            LowDimColumns& kept) {
  const std::int64_t rows = task.context.x.rows, whole = whole_groups(rows, kLowDimGroup);
  // Tiles of less than a group would write into each other's places.
  const bool whole_tiles = task.tile_rows % kLowDimGroup == 0 || task.tile_rows >= rows;
  const bool keeps = whole_tiles && LowDimColumns::fit(rows, centroids.d);
  LowDimColumns* const columns = keeps ? &kept : nullptr;
  if (keeps) kept.resize(whole, centroids.d);
  const std::int64_t scratch_bytes =
      kLowDimRows * (centroids.ld + centroids.d) * static_cast<std::int64_t>(sizeof(float));
  const AssignCounts counts = assign_tiles<LowDimTile>(task, centroids.k, scratch_bytes, centroids, panels, columns);
  if (keeps && counts.undone.empty() && counts.check.bad == 0) kept.complete = true;  // mutant: columns_complete
  return counts;
}

}  // namespace fastkmeans::cpu
