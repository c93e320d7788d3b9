// SPDX-License-Identifier: Apache-2.0
#include "runtime/os.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

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

// What a file of the kernel's holds, "" if it cannot be read. C's files: streams bring the locale's global state with
// them.
std::string contents(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"), &std::fclose);
  std::string text;
  char part[4096];
  while (file) {
    const std::size_t count = std::fread(part, 1, sizeof part, file.get());
    if (count == 0) break;
    text.append(part, count);
  }
  return text;
}

// The integers a text begins with, 0 for each that is not there ("max 100000" has none).
std::pair<double, double> two_integers(const std::string& text) {
  char* end = nullptr;
  const auto first = static_cast<double>(std::strtoll(text.c_str(), &end, 10));
  return {first, static_cast<double>(std::strtoll(end, nullptr, 10))};
}

// Least quota / period, in CPUs, over this process's cgroup and those above it; 0 for none.
double cgroup_cpus() {
  double least = 0;
  auto consider = [&least](double quota, double period) {
    if (quota > 0 && period > 0 && (least == 0 || quota / period < least)) least = quota / period;
  };
  const std::string groups = contents("/proc/self/cgroup");
  for (std::size_t begin = 0, end; begin < groups.size(); begin = end + 1) {
    end = std::min(groups.find('\n', begin), groups.size());
    const std::string_view line = std::string_view(groups).substr(begin, end - begin);
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string path(line.substr(second + 1));
    const bool v2 = controllers.empty();
    if (!v2 && controllers.find("cpu") == std::string_view::npos) continue;
    for (;; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      if (v2) {
        const auto [quota, period] = two_integers(contents("/sys/fs/cgroup" + path + "/cpu.max"));
        consider(quota, period);
      } else {
        const std::string folder = "/sys/fs/cgroup/cpu" + path;
        consider(two_integers(contents(folder + "/cpu.cfs_quota_us")).first,
                 two_integers(contents(folder + "/cpu.cfs_period_us")).first);
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
