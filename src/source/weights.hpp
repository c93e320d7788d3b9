// SPDX-License-Identifier: Apache-2.0
// The caller's weights as the integers that the core counts with (docs/algorithm.md section 8).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fastkmeans {

class Workers;

struct IntegerWeights {
  std::vector<std::int64_t> values;  // (n) from 0 on, 2^40 in all; empty: each row counts once
  int exponent = 0;                  // the caller's, times 2^exponent, and rounded
};

// weights: (n), or empty. std::invalid_argument: one is negative or not finite, or none is above 0.
IntegerWeights integer_weights(std::span<const double> weights, Workers& workers);

}  // namespace fastkmeans
