// SPDX-License-Identifier: Apache-2.0
// FASTKMEANS_VERIFY=1: a shard that is checked by the scalar oracle as it works.
#pragma once

#include <memory>

#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

class Workers;

// The same shard; but after each assignment, 1,000 of its rows (drawn anew, by the number of the assignment) are looked
// up, and where the label or D is not the oracle's, a std::runtime_error names the row, both labels, both distances,
// the filter and the instruction set.
std::unique_ptr<Shard> verified(std::unique_ptr<Shard> shard, const Source& rows, const Metric& metric,
                                Workers& workers);

}  // namespace fastkmeans
