// SPDX-License-Identifier: Apache-2.0
// What each step of an assignment costs on this CPU, for every instruction set it has: the figures behind
// src/plan/tuning and the table of kernels in docs/performance.md. Best of five; keep the machine quiet.
//
// usage: build/cpp/tests/cpp/kernel_costs
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/sketcher.hpp"
#include "runtime/buffer.hpp"

namespace fastkmeans::cpu {
namespace {

std::mt19937 generator(1);

template <class T>
Buffer<T> random_values(std::int64_t count) {
  Buffer<T> values;
  values.resize(count);
  for (std::int64_t i = 0; i < count; ++i) values.data()[i] = static_cast<T>(generator() % 7);
  return values;
}

// Nanoseconds of a call, over `items`.
template <class Call>
double nanoseconds(double items, Call call) {
  using Clock = std::chrono::steady_clock;
  double best = 1e300;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = Clock::now();
    std::chrono::duration<double, std::nano> spent{};
    for (int calls = 1; spent.count() < 5e7; ++calls) {
      call();
      spent = Clock::now() - start;
      best = std::min(best, spent.count() / calls);
    }
  }
  return best / items;
}

constexpr std::int64_t kRows = 192, kPanels = 32;

struct Outputs {
  explicit Outputs(std::int64_t width) : scores(static_cast<std::size_t>(kRows * width)), hits(kRows), best(kRows) {}
  ScanOut view(bool with_best) {
    return {.scores = scores.data(), .hits = hits.data(), .best = with_best ? best.data() : nullptr};
  }
  std::vector<float> scores;
  std::vector<Hit> hits;
  std::vector<float> best;
};

// A pair of row and centroid, no score passing.
double fp32_pair(const Kernels& kernels, std::int64_t d, bool with_best) {
  const std::int64_t ld = padded(d), width = kernels.panel_width;
  const auto points = random_values<float>(kRows * ld), panels = random_values<float>(kPanels * width * d);
  const std::vector<float> starts(static_cast<std::size_t>(width)), thresholds(kRows, 1e30f);
  Outputs out(width);
  return nanoseconds(static_cast<double>(kRows * kPanels * width), [&] {
    for (std::int64_t panel = 0; panel < kPanels; ++panel)
      kernels.scan({.points = points.data(),
                    .ld = ld,
                    .rows = kRows,
                    .d = d,
                    .panel = panels.data() + panel * width * d,
                    .starts = starts.data(),
                    .thresholds = thresholds.data(),
                    .out = out.view(with_best)});
  });
}

double int8_pair(const Kernels& kernels, std::int64_t size, bool with_best) {
  const std::int64_t width = kernels.panel_width;
  const auto points = random_values<std::int8_t>(kRows * size);
  const auto panels = random_values<std::uint8_t>(kPanels * width * size);
  const std::vector<float> starts(static_cast<std::size_t>(width)), scales(kRows, 0.1f), thresholds(kRows, 1e30f);
  const std::vector<std::int32_t> sums(kRows);
  Outputs out(width);
  return nanoseconds(static_cast<double>(kRows * kPanels * width), [&] {
    for (std::int64_t panel = 0; panel < kPanels; ++panel)
      kernels.sketch->scan({.points = points.data(),
                            .size = size,
                            .rows = kRows,
                            .scales = scales.data(),
                            .sums = sums.data(),
                            .panel = panels.data() + panel * width * size,
                            .panel_scales = scales.data(),
                            .starts = starts.data(),
                            .thresholds = thresholds.data(),
                            .out = out.view(with_best)});
  });
}

double low_dim_pair(const Kernels& kernels, std::int64_t d) {
  constexpr std::int64_t k = 256;
  const auto columns = random_values<float>(kLowDimRows * d), centroids = random_values<float>(k * d);
  const std::vector<float> starts(k);
  std::vector<float> second(kLowDimRows);
  std::vector<std::int32_t> who(kLowDimRows);
  return nanoseconds(static_cast<double>(kLowDimRows * k), [&] {
    kernels.nearest_two({.columns = columns.data(),
                         .rows = kLowDimRows,
                         .d = d,
                         .k = k,
                         .centroids = centroids.data(),
                         .starts = starts.data(),
                         .second = second.data(),
                         .who = who.data()});
  });
}

// D between rows that are near and centroids that are in L2.
double distance(const Kernels& kernels, std::int64_t d) {
  constexpr std::int64_t k = 512, calls = 512;
  const std::int64_t ld = padded(d);
  const auto points = random_values<float>(64 * ld), centroids = random_values<float>(k * ld);
  volatile float sink = 0;
  return nanoseconds(static_cast<double>(calls), [&] {
    float sum = 0;
    for (std::int64_t i = 0; i < calls; ++i)
      sum += kernels.distance(points.data() + i % 64 * ld, centroids.data() + i * 181 % k * ld, ld);
    sink = sum;
  });
}

double sketch(const Kernels& kernels, std::int64_t d) {
  const FullSketcher sketcher(d, *kernels.sketch);
  const auto row = random_values<float>(padded(d)), mu = random_values<float>(padded(d));
  std::vector<std::int8_t> q(static_cast<std::size_t>(sketcher.size()));
  const float* from = row.data();
  std::int8_t* to = q.data();
  Sketcher::Scratch scratch;
  Sketcher::Row out;
  return nanoseconds(1, [&] { sketcher.sketch(&from, 1, mu.data(), padded(d), scratch, &to, &out); });
}

void print(const Isa& isa) {
  const Kernels& kernels = *isa.kernels;
  const auto width = static_cast<double>(kernels.panel_width);
  const auto line = [&](const char* what, double small, double small_d, double large, double large_d, double best) {
    const double element = (large - small) / (large_d - small_d);
    std::printf("%-12s %-7s element %.5f, pair %.4f ns; at %g: %.0f G multiply-adds/s; best score of a row %.1f ns\n",
                std::string(isa.name).c_str(), what, element, small - element * small_d, large_d, large_d / large,
                (best - large) * width);
  };
  line("fp32", fp32_pair(kernels, 16, false), 16, fp32_pair(kernels, 384, false), 384, fp32_pair(kernels, 384, true));
  const double low_dim = low_dim_pair(kernels, 32);
  line("low_dim", low_dim_pair(kernels, 4), 4, low_dim, 32, low_dim);
  const double near = distance(kernels, 16), far = distance(kernels, 384);
  std::printf("%-12s D       element %.4f, pair %.1f ns\n", std::string(isa.name).c_str(), (far - near) / 368,
              near - 16 * (far - near) / 368);
  if (!kernels.sketch) return;
  line("int8", int8_pair(kernels, 64, false), 64, int8_pair(kernels, 384, false), 384, int8_pair(kernels, 384, true));
  std::printf("%-12s sketch  of 64: %.0f, of 384: %.0f, of 784: %.0f ns\n", std::string(isa.name).c_str(),
              sketch(kernels, 64), sketch(kernels, 384), sketch(kernels, 784));
}

}  // namespace
}  // namespace fastkmeans::cpu

int main() {
  for (const auto& isa : fastkmeans::cpu::isas())
    if (isa.kernels && fastkmeans::cpu::available(isa)) fastkmeans::cpu::print(isa);
}
