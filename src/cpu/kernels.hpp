// SPDX-License-Identifier: Apache-2.0
// The inner loops of the CPU backend, one table of functions for each instruction set. The loops are written once, in
// kernels_inl.hpp; kernels_<isa>.cpp compiles them with that instruction set's flags.
#pragma once

#include <cstdint>

#include "fastkmeans/matrix_view.hpp"

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

// A tile of points against one panel of centroids.
struct Scan {
  const float* points;       // a = x - mu, (rows, ld)
  std::int64_t ld, rows, d;  // rows: a multiple of Kernels::row_group
  const float* panel;        // b = c - mu, (d, panel_width)
  const float* start;        // (panel_width)
  const float* thresholds;   // (rows)
  float* scores;             // out: (hits, panel_width), the scores of the rows with a score >= their threshold
  Hit* hits;                 // out: those rows, ascending
};

struct Kernels {
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
};

extern const Kernels kBaselineKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace fastkmeans::cpu
