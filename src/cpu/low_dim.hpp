// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row of few dimensions. There a score costs so little that everything done once a row
// counts: no label is needed, no list is kept, and only what the best two scores leave open is looked at again.
#pragma once

#include "cpu/assign.hpp"
#include "cpu/centroids.hpp"

namespace fastkmeans::cpu {

// panels: of places one by one.
AssignCounts assign_low_dim(const AssignTask& task, const CentroidRows& centroids, const FloatPanels& panels);

}  // namespace fastkmeans::cpu
