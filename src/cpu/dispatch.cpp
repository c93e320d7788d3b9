// SPDX-License-Identifier: Apache-2.0
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <stdexcept>

#include "runtime/os.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

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
bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
bool has_amx_int8() {
  // GCC 12 has no name for it: CPUID leaf 7, EDX bits 24 (tiles) and 25 (int8).
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 3) == 3 && os::permit_amx();
}
#elif defined(__aarch64__) && defined(__linux__)
bool has_neon_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
#elif defined(__aarch64__)
bool has_neon_dotprod() { return false; }  // nobody to ask
#endif

}  // namespace

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = {
    {"scalar", nullptr, always},
    {"baseline", &kBaselineKernels, always},
#if defined(__x86_64__)
    {"avx2", &kAvx2Kernels, has_avx2},
    {"avx512", &kAvx512Kernels, has_avx512},
    {"avx512_vnni", &kAvx512VnniKernels, has_avx512_vnni},
    {"amx_int8", &kAmxInt8Kernels, has_amx_int8},
#else
    {"avx2", nullptr, never},
    {"avx512", nullptr, never},
    {"avx512_vnni", nullptr, never},
    {"amx_int8", nullptr, never},
#endif
#if defined(__aarch64__)
    {"neon", &kBaselineKernels, always},  // every aarch64 has it
    {"neon_dotprod", &kNeonDotprodKernels, has_neon_dotprod},
#else
    {"neon", nullptr, never},
    {"neon_dotprod", nullptr, never},
#endif
  };
  return all;
}

bool available(const Isa& isa) { return isa.on_this_cpu(); }

namespace {

// Found once: virtual machines take microseconds to answer CPUID, a part of a small fit.
const Isa& best() {
  static const Isa& found = *std::find_if(isas().rbegin(), isas().rend(), available);
  return found;
}

}  // namespace

const Isa& choose(const std::string& wanted) {
  const std::string name = wanted.empty() ? os::environment("FASTKMEANS_ISA") : wanted;
  if (name.empty()) return best();
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
