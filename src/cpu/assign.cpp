// SPDX-License-Identifier: Apache-2.0
#include "cpu/assign.hpp"

namespace fastkmeans::cpu {

void AssignCounts::add(const AssignCounts& part) {
  check.merge(part.check);
  effort += part.effort;
  abandoned += part.abandoned;
  changed += part.changed;
  inertia.add(part.inertia);
}

}  // namespace fastkmeans::cpu
