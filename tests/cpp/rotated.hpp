// SPDX-License-Identifier: Apache-2.0
// What the kernels' rotation of a row should give.
#pragma once

#include <cmath>
#include <vector>

#include "sketch/rotation.hpp"

namespace fastkmeans::testing {

// The exact rotation, but for Real's own rounding: the signs of the factors, Sylvester's Hadamard matrices over the
// root of their size.
template <class Real>
std::vector<Real> rotated(const Rotation& rotation, std::vector<Real> y) {
  y.resize(static_cast<std::size_t>(rotation.size));
  for (const Rotation::Round& round : rotation.rounds) {
    for (std::size_t j = 0; j < y.size(); ++j) y[j] = round.factors[j] > 0 ? y[j] : -y[j];
    std::size_t first = 0;
    for (const std::int64_t block : round.blocks) {
      const auto size = static_cast<std::size_t>(block);
      for (std::size_t half = 1; half < size; half *= 2)
        for (std::size_t j = first; j < first + size; ++j)
          if (!((j - first) & half)) {
            const Real a = y[j], b = y[j + half];
            y[j] = a + b;
            y[j + half] = a - b;
          }
      for (std::size_t j = first; j < first + size; ++j) y[j] /= std::sqrt(static_cast<Real>(block));
      first += size;
    }
  }
  return y;
}

}  // namespace fastkmeans::testing
