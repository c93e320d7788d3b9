// SPDX-License-Identifier: Apache-2.0
// Refine: the loss, D or L, of the centroids that the filter could not exclude.
#pragma once

#include <cstdint>

#include "cpu/argmin.hpp"
#include "cpu/centroids.hpp"
#include "cpu/kernels.hpp"
#include "cpu/rows.hpp"

namespace fastkmeans::cpu {

struct Refine {
  const CentroidRows& centroids;
  const RowTile& rows;
  const Kernels& kernels;
  Argmin& argmin;
  float (*loss_of)(const float* x, const float* c, std::int64_t n);  // the metric's

  float loss(std::int64_t slot, std::int64_t c) const {
    return loss_of(rows.row(slot), centroids.row(c), centroids.ld);
  }

  // The centroids of a panel, which begins at place `first`, whose bit in `passed` is set, the best score first: each
  // better one raises the threshold for the rest. Returns how many were computed.
  std::int64_t panel(std::int64_t slot, std::uint32_t passed, std::int64_t first, const float* scores,
                     const FilterBound::Point& known) const;
};

}  // namespace fastkmeans::cpu
