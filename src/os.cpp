// SPDX-License-Identifier: Apache-2.0
#include "os.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastkmeans::os {
namespace {

#if defined(__linux__)
int affinity_cpus() {
  // The mask must be as large as the kernel's: grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (!set) return 0;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 0;
}

// Least quota / period, in CPUs, over this process's cgroup and those above it; 0 for none.
double cgroup_cpus() {
  double least = 0;
  auto consider = [&least](double quota, double period) {
    if (quota > 0 && period > 0 && (least == 0 || quota / period < least)) least = quota / period;
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers.find("cpu") == std::string::npos) continue;
    for (;; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      if (v2) {
        std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
        double quota = 0, period = 0;  // "max 100000" leaves quota 0
        if (file >> quota >> period) consider(quota, period);
      } else {
        std::ifstream quota_file("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_quota_us");
        std::ifstream period_file("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_period_us");
        double quota = 0, period = 0;
        if (quota_file >> quota && period_file >> period) consider(quota, period);
      }
      if (path.find('/') == std::string::npos) break;
    }
  }
  return least;
}
#endif

}  // namespace

int usable_cpus() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  if (const int allowed = affinity_cpus(); allowed > 0) cpus = allowed;
  static const double quota = cgroup_cpus();  // reading it costs more than a tiny fit; the affinity is one system call
  if (quota > 0) cpus = std::min(cpus, static_cast<int>(std::ceil(quota)));
#endif
  return std::max(cpus, 1);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool permit_amx() {
#if defined(__linux__) && defined(__x86_64__)
  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), see the kernel's Documentation/arch/x86/xstate.rst. It holds
  // for all threads and for children.
  static const bool permitted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return permitted;
#else
  return false;
#endif
}

void at_fork_in_child([[maybe_unused]] void (*handler)()) {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, handler);
#endif
}

}  // namespace fastkmeans::os
