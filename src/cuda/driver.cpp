// SPDX-License-Identifier: Apache-2.0
#include "cuda/driver.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>

#include "runtime/os.hpp"

namespace fastkmeans::cuda {
namespace {

// Of the driver's own interface (cuda.h), as far as it is asked: results are 0 for success.
constexpr int kNoDevice = 100;
constexpr int kNotInitialised = 3;  // what a child of fork gets
constexpr int kMajor = 75, kMinor = 76;

class Driver {
 public:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  bool loaded() const { return library_ != nullptr; }

  template <class... Args>
  int call(const char* name, Args... args) const {
    void* const symbol = dlsym(library_, name);
    if (!symbol) return -1;
    return reinterpret_cast<int (*)(Args...)>(symbol)(args...);
  }

 private:
  void* library_;  // kept: the CUDA run time wants it too
};

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

CudaState problem(CudaState state, CudaStatus status, std::string text) {
  state.status = status;
  state.problem = std::move(text);
  return state;
}

CudaState failed(const CudaState& state, const char* call, int error) {
  return problem(
      state, CudaStatus::failed,
      std::string("CUDA failed: ") + call + " returned error " + std::to_string(error) + " of the NVIDIA driver");
}

CudaState after_fork() {
  return problem({}, CudaStatus::after_fork,
                 "CUDA cannot be used in a process forked from one that has used it: start processes with the method "
                 "spawn (multiprocessing.set_start_method(\"spawn\")), or compute on the CPU");
}

CudaState ask() {
  CudaState state;
  const Driver driver;
  if (!driver.loaded())
    return problem(state, CudaStatus::no_driver, "CUDA needs an NVIDIA driver, and none is installed (libcuda.so.1)");
  if (const int error = driver.call("cuDriverGetVersion", &state.driver); error != 0)
    return failed(state, "cuDriverGetVersion", error);
  if (state.driver < kNeededDriver)
    return problem(state, CudaStatus::old_driver,
                   "the NVIDIA driver is too old: it knows CUDA " + version_text(state.driver) + ", and CUDA " +
                       version_text(kNeededDriver) + " is needed (driver 580 or newer)");
  const int error = driver.call("cuInit", 0u);
  if (error == kNotInitialised) return after_fork();
  int count = 0;
  if (error == 0) {
    if (const int counting = driver.call("cuDeviceGetCount", &count); counting != 0)
      return failed(state, "cuDeviceGetCount", counting);
  } else if (error != kNoDevice) {
    return failed(state, "cuInit", error);
  }
  if (count == 0) return problem(state, CudaStatus::no_device, "CUDA found no device");
  for (int i = 0; i < count; ++i) {
    CudaDevice device;
    device.number = i;
    int handle = 0;
    char name[256] = {};
    std::size_t bytes = 0;
    for (const auto& [call, result] :
         {std::pair("cuDeviceGet", driver.call("cuDeviceGet", &handle, i)),
          std::pair("cuDeviceGetName", driver.call("cuDeviceGetName", +name, int{sizeof name - 1}, handle)),
          std::pair("cuDeviceTotalMem_v2", driver.call("cuDeviceTotalMem_v2", &bytes, handle)),
          std::pair("cuDeviceGetAttribute", driver.call("cuDeviceGetAttribute", &device.major, kMajor, handle)),
          std::pair("cuDeviceGetAttribute", driver.call("cuDeviceGetAttribute", &device.minor, kMinor, handle))})
      if (result != 0) return failed(state, call, result);
    device.name = name;
    device.memory = static_cast<std::int64_t>(bytes);
    device.usable = device.major >= kLeastMajor;
    state.devices.push_back(device);
  }
  if (std::none_of(state.devices.begin(), state.devices.end(), [](const CudaDevice& d) { return d.usable; }))
    return problem(state, CudaStatus::unsupported_device, too_old(state.devices.front()));
  state.status = CudaStatus::ready;
  return state;
}

// A child may go on believing in a driver that is missing or too old; only CUDA that had begun is lost to it.
std::atomic<bool> begun{false}, forked{false};

}  // namespace

std::string too_old(const CudaDevice& device) {
  return "the CUDA device " + device.name + " has compute capability " + std::to_string(device.major) + "." +
         std::to_string(device.minor) + ", and " + std::to_string(kLeastMajor) + ".0 is needed";
}

const CudaState& driver_state() {
  static const CudaState child = after_fork();
  if (forked) return child;
  static std::once_flag watch;
  std::call_once(watch, [] { os::at_fork_in_child([] { forked = begun.load(); }); });
  static const CudaState state = ask();
  if (state.status == CudaStatus::ready) begun = true;
  return state;
}

}  // namespace fastkmeans::cuda
