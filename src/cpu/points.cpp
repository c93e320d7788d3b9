// SPDX-License-Identifier: Apache-2.0
#include "cpu/points.hpp"

#include <algorithm>
#include <cmath>

namespace fastkmeans::cpu {

CentredPoints::CentredPoints(const Source& source, std::int64_t capacity)
    : source_(source),
      capacity_(capacity + kPadding),  // kernels read whole vectors
      ld_(source.centroids.ld),
      values_(static_cast<std::size_t>(capacity * ld_)),
      sq_norms_(static_cast<std::size_t>(capacity_)),
      errors_(sq_norms_.size()) {}

void CentredPoints::describe(const float* row, std::int64_t slot) {
  const auto s = static_cast<std::size_t>(slot);
  const double sq_norm =
      source_.kernels.centre(row, source_.centroids.mu.data(), ld_, &values_[s * static_cast<std::size_t>(ld_)]);
  const FilterBound::Point known = source_.bound.point({.sq_norm = sq_norm, .error = kCentring * std::sqrt(sq_norm)});
  sq_norms_[s] = known.sq_norm;
  errors_[s] = known.error;
}

void CentredPoints::clear(std::int64_t slot) {
  std::fill_n(values_.begin() + slot * ld_, ld_, 0.0f);
  sq_norms_[static_cast<std::size_t>(slot)] = errors_[static_cast<std::size_t>(slot)] = 0;
}

CentredPoints::View CentredPoints::view(std::int64_t rows) const {
  return {.count = whole_groups(rows, source_.row_group()),
          .values = values_.data(),
          .sq_norms = sq_norms_.data(),
          .errors = errors_.data()};
}

CentredPoints::View CentredPoints::gather(const std::int32_t* chosen, std::int64_t count) {
  gathered_.resize(capacity_ * ld_);
  gathered_sq_norms_.resize(sq_norms_.size());
  gathered_errors_.resize(sq_norms_.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const auto from = static_cast<std::size_t>(chosen[i]), to = static_cast<std::size_t>(i);
    std::copy_n(values_.begin() + chosen[i] * ld_, ld_, gathered_.data() + i * ld_);
    gathered_sq_norms_[to] = sq_norms_[from];
    gathered_errors_[to] = errors_[from];
  }
  return {.count = whole_groups(count, source_.row_group()),
          .values = gathered_.data(),
          .sq_norms = gathered_sq_norms_.data(),
          .errors = gathered_errors_.data()};
}

std::int64_t CentredPoints::scan(const View& view, const Panels& panels, std::int64_t panel, const float* thresholds,
                                 const ScanOut& out) const {
  const std::int64_t d = source_.centroids.d;
  return source_.kernels.scan({.points = view.values,
                               .ld = ld_,
                               .rows = view.count,
                               .d = d,
                               .panel = panels.panel(panel, d),
                               .starts = panels.starts_of(panel),
                               .thresholds = thresholds,
                               .out = out});
}

SketchedPoints::SketchedPoints(const Source& source, std::int64_t capacity)
    : source_(source),
      capacity_(capacity + kPadding),
      ld_(source.centroids.ld),
      size_(source.sketcher.size()),
      sketches_(source.kept ? source.kept : &own_),
      work_(static_cast<std::size_t>(size_)) {
  if (!source.kept) own_.resize(capacity_, source.sketcher.shape());
}

void SketchedPoints::describe(const float* row, std::int64_t slot) {
  const std::int64_t at = offset_ + slot;
  const RowSketch sketch =
      source_.sketcher.sketch(row, source_.centroids.mu.data(), ld_, work_.data(), sketches_->q.data() + at * size_);
  sketches_->scales.data()[at] = sketch.scale;
  sketches_->sums.data()[at] = sketch.sum;
  const FilterBound::Point known = source_.bound.point(source_.sketcher.bound(sketch));
  sketches_->sq_norms.data()[at] = known.sq_norm;
  sketches_->errors.data()[at] = known.error;
}

void SketchedPoints::clear(std::int64_t slot) {
  const std::int64_t at = offset_ + slot;
  std::fill_n(sketches_->q.data() + at * size_, size_, std::int8_t{0});
  sketches_->sums.data()[at] = 0;
  sketches_->scales.data()[at] = sketches_->sq_norms.data()[at] = sketches_->errors.data()[at] = 0;
}

SketchedPoints::View SketchedPoints::view_of(const Sketches& sketches, std::int64_t first, std::int64_t rows) const {
  return {.count = whole_groups(rows, source_.row_group()),
          .values = sketches.q.data() + first * size_,
          .sq_norms = sketches.sq_norms.data() + first,
          .errors = sketches.errors.data() + first,
          .scales = sketches.scales.data() + first,
          .sums = sketches.sums.data() + first};
}

SketchedPoints::View SketchedPoints::gather(const std::int32_t* chosen, std::int64_t count) {
  gathered_.resize(capacity_, source_.sketcher.shape());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t from = offset_ + chosen[i];
    std::copy_n(sketches_->q.data() + from * size_, size_, gathered_.q.data() + i * size_);
    gathered_.scales.data()[i] = sketches_->scales.data()[from];
    gathered_.sums.data()[i] = sketches_->sums.data()[from];
    gathered_.sq_norms.data()[i] = sketches_->sq_norms.data()[from];
    gathered_.errors.data()[i] = sketches_->errors.data()[from];
  }
  return view_of(gathered_, 0, count);
}

std::int64_t SketchedPoints::scan(const View& view, const Panels& panels, std::int64_t panel, const float* thresholds,
                                  const ScanOut& out) const {
  return source_.kernels.sketch->scan({.points = view.values,
                                       .size = size_,
                                       .rows = view.count,
                                       .scales = view.scales,
                                       .sums = view.sums,
                                       .panel = panels.panel(panel, size_),
                                       .panel_scales = panels.scales.data() + panel * panels.width,
                                       .starts = panels.starts_of(panel),
                                       .thresholds = thresholds,
                                       .out = out});
}

}  // namespace fastkmeans::cpu
