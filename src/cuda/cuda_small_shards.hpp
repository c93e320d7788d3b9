// SPDX-License-Identifier: Apache-2.0
// Many small problems on a CUDA device (small_shards.hpp): a block each, which iterates until its run is over.
#pragma once

#include <memory>
#include <span>

#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "small_shards.hpp"

namespace fastkmeans {
class Workers;
}

namespace fastkmeans::cuda {

// As fastkmeans::make_small_shards() of make_shard.hpp; of one problem or more, which small_shards_take().
std::unique_ptr<SmallShards> make_small_shards(std::span<const SmallProblem> problems, const Metric& metric,
                                               const Execution& execution, Workers& workers);

}  // namespace fastkmeans::cuda
