// SPDX-License-Identifier: Apache-2.0
// Floating-point mode: round to nearest even, denormals kept. Callers may have set others (torch.set_flush_denormal);
// every entry point and every task of the thread pool holds one of these. Functions of the caller run under an
// FpState::Lent, in the caller's mode, and may change it.
#pragma once

#include <cstdint>
#include <functional>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace fastkmeans {

class FpState {
 public:
  FpState() : callers_(get()) { set(kOurs); }  // mutant: our_fp_mode
  ~FpState() { set(callers_); }                // mutant: callers_fp_mode
  FpState(const FpState&) = delete;
  FpState& operator=(const FpState&) = delete;

  // The caller's mode, for a while.
  class Lent {
   public:
    explicit Lent(FpState& state) : state_(state) { set(state.callers_); }  // mutant: lent_fp_mode
    ~Lent() {
      state_.callers_ = get();
      set(kOurs);  // mutant: fp_mode_taken_back
    }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

   private:
    FpState& state_;
  };

 private:
#if defined(__x86_64__) || defined(_M_X64)
  using Mode = unsigned;
  static constexpr Mode kOurs = 0x1f80;  // MXCSR: all exceptions masked, round to nearest, FTZ and DAZ off
  static Mode get() { return _mm_getcsr(); }
  static void set(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = std::uint64_t;
  static constexpr Mode kOurs = 0;  // FPCR
  static Mode get() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = int;
  static constexpr Mode kOurs = 0;
  static Mode get() { return 0; }
  static void set(Mode) {}
#endif

  Mode callers_;
};

// A function of the caller, which runs in the caller's mode. It refers to both.
template <class Result, class... Args>
std::function<Result(Args...)> as_caller(FpState& fp_state, const std::function<Result(Args...)>& function) {
  if (!function) return {};
  return [&fp_state, &function](Args... args) {
    const FpState::Lent lent(fp_state);
    return function(args...);
  };
}

}  // namespace fastkmeans
