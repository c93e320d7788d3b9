// SPDX-License-Identifier: Apache-2.0
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <stdexcept>

#include "os.hpp"

namespace fastkmeans::cpu {
namespace {

bool always() { return true; }
bool never() { return false; }

#if defined(__x86_64__)
// These ask the operating system too: it must save the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = {
    {"scalar", nullptr, always},
    {"baseline", &kBaselineKernels, always},
#if defined(__x86_64__)
    {"avx2", &kAvx2Kernels, has_avx2},
    {"avx512", &kAvx512Kernels, has_avx512},
#else
    {"avx2", nullptr, never},
    {"avx512", nullptr, never},
#endif
    // Names reserved for kernels to come: known, and never available.
    {"avx512_vnni", nullptr, never},
    {"amx_int8", nullptr, never},
    {"neon", nullptr, never},
    {"neon_dotprod", nullptr, never},
  };
  return all;
}

bool available(const Isa& isa) { return isa.on_this_cpu(); }

const Isa& choose(const std::string& wanted) {
  const std::string name = wanted.empty() ? os::environment("FASTKMEANS_ISA") : wanted;
  if (name.empty()) return *std::find_if(isas().rbegin(), isas().rend(), available);
  std::string known;
  for (const Isa& isa : isas()) {
    if (isa.name == name) {
      if (available(isa)) return isa;
      throw std::runtime_error("the instruction set '" + name + "' (FASTKMEANS_ISA) is not available on this machine");
    }
    known += (known.empty() ? "" : ", ") + std::string(isa.name);
  }
  throw std::runtime_error("FASTKMEANS_ISA is '" + name + "'; it must be one of " + known);
}

}  // namespace fastkmeans::cpu
