// SPDX-License-Identifier: Apache-2.0
#include "plan/filter.hpp"

#include <stdexcept>

#include "runtime/os.hpp"

namespace fastkmeans {

std::string_view name_of(Filter filter, std::optional<Filter> finished) {
  switch (filter) {
    case Filter::narrow: return !finished ? "narrow" : *finished == Filter::int8 ? "narrow+int8" : "narrow+fp32";
    case Filter::int8: return finished ? "int8+fp32" : "int8";
    case Filter::low_dim: return finished ? "low_dim+fp32" : "low_dim";
    case Filter::fp32: break;
  }
  return "fp32";
}

std::string forced_filter(const std::string& wanted) {
  return wanted.empty() ? os::environment("FASTKMEANS_FILTER") : wanted;
}

std::optional<Choice> forced_choice(const std::string& wanted, const Costs& costs) {
  const std::string name = forced_filter(wanted);
  if (name.empty()) return std::nullopt;
  Choice choice;
  constexpr std::string_view kBounds = "_bounds";
  choice.bounds = name.ends_with(kBounds);
  const std::string filter = choice.bounds ? name.substr(0, name.size() - kBounds.size()) : name;
  if (filter == "int8")
    choice.filter = Filter::int8;
  else if (filter == "narrow")
    choice.filter = Filter::narrow;
  else if (filter == "low_dim" && !choice.bounds)
    choice.filter = Filter::low_dim;
  else if (filter != "fp32")
    throw std::runtime_error(
        "the filter (FASTKMEANS_FILTER) is '" + name +
        "'; it must be one of fp32, low_dim, int8, narrow, fp32_bounds, int8_bounds, narrow_bounds");
  if ((choice.filter == Filter::int8 || choice.filter == Filter::narrow) && costs.int8.element == 0)
    throw std::runtime_error("the filter '" + name + "' (FASTKMEANS_FILTER) is not available on this machine");
  return choice;
}

}  // namespace fastkmeans
