// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend.hpp"

namespace fastkmeans {

// The oracle: docs/algorithm.md as plain loops, one thread, no filter. Every other backend must match it bit for bit.
std::unique_ptr<Backend> make_scalar_backend(Workers& workers);

// D of one pair as the rules state it, dimension by dimension; `factor` is 1, or kTinyScale for scaled pairs.
float scalar_distance(const float* x, const float* c, std::int64_t d, float factor);

}  // namespace fastkmeans
