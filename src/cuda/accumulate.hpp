// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"

namespace fastkmeans::cuda {

// For each of `count` rows with from[i] != to[i]: out of cluster from[i], into cluster to[i]. from null: all are new.
// weights: how often each counts, or null. moving: about how many rows that will be, for speed alone.
void accumulate(Device& device, const StoredRows& rows, std::int64_t count, const std::int32_t* from,
                const std::int32_t* to, const std::int64_t* weights, std::int64_t moving, const ScaleView& scale,
                const SumsView& sums);

// Row i of `rows`, (count, d), leaves cluster from[i] for to[i]; labels[numbers[i]] becomes to[i], and its weight is
// weights[numbers[i]], or 1. All numbers are different.
void relocate(Device& device, RowsView rows, std::int64_t count, const std::int64_t* numbers, const std::int32_t* from,
              const std::int32_t* to, const std::int64_t* weights, const ScaleView& scale, const SumsView& sums,
              std::int32_t* labels);

}  // namespace fastkmeans::cuda
