// SPDX-License-Identifier: Apache-2.0
// mu, the centre that the filter takes from rows and centroids: the coordinate-wise median of a few rows. Any vector is
// valid, a central one makes the bound tight; a mean would be dragged away by one outlier.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/workers.hpp"

namespace fastkmeans {

// One row in 32, at most kCentreRows, spread evenly. Long rows are fewer, a sixteenth of kMostScratch in all.
inline constexpr std::int64_t kCentreRows = 128;  // its noise adds about 1 % to |x - mu|^2; more rows slow small fits
inline std::int64_t centre_rows(std::int64_t n, std::int64_t d) {
  const std::int64_t most = std::min(kCentreRows, kMostScratch / 16 / (4 * d));
  return std::min(n, std::clamp<std::int64_t>(n / 32, 1, most));
}

// rows: (count, d); returns (d). Elements that make a row bad are passed over: nobody has refused it yet. Where none is
// left, 0.
std::vector<float> central_row(const std::vector<float>& rows, std::int64_t count, std::int64_t d, Workers& workers);

}  // namespace fastkmeans
