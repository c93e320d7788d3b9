// SPDX-License-Identifier: Apache-2.0
// Which problems of a batch are fitted side by side, and which in lockstep.
#pragma once

#include <cstdint>

namespace fastkmeans {

// Whether a problem is one thread's, beside others. products: multiply-adds of an assignment of it, and of all
// problems; bytes_there: of its rows, if they lie on a CUDA device, which would fit one problem after the other; else
// 0.
bool is_small(double products, double of_all, int threads, std::int64_t bytes_there);

// Whether a CUDA device that has the rows of so many problems fits one of them in lockstep with the others.
bool is_for_lockstep(double products, std::int64_t problems);

}  // namespace fastkmeans
