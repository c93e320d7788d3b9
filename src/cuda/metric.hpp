// SPDX-License-Identifier: Apache-2.0
// The metrics (numeric/metric.hpp) on the device: how a row is taken, and where centroids go.
#pragma once

#include <cstdint>

#include "cuda/device.hpp"
#include "cuda/sums.hpp"
#include "numeric/centroid_rule.hpp"
#include "numeric/metric.hpp"

namespace fastkmeans::cuda {

// rows: (count, d) in place, without gaps; rows that no distance can be taken of stay as they are.
void take_rows(Device& device, const Metric& metric, float* rows, std::int64_t count, std::int64_t d);

// out: (k, d) the centroids of these sums; clusters without weight stay where they were before, as those that the
// rule says. *empty grows by the clusters that have no rows of weight.
void new_centroids(Device& device, const Metric& metric, const CentroidRule& rule, const SumsView& sums,
                   const ScaleView& scale, const float* before, float* out, Integer* empty);

}  // namespace fastkmeans::cuda
