// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

// The oracle: docs/algorithm.md as plain loops, one thread, no filter. Every other shard must match it bit for bit.
// rows lie on the host.
std::unique_ptr<Shard> make_scalar_shard(const Source& rows, const Metric& metric, Workers& workers);

}  // namespace fastkmeans
