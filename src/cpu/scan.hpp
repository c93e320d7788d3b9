// SPDX-License-Identifier: Apache-2.0
// What the scans take and give: scores of the rows of a tile, and who passed.
#pragma once

#include <cstdint>

namespace fastkmeans::cpu {

// A row of which a score passed.
struct Hit {
  std::int32_t row;
  std::uint32_t passed;  // bit v: score v of the row is >= the threshold; panel_width <= 32
};

// What a scan of a tile of rows against one panel of centroids gives.
struct ScanOut {
  float* scores;  // (hits, width of the panel): the scores of the rows with a score >= their threshold
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

// The same in int8: S = start + scale * panel_scale * <q, q'>. A panel may be half as wide.
struct SketchScan {
  const std::int8_t* points;  // q, (rows, size)
  std::int64_t size, rows;    // rows: a multiple of SketchKernels::row_group
  const float* scales;        // (rows)
  const std::int32_t* sums;   // (rows) of q
  std::int64_t width;         // of the panel: panel_width, or half of it
  const std::uint8_t* panel;  // q' + panel_offset, (size / 4, width, 4)
  const float* panel_scales;  // (width)
  const float* starts;        // (width)
  const float* thresholds;    // (rows)
  ScanOut out;
};

// Rows of few dimensions: rows converted together, of which a multiple of kLowDimGroup is scored, and the number that
// the centroids are padded to a multiple of.
inline constexpr std::int64_t kLowDimRows = 256, kLowDimGroup = 64, kLowDimPadding = 4;

// Few rows in the lanes against all centroids.
struct LowDimScan {
  const float* columns;     // a = x - mu, (rows / kLowDimGroup, d, kLowDimGroup): what is read together fits L1
  std::int64_t rows, d, k;  // rows: a multiple of kLowDimGroup; k: of kLowDimPadding
  const float* centroids;   // b = c - mu, (k, d)
  const float* starts;      // (k)
  float* second;            // (rows) out: the second best score
  std::int32_t* who;        // (rows) out: who has the best
};

}  // namespace fastkmeans::cpu
