// SPDX-License-Identifier: Apache-2.0
// Labels and distances on their way to the host, or to where the caller wants them on the device.
#pragma once

#include <cstdint>

#include "cuda/device.hpp"
#include "numeric/metric.hpp"

namespace fastkmeans::cuda {

// Device memory: (n) of an assignment; D or L as stored.
struct RowResults {
  const std::int32_t* labels;
  const float* distances;
};

// (n) each; out: host memory; the metric's value().
void copy_labels(Device& device, const std::int32_t* labels, std::int64_t n, std::int64_t* out);
void copy_distances(Device& device, const Metric& metric, const float* distances, std::int64_t n, double* out);
// (n) each; out: device memory.
void widen_labels(Device& device, const std::int32_t* labels, std::int64_t n, std::int64_t* out);
// Of these rows alone; all but `results`: (count) host memory.
void look_up(Device& device, const std::int64_t* rows, std::int64_t count, const RowResults& results,
             std::int32_t* labels, float* distances);

}  // namespace fastkmeans::cuda
