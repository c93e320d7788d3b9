// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {

class Workers;

// A shard of these rows on the hardware that the execution asks for ("": FASTKMEANS_ISA, else the best there is);
// std::runtime_error if it cannot be had. With FASTKMEANS_VERIFY=1 each of its assignments is checked. The arguments
// must outlive it.
std::unique_ptr<Shard> make_shard(const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers);

}  // namespace fastkmeans
