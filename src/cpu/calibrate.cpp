// SPDX-License-Identifier: Apache-2.0
#include "cpu/calibrate.hpp"

#include <atomic>
#include <memory>

#include "cpu/timing.hpp"

namespace fastkmeans::cpu {
namespace {

// Two sizes tell what an element costs from what comes on top.
struct Line {
  double element, rest;
};
template <class Time>
Line line(std::int64_t small, std::int64_t large, const Time& time) {
  const double of_small = time(small), of_large = time(large);
  const double element = (of_large - of_small) / static_cast<double>(large - small);
  return {element, of_small - element * static_cast<double>(small)};
}

// A measurement that something disturbed, if it makes no sense: the file's figure stands.
void take(double measured, double& cost) {
  if (measured > 0) cost = measured;
}

Costs measure(const Kernels& kernels) {
  Costs costs = kernels.costs;
  const Timing time(kernels, 3, 5e5);
  constexpr std::int64_t kFar = 8 << 20;  // bytes: in no core's own cache
  const Line fp32 = line(64, 384, [&](std::int64_t d) { return time.fp32_pair(d); });
  const double slower = fp32.element / costs.fp32.element;
  take(fp32.element, costs.fp32.element);
  take(fp32.rest, costs.fp32.pair);
  take(time.distance(384, kFar) / 384, costs.far_distance_element);
  if (kernels.sketch) {
    const Line int8 = line(64, 384, [&](std::int64_t size) { return time.int8_pair(size); });
    take(int8.element, costs.int8.element);
    take(int8.rest, costs.int8.pair);
    take(time.sketch(384) / 384, costs.sketch_element);
  }
  // What is not measured is slower as fp32 is.
  if (slower > 0)
    for (double* cost : {&costs.low_dim.element, &costs.low_dim.pair, &costs.row, &costs.low_dim_row, &costs.distance,
                         &costs.distance_element, &costs.bound, &costs.gather_byte})
      *cost *= slower;
  return costs;
}

}  // namespace

const Costs& calibrated(const Kernels& kernels) {
  // A list that only grows, without a lock: one that another thread holds at a fork would stay locked in the child.
  struct Known {
    const Kernels* kernels;
    Costs costs;
    const Known* next;
  };
  static std::atomic<const Known*> first{nullptr};
  const auto find = [&]() -> const Known* {
    const Known* known = first;
    while (known && known->kernels != &kernels) known = known->next;
    return known;
  };
  if (const Known* known = find()) return known->costs;
  auto measured = std::make_unique<Known>(Known{&kernels, measure(kernels), first});
  while (!first.compare_exchange_weak(measured->next, measured.get()))
    if (const Known* known = find()) return known->costs;  // another thread was faster
  return measured.release()->costs;
}

}  // namespace fastkmeans::cpu
