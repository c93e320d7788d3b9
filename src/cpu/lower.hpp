// SPDX-License-Identifier: Apache-2.0
// What initialisations ask of a shard's rows: their distances to centroids that are new.
#pragma once

#include <vector>

#include "cpu/rows.hpp"
#include "numeric/centroids_view.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans::cpu {

// As Shard::lower_distances; distances: (n) D as stored.
void lower_rows(const Context& context, CentroidsView added, bool first, float* distances);

// As Shard::masses_with; rows: those of the context.
std::vector<Mass> masses_of(const Context& context, const Source& rows, CentroidsView candidates, int exponent,
                            const float* distances);

}  // namespace fastkmeans::cpu
