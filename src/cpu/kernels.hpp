// SPDX-License-Identifier: Apache-2.0
// The inner loops of the CPU, one table of functions for each instruction set. The loops are written once, in
// the *_inl.hpp; kernels_<isa>.cpp compiles them with that instruction set's flags.
#pragma once

#include <cstdint>

#include "cpu/layout.hpp"
#include "cpu/scan.hpp"
#include "plan/costs.hpp"
#include "sketch/bound.hpp"
#include "sketch/lower_bound.hpp"
#include "sketch/rotation.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans::cpu {

// The int8 kernels of an instruction set.
struct SketchKernels {
  std::int64_t row_group;    // rows scored together
  std::int64_t granule;      // sizes are multiples of this
  int levels, panel_offset;  // |q| <= levels; what is added to the panel's elements

  // row: (n), n <= rotation.size, both multiples of kPadding; work: (size) floats; q: (size) out.
  RowSketch (*sketch_row)(const float* row, const float* mu, std::int64_t n, const RotationView& rotation, float* work,
                          std::int8_t* q);
  // Returns the number of hits.
  std::int64_t (*scan)(const SketchScan& scan);
};

struct Kernels {
  Costs costs;               // what the planner believes (plan/tuning)
  std::int64_t panel_width;  // centroids scored together
  std::int64_t row_group;    // points scored together

  // Rows [first, first + count) of x as fp32, out (count, ld), zeros from column d on.
  void (*load_rows)(const MatrixView& x, std::int64_t first, std::int64_t count, float* out, std::int64_t ld);
  // Largest magnitude_bits of n values.
  std::uint32_t (*largest_bits)(const float* values, std::int64_t n);
  // most[j] = max(most[j], magnitude_bits(row[j])).
  void (*raise_bits)(const float* row, std::int64_t n, std::uint32_t* most);
  // centred = row - mu; returns its squared norm as an fp64 sum. n a multiple of kPadding.
  double (*centre)(const float* row, const float* mu, std::int64_t n, float* centred);
  // Returns the number of hits.
  std::int64_t (*scan)(const Scan& scan);
  // D of rows padded to n.
  float (*distance)(const float* x, const float* c, std::int64_t n);
  // L, the negative of the inner product, likewise.
  float (*negated_product)(const float* x, const float* c, std::int64_t n);
  // As fixed_point.hpp's add_row; n = d, lo_inverse and lo null with one limb.
  void (*add_row)(const float* x, std::int64_t n, std::int64_t sign, const double* inverse, const double* grain,
                  const double* lo_inverse, std::uint64_t* hi, std::uint64_t* lo);

  // Columns of rows - mu, as LowDimScan has them, and their squared norms; count: a multiple of kLowDimGroup; rows and
  // mu are padded.
  void (*to_columns)(const float* rows, std::int64_t stride, std::int64_t count, std::int64_t d, const float* mu,
                     float* columns, float* sq_norms);
  void (*nearest_two)(const LowDimScan& scan);
  // The least score of a centroid with D <= distance; n: a multiple of kPadding.
  void (*thresholds)(const float* distances, const float* sq_norms, std::int64_t n, const FilterBound::LowDim& bound,
                     float* out);

  // Of lower bounds (docs/filter.md section 6.5), n rows; the arrays hold n rounded up to kPadding.
  // Those rows that excludes(lower, drift, radius inverse_unit) does not leave out; returns how many.
  std::int64_t (*choose)(const StoredBound* lower, std::int32_t drift, float inverse_unit, const float* radii,
                         std::int64_t n, std::int32_t* rows);
  // lower = stored_bound(bound inverse_unit, drift) of bound = sqrt((sq_norm - 2 best - underflow) factor) - error,
  // rounded down: see FilterBound.
  void (*lower_bounds)(const float* best, const float* sq_norms, const float* errors, float underflow, float factor,
                       float inverse_unit, std::int32_t drift, std::int64_t n, StoredBound* lower);

  const SketchKernels* sketch;  // null: no int8 here
};

extern const Kernels kBaselineKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kAmxInt8Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonDotprodKernels;
#endif

}  // namespace fastkmeans::cpu
