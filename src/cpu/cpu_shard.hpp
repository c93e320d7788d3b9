// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cpu/dispatch.hpp"
#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans::cpu {

// Rows on the host, by filter and refine on all threads, with the kernels of an instruction set.
std::unique_ptr<Shard> make_shard(const Isa& isa, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers);

}  // namespace fastkmeans::cpu
