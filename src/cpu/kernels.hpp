// SPDX-License-Identifier: Apache-2.0
// The inner loops of the CPU backend, one table of functions for each instruction set. The loops are written once, in
// kernels_inl.hpp; kernels_<isa>.cpp compiles them with that instruction set's flags.
#pragma once

#include <cstdint>

#include "fastkmeans/matrix_view.hpp"
#include "plan/costs.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cpu {

// Rows in fp32 start kPadding floats apart or a multiple of it, zero-filled: no kernel has a remainder loop, and zeros
// change no bit of D (fma(0, 0, s) = s for s >= 0). 16: the widest vector.
inline constexpr std::int64_t kPadding = 16;
constexpr std::int64_t padded(std::int64_t d) { return (d + kPadding - 1) / kPadding * kPadding; }

struct Hit {
  std::int32_t row;
  std::uint32_t passed;  // bit v: score v of the row is >= the threshold; panel_width <= 32
};

// Rows converted together by a thread: what half of the smallest L2 in use (512 KiB) holds, and not so many that a tile
// takes long.
inline constexpr std::int64_t kTileBytes = 256 << 10;
constexpr std::int64_t tile_rows(std::int64_t d, std::int64_t most = 128) {
  const std::int64_t fit = kTileBytes / (padded(d) * 4);
  return fit < 1 ? 1 : fit < most ? fit : most;
}

// What a scan of a tile of rows against one panel of centroids gives.
struct ScanOut {
  float* scores;  // (hits, panel_width): the scores of the rows with a score >= their threshold
  Hit* hits;      // those rows, ascending
  float* best;    // (rows) the best score of each row, or null if nobody wants them
};

// The scan in fp32.
struct Scan {
  const float* points;       // a = x - mu, (rows, ld)
  std::int64_t ld, rows, d;  // rows: a multiple of Kernels::row_group
  const float* panel;        // b = c - mu, (d, panel_width)
  const float* starts;       // (panel_width)
  const float* thresholds;   // (rows)
  ScanOut out;
};

// The same in int8: S = start + scale * panel_scale * <q, q'>.
struct SketchScan {
  const std::int8_t* points;  // q, (rows, size)
  std::int64_t size, rows;    // rows: a multiple of SketchKernels::row_group
  const float* scales;        // (rows)
  const std::int32_t* sums;   // (rows) of q
  const std::uint8_t* panel;  // q' + panel_offset, (size / 4, panel_width, 4)
  const float* panel_scales;  // (panel_width)
  const float* starts;        // (panel_width)
  const float* thresholds;    // (rows)
  ScanOut out;
};

// Rows of few dimensions: rows converted together, of which a multiple of kNarrowGroup is scored, and the number that
// the centroids are padded to a multiple of.
inline constexpr std::int64_t kNarrowRows = 256, kNarrowGroup = 64, kNarrowPadding = 4;

// Few rows in the lanes against all centroids.
struct NarrowScan {
  const float* columns;     // a = x - mu, (d, kNarrowRows)
  std::int64_t rows, d, k;  // rows: a multiple of kNarrowGroup; k: of kNarrowPadding
  const float* centroids;   // b = c - mu, (k, d)
  const float* starts;      // (k)
  float* second;            // (rows) out: the second best score
  std::int32_t* who;        // (rows) out: who has the best
};

// A Rotation (src/sketch) as plain pointers.
struct RotationView {
  std::int64_t size;
  int rounds, block_count;
  const float* factors[2];        // (size) of each round
  const std::int64_t* blocks[2];  // (block_count) of each round
};

// A row in int8: scale * q + an error = y, the rotated row. fp32 sums, good to a relative size 2^-24.
struct RowSketch {
  float scale;       // largest |y| / levels, or 0
  std::int32_t sum;  // of q
  double sq_sum;     // of q^2, exact
  double sq_error;   // |y - scale q|^2
  double sq_length;  // |x - mu|^2
};

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

// Row i of x where it lies, or null if it must be converted or copied first: a float* must be aligned.
inline const float* row_in_place(const MatrixView& x, std::int64_t i) {
  constexpr std::int64_t kAligned = alignof(float);
  if (x.dtype != DType::f32 || x.col_stride != 4 || x.row_stride % kAligned != 0 ||
      reinterpret_cast<std::uintptr_t>(x.data) % kAligned != 0)
    return nullptr;
  return reinterpret_cast<const float*>(static_cast<const char*>(x.data) + i * x.row_stride);
}

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
  // As fixed_point.hpp's add_row; n = d, lo_inverse and lo null with one limb.
  void (*add_row)(const float* x, std::int64_t n, std::int64_t sign, const double* inverse, const double* grain,
                  const double* lo_inverse, std::uint64_t* hi, std::uint64_t* lo);

  // Columns of rows - mu, (d, kNarrowRows), and their squared norms; count: a multiple of kPadding.
  void (*to_columns)(const float* rows, std::int64_t ld, std::int64_t count, std::int64_t d, const float* mu,
                     float* columns, float* sq_norms);
  void (*nearest_two)(const NarrowScan& scan);
  // The least score of a centroid with D <= distance; n: a multiple of kPadding.
  void (*thresholds)(const float* distances, const float* sq_norms, std::int64_t n, const FilterBound::Narrow& bound,
                     float* out);

  // With drift bounds (docs/algorithm.md section 6.5), n rows; the arrays hold n rounded up to kPadding.
  // Those rows whose bound least - drift does not exceed their radius; returns how many.
  std::int64_t (*choose)(const float* least, float drift, const float* radii, std::int64_t n, std::int32_t* rows);
  // least = drift + sqrt((head - 2 best - underflow) factor) - reach, rounded down: see FilterBound.
  void (*least_radii)(const float* best, const float* heads, const float* reaches, float underflow, float factor,
                      float drift, std::int64_t n, float* least);

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
