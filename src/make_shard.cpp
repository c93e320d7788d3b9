// SPDX-License-Identifier: Apache-2.0
// The one place that knows every kind of hardware.
#include "make_shard.hpp"

#if !defined(FASTKMEANS_CUDA)  // CMakeLists.txt says 1 where src/cuda/*.cu are built
#define FASTKMEANS_CUDA 0
#endif

#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include "checks.hpp"
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

#if FASTKMEANS_CUDA
#include "cuda/cuda_shard.hpp"
#include "cuda/cuda_small_shards.hpp"
#include "cuda/device_array.hpp"
#include "cuda/error.hpp"
#include "cuda/host_copy.hpp"
#include "cuda/small_tuning.hpp"
#include "cuda/tuning.hpp"
#endif

namespace fastkmeans {

namespace {

// Multiply-adds of an assignment of host data below which a CUDA device is not worth its start: milliseconds of a CPU.
constexpr double kFewProducts = 1 << 30;

#if FASTKMEANS_CUDA
constexpr std::string_view kCuda = "cuda:";

int number_of(const std::string& device) { return std::atoi(device.c_str() + kCuda.size()); }
#endif

std::unique_ptr<Shard> plain_shard(const Source& rows, const Metric& metric, const Execution& execution,
                                   Workers& workers) {
#if FASTKMEANS_CUDA
  if (rows.place() == Place::device)
    return cuda::make_shard(rows.batch(0, 0).cuda_device, rows, metric, execution, workers);
  if (execution.device.starts_with("cuda"))
    return cuda::make_shard(number_of(chosen_device(execution.device)), rows, metric, execution, workers);
#endif
  const cpu::Isa& isa = cpu::choose(execution.isa);
  return isa.kernels ? cpu::make_shard(isa, rows, metric, execution, workers)
                     : make_scalar_shard(rows, metric, workers);
}

}  // namespace

bool worth_a_device(const MatrixView& x, std::int64_t k) {
  return static_cast<double>(x.rows) * static_cast<double>(k) * static_cast<double>(x.cols) >= kFewProducts;
}

std::string device_for(const MatrixView& x, std::int64_t k, const Execution& execution) {
  if (x.cuda_device != MatrixView::kHost) {
    const std::string its = "cuda:" + std::to_string(x.cuda_device);
    if (!execution.device.empty() && execution.device != "cuda" && execution.device != its)
      throw std::invalid_argument("data is on " + its + "; device must be that, given '" + execution.device + "'");
    return chosen_device(its);
  }
  const bool names_isa = !execution.isa.empty() || !os::environment("FASTKMEANS_ISA").empty();
  if (execution.device.empty() && (names_isa || !worth_a_device(x, k))) return "cpu";
  return chosen_device(execution.device);
}

std::unique_ptr<Source> make_source(const MatrixView& x, const std::int64_t* weights, const Execution& execution,
                                    Workers& workers) {
#if FASTKMEANS_CUDA
  if (x.cuda_device != MatrixView::kHost) return cuda::device_array(x, weights, execution, workers);
#else
  static_cast<void>(execution);
  static_cast<void>(workers);
#endif
  return std::make_unique<HostArray>(x, 0, weights);
}

void copy_to_host([[maybe_unused]] std::span<const MatrixView> matrices, [[maybe_unused]] const Execution& execution,
                  [[maybe_unused]] Workers& workers, [[maybe_unused]] char* out) {
#if FASTKMEANS_CUDA
  cuda::copy_to_host(matrices, execution, workers, out);
#endif
}

void copy_to_device([[maybe_unused]] std::span<const DeviceCopy> copies, [[maybe_unused]] int device,
                    [[maybe_unused]] const Execution& execution, [[maybe_unused]] Workers& workers) {
#if FASTKMEANS_CUDA
  cuda::copy_to_device(copies, device, execution, workers);
#endif
}

bool takes_small_shards([[maybe_unused]] std::int64_t d, [[maybe_unused]] std::int64_t k) {
#if FASTKMEANS_CUDA
  // Their assignments are not checked.
  return os::environment("FASTKMEANS_VERIFY") != "1" && cuda::small_shards_take(d, k);
#else
  return false;
#endif
}

std::unique_ptr<SmallShards> make_small_shards([[maybe_unused]] std::span<const SmallProblem> problems,
                                               [[maybe_unused]] const Metric& metric,
                                               [[maybe_unused]] const Execution& execution,
                                               [[maybe_unused]] Workers& workers) {
#if FASTKMEANS_CUDA
  try {
    return cuda::make_small_shards(problems, metric, execution, workers);
  } catch (const cuda::OutOfMemory&) {
  }
#endif
  return nullptr;
}

std::unique_ptr<Shard> make_shard(const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  auto shard = plain_shard(rows, metric, execution, workers);
  if (os::environment("FASTKMEANS_VERIFY") == "1") return verified(std::move(shard), rows, metric, workers);
  return shard;
}

std::unique_ptr<Shard> make_shard_beside(Shard& shard, const Source& rows, const Execution& execution,
                                         Workers& workers) {
  if (auto beside = shard.beside(rows)) return beside;
  return make_shard(rows, euclidean(), on_cpu(execution), workers);
}

Execution on_cpu(Execution of_fit) {
  if (of_fit.device.starts_with("cuda")) of_fit.filter = "fp32";  // mutant: filter_of_a_device
  of_fit.device = "cpu";
  return of_fit;
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
  CudaState state;
  state.problem = "this build of fastkmeans has no CUDA (FASTKMEANS_CUDA=OFF)";
  return state;
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
    throw std::runtime_error(cuda::too_old(found));
  }
  throw std::runtime_error("the device is '" + device + "'; CUDA has " + std::to_string(state.devices.size()) +
                           " devices, the first is 'cuda:0'");
}

std::vector<std::string> cuda_kernels() {
#if FASTKMEANS_CUDA
  return {std::begin(cuda::kScans), std::end(cuda::kScans)};
#else
  return {};
#endif
}

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
