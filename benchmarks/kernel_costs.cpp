// SPDX-License-Identifier: Apache-2.0
// What each step of an assignment costs on this CPU, for every instruction set it has: the figures behind
// src/plan/tuning and the table of kernels in docs/performance.md. Best of five; keep the machine quiet.
//
// usage: build/cpp/tests/cpp/kernel_costs
#include <cstdio>
#include <string>

#include "cpu/dispatch.hpp"
#include "cpu/timing.hpp"

namespace fastkmeans::cpu {
namespace {

void print(const Isa& isa) {
  const Kernels& kernels = *isa.kernels;
  const Timing time(kernels, 5, 5e7);
  const auto width = static_cast<double>(kernels.panel_width);
  const auto line = [&](const char* what, double small, double small_d, double large, double large_d, double best) {
    const double element = (large - small) / (large_d - small_d);
    std::printf("%-12s %-7s element %.5f, pair %.4f ns; at %g: %.0f G multiply-adds/s; best score of a row %.1f ns\n",
                std::string(isa.name).c_str(), what, element, small - element * small_d, large_d, large_d / large,
                (best - large) * width);
  };
  line("fp32", time.fp32_pair(16, false), 16, time.fp32_pair(384, false), 384, time.fp32_pair(384, true));
  const double low_dim = time.low_dim_pair(32);
  line("low_dim", time.low_dim_pair(4), 4, low_dim, 32, low_dim);
  constexpr std::int64_t kNear = 512 << 10, kFar = 8 << 20;  // in L2, and not
  const double small = time.distance(16, kNear), near = time.distance(384, kNear), far = time.distance(384, kFar);
  std::printf("%-12s D       element %.4f, pair %.1f ns; far from the core %.4f\n", std::string(isa.name).c_str(),
              (near - small) / 368, small - 16 * (near - small) / 368, far / 384);
  if (!kernels.sketch) return;
  line("int8", time.int8_pair(64, false), 64, time.int8_pair(384, false), 384, time.int8_pair(384, true));
  std::printf("%-12s sketch  of 64: %.0f, of 384: %.0f, of 784: %.0f ns\n", std::string(isa.name).c_str(),
              time.sketch(64), time.sketch(384), time.sketch(784));
}

}  // namespace
}  // namespace fastkmeans::cpu

int main() {
  for (const auto& isa : fastkmeans::cpu::isas())
    if (isa.kernels && fastkmeans::cpu::available(isa)) fastkmeans::cpu::print(isa);
}
