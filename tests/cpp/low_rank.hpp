// SPDX-License-Identifier: Apache-2.0
// Rows with few directions, for the tests of narrow sketches.
#pragma once

#include <random>

#include "testing.hpp"

namespace fastkmeans::testing {

inline std::vector<float> normals(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = normal(generator);
  return values;
}

// n rows in `rank` dimensions of d, and noise.
inline Matrix low_rank(std::int64_t n, std::int64_t d, std::int64_t rank, float noise) {
  const std::vector<float> basis = normals(rank * d, 1), in = normals(n * rank, 2), off = normals(n * d, 3);
  Matrix x(n, d);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < d; ++j) {
      float sum = noise * off[static_cast<std::size_t>(i * d + j)];
      for (std::int64_t r = 0; r < rank; ++r)
        sum += in[static_cast<std::size_t>(i * rank + r)] * basis[static_cast<std::size_t>(r * d + j)];
      x.row(i)[j] = sum;
    }
  return x;
}

}  // namespace fastkmeans::testing
