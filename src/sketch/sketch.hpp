// SPDX-License-Identifier: Apache-2.0
// Sketches: short stand-ins of rows, in int8 with one scale for each row, whose scores bound distances (bound.hpp).
#pragma once

#include <cstdint>

#include "runtime/buffer.hpp"

namespace fastkmeans {

// What a sketch q (size) says of its row: scale * q + an error = y, the rotated row. fp32 sums, good to a relative size
// 2^-24.
struct RowSketch {
  float scale;       // largest |y| / levels, or 0
  std::int32_t sum;  // of q
  double sq_sum;     // of q^2, exact
  double sq_error;   // |y - scale q|^2
  double sq_length;  // |x - mu|^2
};

// The sketches of many rows, as a scan reads them.
struct Sketches {
  Buffer<std::int8_t> q;           // (count, size)
  Buffer<float> scales;            // (count)
  Buffer<std::int32_t> sums;       // (count)
  Buffer<float> sq_norms, errors;  // (count) FilterBound::Point of each

  void resize(std::int64_t count, std::int64_t size) {
    q.resize(count * size);
    scales.resize(count);
    sums.resize(count);
    sq_norms.resize(count);
    errors.resize(count);
  }
};

}  // namespace fastkmeans
