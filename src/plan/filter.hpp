// SPDX-License-Identifier: Apache-2.0
// The filters by name, and the one that a caller forces.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "plan/costs.hpp"

namespace fastkmeans {

// low_dim: fp32 for rows of few dimensions, with all done in the lanes and no labels used. narrow: int8, with sketches
// of fewer elements than rows have dimensions.
enum class Filter { fp32, low_dim, int8, narrow };

// finished: another one, if the first was begun and given up.
std::string_view name_of(Filter filter, std::optional<Filter> finished = std::nullopt);

// A filter, and whether lower bounds are kept.
struct Choice {
  Filter filter = Filter::fp32;
  bool bounds = false;
};

// The name of the filter that a caller forces: Execution::filter, or if that is empty, FASTKMEANS_FILTER; "": none.
std::string forced_filter(const std::string& wanted);

// wanted: as forced_filter() takes it, that is fp32, low_dim, int8, narrow, fp32_bounds, int8_bounds or narrow_bounds.
// std::runtime_error: unknown, or this hardware has no int8.
std::optional<Choice> forced_choice(const std::string& wanted, const Costs& costs);

}  // namespace fastkmeans
