// SPDX-License-Identifier: Apache-2.0
// The directions in which a sample of rows differs most from its centre, found on the device.
#pragma once

#include <cstdint>

#include "cuda/device.hpp"
#include "sketch/basis.hpp"

namespace fastkmeans::cuda {

// At most `directions` of them, the leading ones first: random combinations of the sample's rows, all brought to one
// length so that outliers do not decide, after one step of power iteration (Halko, Martinsson and Tropp, "Finding
// structure with randomness", SIAM Review 53, 2011, algorithm 4.3), made orthonormal. Zeros where the sample does not
// differ in so many. sample: (count, d), centre: (d), device memory; bad rows are left out.
Basis principal_directions(Device& device, const float* sample, std::int64_t count, std::int64_t d, const float* centre,
                           std::int64_t directions);

}  // namespace fastkmeans::cuda
