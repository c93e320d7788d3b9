// SPDX-License-Identifier: Apache-2.0
// The one place that knows every kind of hardware.
#include "make_shard.hpp"

#include "cpu/cpu_shard.hpp"
#include "cpu/dispatch.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "runtime/os.hpp"
#include "runtime/workers.hpp"
#include "scalar/scalar_shard.hpp"
#include "verify.hpp"

#if !defined(FASTKMEANS_BUILD_FLAGS)  // CMakeLists.txt states them
#define FASTKMEANS_BUILD_FLAGS "flags not recorded"
#endif

namespace fastkmeans {

std::unique_ptr<Shard> make_shard(const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  const cpu::Isa& isa = cpu::choose(execution.isa);
  auto shard =
      isa.kernels ? cpu::make_shard(isa, rows, metric, execution, workers) : make_scalar_shard(rows, metric, workers);
  if (os::environment("FASTKMEANS_VERIFY") == "1") return verified(std::move(shard), rows, metric, workers);
  return shard;
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
