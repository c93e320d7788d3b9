// SPDX-License-Identifier: Apache-2.0
// How many centroids sketches of different widths would leave a row to refine: counted for a few rows, by the bound
// itself, with one direction more than the sketch will have, and the sketches' own rounding taken as typical. The
// planner chooses by it.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "numeric/centroids_view.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cpu {

// Rows of a sample less their centre, zero-filled.
struct CentredSample {
  std::int64_t count = 0, d = 0, ld = 0;
  Buffer<float> rows;              // (count, ld)
  std::vector<double> sq_lengths;  // (count)
  const float* row(std::int64_t i) const { return &rows[i * ld]; }
};

struct Survey {
  struct Width {
    std::int64_t size;   // elements of the sketch
    float typical_tail;  // the median length of what its head leaves
    double survivors;    // centroids a row, the nearest included
  };
  double full = 0;  // survivors of sketches of all dimensions
  std::vector<Width> narrow;
};

// sample: rows that the basis was not made of. sizes: ascending multiples of Products::kChunk; the last one may be more
// than the basis has directions. mu: (sample.ld). At most kCounted centroids are counted, spread evenly.
Survey survey(const CentredSample& sample, const Basis& basis, const std::vector<std::int64_t>& sizes,
              CentroidsView centroids, const float* mu, const Kernels& kernels, Workers& workers);

}  // namespace fastkmeans::cpu
