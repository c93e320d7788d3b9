// SPDX-License-Identifier: Apache-2.0
// Rows chosen by their random keys, on the device. Nothing is read of the rows: their numbers decide.
#pragma once

#include <cstdint>

#include "cuda/device.hpp"
#include "source/keyed_rows.hpp"

namespace fastkmeans::cuda {

// Those of n rows whose keys are in the range, row i being number i. OutOfMemory: 16 bytes for each are needed.
KeyedRows find_keyed_rows(Device& device, const KeyRange& range, std::int64_t n, Workers& workers);

}  // namespace fastkmeans::cuda
