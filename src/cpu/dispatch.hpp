// SPDX-License-Identifier: Apache-2.0
// Which instruction set runs: the names that FASTKMEANS_ISA knows, and the choice among them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cpu/kernels.hpp"

namespace fastkmeans::cpu {

struct Isa {
  std::string_view name;
  const Kernels* kernels;  // null: the scalar oracle, or not built in
  bool (*on_this_cpu)();
};

// All names, the best last.
const std::vector<Isa>& isas();

bool available(const Isa& isa);

// wanted "": the environment's FASTKMEANS_ISA; that empty too: the best one available. std::runtime_error if unknown or
// not available.
const Isa& choose(const std::string& wanted);

}  // namespace fastkmeans::cpu
