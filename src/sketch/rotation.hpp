// SPDX-License-Identifier: Apache-2.0
// A rotation of the rows before they become int8: it spreads a row's energy evenly over its elements, so that one scale
// serves all of them. Any orthogonal map keeps distances; this one costs about 2 log2(d) additions an element.
#pragma once

#include <cstdint>
#include <vector>

namespace fastkmeans {

// One or two rounds, each: y_j *= factor_j (a random sign over the root of the block's size), then y becomes its
// Hadamard transform, block by block. Blocks are powers of two; the second round has the same sizes in reverse order,
// which mixes across the blocks of the first.
struct Rotation {
  struct Round {
    std::vector<float> factors;        // (size)
    std::vector<std::int64_t> blocks;  // sizes, in order
  };
  std::int64_t size = 0;  // K: d rounded up; the elements from d on are zero before the rotation
  std::vector<Round> rounds;

  Rotation() = default;
  // size: d rounded up to a multiple of `granule`, a power of two.
  Rotation(std::int64_t d, std::int64_t granule);

  // |computed - exact| <= this times |a|, plus kUnderflow; a: the row before.
  double rounding() const;
  static constexpr double kUnderflow = 0x1p-130;  // size 2^-149 and less, below 2^19 elements
};

// A rotation as kernels read it, in their own memory.
struct RotationView {
  std::int64_t size;
  int rounds, block_count;
  const float* factors[2];        // (size) of each round
  const std::int64_t* blocks[2];  // (block_count) of each round
};

}  // namespace fastkmeans
