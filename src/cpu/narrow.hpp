// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row of few dimensions. There a score costs so little that everything done once a row
// counts: no label is needed, no list is kept, and only what the best two scores leave open is looked at again.
#pragma once

#include <cstdint>

#include "cpu/assign.hpp"

namespace fastkmeans::cpu {

// task.centroids unscaled in fp32, task.tiny null.
AssignCounts assign_narrow(const AssignTask& task, Workers& workers);

}  // namespace fastkmeans::cpu
