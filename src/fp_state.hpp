// SPDX-License-Identifier: Apache-2.0
// Floating-point mode: round to nearest even, denormals kept. Callers may have set others (torch.set_flush_denormal);
// every entry point and every task of the thread pool holds one of these.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace fastkmeans {

class FpState {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  // All exceptions masked, round to nearest, FTZ and DAZ off.
  FpState() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~FpState() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FpState() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  ~FpState() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
  FpState() {}
#endif

 public:
  FpState(const FpState&) = delete;
  FpState& operator=(const FpState&) = delete;
};

}  // namespace fastkmeans
