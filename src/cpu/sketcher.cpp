// SPDX-License-Identifier: Apache-2.0
#include "cpu/sketcher.hpp"

#include <algorithm>

namespace fastkmeans::cpu {

Rotated::Rotated(std::int64_t d, const SketchKernels& kernels)
    : rotation_(d, kernels.granule), rounding_(rotation_.rounding() + kSketchRounding) {
  view_.size = rotation_.size;
  view_.rounds = static_cast<int>(rotation_.rounds.size());
  view_.block_count = static_cast<int>(rotation_.rounds[0].blocks.size());
  for (std::size_t r = 0; r < rotation_.rounds.size(); ++r) {
    view_.factors[r] = rotation_.rounds[r].factors.data();
    view_.blocks[r] = rotation_.rounds[r].blocks.data();
  }
}

void FullSketcher::sketch(const float* const* rows, std::int64_t count, const float* mu, std::int64_t ld,
                          Scratch& scratch, std::int8_t* const* q, Row* out) const {
  scratch.rotated.resize(size());
  for (std::int64_t i = 0; i < count; ++i) {
    out[i].sketch = kernels_.sketch_row(rows[i], mu, ld, rotation_.view(), scratch.rotated.data(), q[i]);
    out[i].size = size_of(out[i].sketch, size(), rotation_.rounding());
  }
}

PackedMatrix packed(const Basis& basis, std::int64_t columns, const Kernels& kernels) {
  return {basis.d, columns, kernels.panel_width,
          [&](std::int64_t i, std::int64_t j) { return basis.w[static_cast<std::size_t>(i * basis.directions + j)]; }};
}

NarrowSketcher::NarrowSketcher(const Basis& basis, std::int64_t size, float typical_tail, const Kernels& kernels)
    : size_(size),
      used_(std::min(basis.directions, size - 1)),
      kernels_(kernels),
      w_(packed(basis, used_, kernels)),
      bound_(basis, used_, Products::roundings(basis.d)),
      rotation_(size, *kernels.sketch),
      offsets_(static_cast<std::size_t>(size)) {
  offsets_.back() = typical_tail;
}

void NarrowSketcher::sketch(const float* const* rows, std::int64_t count, const float* mu, std::int64_t ld,
                            Scratch& scratch, std::int8_t* const* q, Row* out) const {
  scratch.rotated.resize(size_);
  scratch.centred.resize(kBatch * ld);
  scratch.projected.resize(kBatch * size_);
  double sq_lengths[kBatch];
  for (std::int64_t i = 0; i < count; ++i) sq_lengths[i] = kernels_.centre(rows[i], mu, ld, &scratch.centred[i * ld]);
  const std::int64_t whole = whole_groups(count, kernels_.row_group);
  std::fill_n(&scratch.centred[0] + count * ld, (whole - count) * ld, 0.0f);
  Products(kernels_, whole).multiply(&scratch.centred[0], ld, whole, w_, used_, &scratch.projected[0], size_);
  for (std::int64_t i = 0; i < count; ++i) {
    float* z = &scratch.projected[i * size_];
    std::fill(z + used_, z + size_, 0.0f);
    double sq_head = 0;
    for (std::int64_t j = 0; j < used_; ++j) sq_head += static_cast<double>(z[j]) * static_cast<double>(z[j]);
    const ProjectionBound::Tail tail = bound_.tail(sq_lengths[i], sq_head);
    z[size_ - 1] = tail.norm;
    out[i].sketch =
        kernels_.sketch->sketch_row(z, offsets_.data(), size_, rotation_.view(), scratch.rotated.data(), q[i]);
    out[i].size = size_of(out[i].sketch, size_, rotation_.rounding());
    out[i].size.error += tail.error;  // mutant: projection_error
  }
}

}  // namespace fastkmeans::cpu
