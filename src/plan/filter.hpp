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

// name: Execution::filter, that is fp32, low_dim, int8, narrow, fp32_bounds, int8_bounds, narrow_bounds, or "":
// FASTKMEANS_FILTER, and if that is empty too, nothing is forced. std::runtime_error: unknown, or this hardware has no
// int8.
std::optional<Choice> forced_choice(const std::string& name, const Costs& costs);

}  // namespace fastkmeans
