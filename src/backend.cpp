// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"

#include "cpu/cpu_backend.hpp"
#include "cpu/dispatch.hpp"
#include "runtime/workers.hpp"
#include "scalar/scalar_backend.hpp"

#if !defined(FASTKMEANS_BUILD_FLAGS)  // CMakeLists.txt states them
#define FASTKMEANS_BUILD_FLAGS "flags not recorded"
#endif

namespace fastkmeans {

std::unique_ptr<Backend> make_backend(const Execution& execution, Workers& workers) {
  const cpu::Isa& isa = cpu::choose(execution.isa);
  return isa.kernels ? cpu::make_backend(*isa.kernels, execution, workers) : make_scalar_backend(workers);
}

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets;
  for (const cpu::Isa& isa : cpu::isas()) sets.push_back({std::string(isa.name), cpu::available(isa)});
  return sets;
}

std::string chosen_isa(const std::string& isa) { return std::string(cpu::choose(isa).name); }

int default_threads() { return default_thread_count(); }

std::string version() { return FASTKMEANS_VERSION; }

std::string build_info() {
#if defined(__clang__)
  return "Clang " __clang_version__ ", " FASTKMEANS_BUILD_FLAGS;
#else
  return "GCC " __VERSION__ ", " FASTKMEANS_BUILD_FLAGS;
#endif
}

}  // namespace fastkmeans
