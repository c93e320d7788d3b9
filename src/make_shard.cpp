// SPDX-License-Identifier: Apache-2.0
// The one place that knows every kind of hardware.
#include "make_shard.hpp"

#include <stdexcept>
#include <string>

#include "cpu/cpu_shard.hpp"
#include "cpu/dispatch.hpp"
#include "cuda/driver.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "runtime/os.hpp"
#include "runtime/workers.hpp"
#include "scalar/scalar_shard.hpp"
#include "verify.hpp"

#if !defined(FASTKMEANS_BUILD_FLAGS)  // CMakeLists.txt states them
#define FASTKMEANS_BUILD_FLAGS "flags not recorded"
#endif

#if !defined(FASTKMEANS_CUDA)  // CMakeLists.txt says 1 where src/cuda/*.cu are built
#define FASTKMEANS_CUDA 0
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

CudaState cuda_state() {
#if FASTKMEANS_CUDA
  return cuda::driver_state();
#else
  return {.problem = "this build of fastkmeans has no CUDA (FASTKMEANS_CUDA=OFF)"};
#endif
}

std::string chosen_device(const std::string& device) {
  if (device == "cpu") return device;
  const CudaState state = cuda_state();
  if (device.empty()) {
    // A process that was forked must not slow down in silence.
    if (state.status == CudaStatus::after_fork) throw std::runtime_error(state.problem);
    for (const CudaDevice& found : state.devices)
      if (state.status == CudaStatus::ready && found.usable) return "cuda:" + std::to_string(found.number);
    return "cpu";
  }
  if (state.status != CudaStatus::ready) throw std::runtime_error(state.problem);
  for (const CudaDevice& found : state.devices) {
    const std::string name = "cuda:" + std::to_string(found.number);
    if (name != device && !(device == "cuda" && found.usable)) continue;
    if (found.usable) return name;
    throw std::runtime_error("the CUDA device " + found.name + " has compute capability " +
                             std::to_string(found.major) + "." + std::to_string(found.minor) + ", and " +
                             std::to_string(cuda::kLeastMajor) + ".0 is needed");
  }
  throw std::runtime_error("the device is '" + device + "'; CUDA has " + std::to_string(state.devices.size()) +
                           " devices, the first is 'cuda:0'");
}

std::vector<std::string> cuda_kernels() { return {}; }

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
