// SPDX-License-Identifier: Apache-2.0
// What callers must not ask for: std::invalid_argument names the parameter, its value and what is allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "fastkmeans/params.hpp"

namespace fastkmeans {

// Of a whole fit: labels of k <= n are int32; ExactSum's bins.
inline constexpr std::int64_t kMostRows = std::numeric_limits<std::int32_t>::max();
// The filter's rounding bound needs (d + 2) 2^-24 well below 1, and a group of rows must fit kMostScratch.
inline constexpr std::int64_t kMostDims = 1 << 19;

[[noreturn]] void refuse(const std::string& name, const std::string& value, const std::string& allowed);
void require_shape(const char* name, const MatrixView& x, std::int64_t least_rows = 1);
// Of initial centroids, or those of a prediction, which the CPU reads.
void require_on_host(const char* name, const MatrixView& x);
void require_execution(const Execution& execution);
// What metric and spherical say together.
MetricType required_metric(const std::optional<MetricType>& metric, bool spherical);
// What does not depend on the rows.
void require_options(const Params& params);
// Of a problem: its rows, k, how many weights there are, and its initial centroids or null.
void require_problem(const MatrixView& x, std::int64_t k, const MatrixView* init, std::size_t weights,
                     bool allow_fewer_rows);

}  // namespace fastkmeans
