// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row, by filter and refine.
#pragma once

#include "cpu/assign.hpp"
#include "cpu/filter_tile.hpp"
#include "cpu/lower_bounds.hpp"

namespace fastkmeans::cpu {

// All rows that the pass selects against all panels. Points: CentredPoints, and with AllRows SketchedPoints too.
template <class Points, class Selection>
AssignCounts assign_all(const AssignTask& task, const typename Points::Shared& shared);

// All rows, each against those groups alone that its lower bounds do not exclude, if they are known; what the scores
// say of a group is learned for the next assignment. The panels have the groups' order.
template <class Points>
AssignCounts assign_bounded(const AssignTask& task, const typename Points::Shared& shared, LowerBounds& bounds);

}  // namespace fastkmeans::cpu
