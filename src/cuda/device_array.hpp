// SPDX-License-Identifier: Apache-2.0
// A source (source/source.hpp) of rows in the memory of a CUDA device.
#pragma once

#include <memory>
#include <string>

#include "fastkmeans/params.hpp"
#include "source/source.hpp"

namespace fastkmeans::cuda {

// x: x.cuda_device says where it lies. weights: (n) in host memory, or null; they must outlive it.
std::unique_ptr<Source> device_array(const MatrixView& x, const std::int64_t* weights, const Execution& execution,
                                     Workers& workers);

}  // namespace fastkmeans::cuda
