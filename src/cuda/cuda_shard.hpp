// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"

namespace fastkmeans {
class Workers;
}

namespace fastkmeans::cuda {

// A shard on CUDA device `number`. rows: on the host or on that device. The arguments must outlive it.
std::unique_ptr<Shard> make_shard(int number, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers);

}  // namespace fastkmeans::cuda
