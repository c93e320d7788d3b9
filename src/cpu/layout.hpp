// SPDX-License-Identifier: Apache-2.0
// How rows lie in memory: what all kernels count on, and how many rows a thread takes at a time.
#pragma once

#include <cstdint>

#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans::cpu {

// What kernels take in groups, rounded up to whole ones.
constexpr std::int64_t whole_groups(std::int64_t count, std::int64_t group) {
  return (count + group - 1) / group * group;
}

// Rows in fp32 start kPadding floats apart or a multiple of it, zero-filled: no kernel has a remainder loop, and zeros
// change no bit of D (fma(0, 0, s) = s for s >= 0). 16: the widest vector.
inline constexpr std::int64_t kPadding = 16;
constexpr std::int64_t padded(std::int64_t d) { return whole_groups(d, kPadding); }

// Rows converted together by a thread: what half of the smallest L2 in use (512 KiB) holds, and not so many that a tile
// takes long.
inline constexpr std::int64_t kTileBytes = 256 << 10;
constexpr std::int64_t tile_rows(std::int64_t d, std::int64_t most = 128) {
  const std::int64_t fit = kTileBytes / (padded(d) * 4);
  return fit < 1 ? 1 : fit < most ? fit : most;
}

// Row i of x where it lies, or null if it must be converted or copied first: a float* must be aligned.
inline const float* row_in_place(const MatrixView& x, std::int64_t i) {
  constexpr std::int64_t kAligned = alignof(float);
  // mutant: in_place_if_stride_aligned
  if (x.dtype != DType::f32 || x.col_stride != 4 || x.row_stride % kAligned != 0 ||
      reinterpret_cast<std::uintptr_t>(x.data) % kAligned != 0)  // mutant: in_place_if_aligned
    return nullptr;
  return reinterpret_cast<const float*>(static_cast<const char*>(x.data) + i * x.row_stride);
}

}  // namespace fastkmeans::cpu
