// SPDX-License-Identifier: Apache-2.0
// Rows with few directions and their exact projections, for the tests of narrow sketches.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "sketch/basis.hpp"
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

// f / sqrt(1 + excess) of a row less the centre, which lengthens no difference, but for Real's own rounding: what a
// projection to size - 1 directions and the length of the tail should give (docs/filter.md section 6.8).
template <class Real>
std::vector<Real> exact_projection(const Basis& basis, std::int64_t size, const float* x, const float* centre) {
  std::vector<Real> z(static_cast<std::size_t>(size));
  Real rest = 0;
  for (std::int64_t j = 0; j < basis.d; ++j) {
    const Real at = static_cast<Real>(x[j]) - static_cast<Real>(centre[j]);
    rest += at * at;
    for (std::int64_t a = 0; a < std::min(basis.directions, size - 1); ++a)
      z[static_cast<std::size_t>(a)] +=
          at * static_cast<Real>(basis.w[static_cast<std::size_t>(j * basis.directions + a)]);
  }
  for (std::size_t a = 0; a + 1 < z.size(); ++a) {
    z[a] /= std::sqrt(1 + static_cast<Real>(basis.excess));
    rest -= z[a] * z[a];
  }
  z.back() = std::sqrt(std::max(Real{0}, rest));
  return z;
}

}  // namespace fastkmeans::testing
