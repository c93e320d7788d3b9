// SPDX-License-Identifier: Apache-2.0
#include "cpu/points.hpp"

#include <algorithm>
#include <cmath>

namespace fastkmeans::cpu {

void CentredPoints::Arrays::resize(std::int64_t capacity, std::int64_t ld) {
  values.resize(capacity * ld);
  sq_norms.resize(padded(capacity));  // kernels read whole vectors
  errors.resize(padded(capacity));
}

CentredPoints::CentredPoints(const Shared& shared, std::int64_t capacity)
    : shared_(shared), capacity_(capacity), ld_(shared.centroids.ld) {
  own_.resize(capacity_, ld_);
}

void CentredPoints::describe(const float* row, std::int64_t slot) {
  const double sq_norm = shared_.kernels.centre(row, shared_.centroids.mu.data(), ld_, &own_.values[slot * ld_]);
  const FilterBound::Point known = shared_.bound.point({.sq_norm = sq_norm, .error = kCentring * std::sqrt(sq_norm)});
  own_.sq_norms[slot] = known.sq_norm;
  own_.errors[slot] = known.error;
}

void CentredPoints::clear(std::int64_t slot) {
  std::fill_n(&own_.values[slot * ld_], ld_, 0.0f);
  own_.sq_norms[slot] = own_.errors[slot] = 0;
}

CentredPoints::View CentredPoints::gather(const std::int32_t* chosen, std::int64_t count) {
  gathered_.resize(capacity_, ld_);
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(&own_.values[chosen[i] * ld_], ld_, &gathered_.values[i * ld_]);
    gathered_.sq_norms[i] = own_.sq_norms[chosen[i]];
    gathered_.errors[i] = own_.errors[chosen[i]];
  }
  return {gathered_, 0, whole_groups(count, shared_.row_group())};
}

std::int64_t CentredPoints::scan(const View& view, std::int64_t panel, const float* thresholds,
                                 const ScanOut& out) const {
  const std::int64_t d = shared_.centroids.d;
  return shared_.kernels.scan({.points = &view.arrays.values[view.first * ld_],
                               .ld = ld_,
                               .rows = view.count,
                               .d = d,
                               .panel = shared_.panels.panel(panel, d),
                               .starts = shared_.panels.starts_of(panel),
                               .thresholds = thresholds,
                               .out = out});
}

SketchedPoints::SketchedPoints(const Shared& shared, std::int64_t capacity)
    : shared_(shared),
      capacity_(capacity + kPadding),
      size_(shared.sketcher.size()),
      sketches_(shared.kept ? shared.kept : &own_) {
  if (!shared.kept) own_.resize(capacity_, size_);
}

void SketchedPoints::describe(const float* row, std::int64_t slot) {
  slots_[waiting_] = slot;
  rows_[waiting_++] = row;
  if (waiting_ == Sketcher::kBatch) described_all();
}

void SketchedPoints::described_all() {
  const CentroidRows& centroids = shared_.centroids;
  std::int8_t* q[Sketcher::kBatch];
  Sketcher::Row out[Sketcher::kBatch];
  for (std::int64_t i = 0; i < waiting_; ++i) q[i] = &sketches_->q[(offset_ + slots_[i]) * size_];
  shared_.sketcher.sketch(rows_, waiting_, centroids.mu.data(), centroids.ld, scratch_, q, out);
  for (std::int64_t i = 0; i < waiting_; ++i) {
    const std::int64_t at = offset_ + slots_[i];
    const FilterBound::Point known = shared_.bound.point(out[i].size);
    sketches_->scales[at] = out[i].sketch.scale;
    sketches_->sums[at] = out[i].sketch.sum;
    sketches_->sq_norms[at] = known.sq_norm;
    sketches_->errors[at] = known.error;
  }
  waiting_ = 0;  // mutant: rows_waiting
}

void SketchedPoints::clear(std::int64_t slot) {
  const std::int64_t at = offset_ + slot;
  std::fill_n(&sketches_->q[at * size_], size_, std::int8_t{0});
  sketches_->sums[at] = 0;
  sketches_->scales[at] = sketches_->sq_norms[at] = sketches_->errors[at] = 0;
}

SketchedPoints::View SketchedPoints::gather(const std::int32_t* chosen, std::int64_t count) {
  gathered_.resize(capacity_, size_);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t from = offset_ + chosen[i];
    std::copy_n(&sketches_->q[from * size_], size_, &gathered_.q[i * size_]);
    gathered_.scales[i] = sketches_->scales[from];
    gathered_.sums[i] = sketches_->sums[from];
    gathered_.sq_norms[i] = sketches_->sq_norms[from];
    gathered_.errors[i] = sketches_->errors[from];
  }
  const std::int64_t whole = whole_groups(count, shared_.row_group());
  std::fill_n(&gathered_.sums[count], whole - count, 0);  // kernels multiply them: what lay there would overflow
  return {gathered_, 0, whole};
}

std::int64_t SketchedPoints::scan(const View& view, std::int64_t panel, const float* thresholds,
                                  const ScanOut& out) const {
  const SketchPanels& panels = shared_.panels;
  return shared_.kernels.sketch->scan({.points = &view.arrays.q[view.first * size_],
                                       .size = size_,
                                       .rows = view.count,
                                       .scales = &view.arrays.scales[view.first],
                                       .sums = &view.arrays.sums[view.first],
                                       .width = panels.width,
                                       .panel = panels.panel(panel, size_),
                                       .panel_scales = panels.scales.data() + panel * panels.width,
                                       .starts = panels.starts_of(panel),
                                       .thresholds = thresholds,
                                       .out = out});
}

}  // namespace fastkmeans::cpu
