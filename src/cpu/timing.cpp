// SPDX-License-Identifier: Apache-2.0
#include "cpu/timing.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/sketcher.hpp"
#include "runtime/buffer.hpp"

namespace fastkmeans::cpu {
namespace {

// Small integers: no kernel's time depends on them.
template <class T>
Buffer<T> some_values(std::int64_t count) {
  Buffer<T> values(count);
  std::uint32_t state = 1;
  for (std::int64_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    values[i] = static_cast<T>((state >> 24) % 7);
  }
  return values;
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

}  // namespace

double Timing::nanoseconds(double items, const std::function<void()>& call) const {
  using Clock = std::chrono::steady_clock;
  double best = 1e300;
  for (int repeat = 0; repeat < repeats_; ++repeat) {
    const auto start = Clock::now();
    std::chrono::duration<double, std::nano> spent{};
    for (int calls = 1; spent.count() < at_least_; ++calls) {
      call();
      spent = Clock::now() - start;
      best = std::min(best, spent.count() / calls);
    }
  }
  return best / items;
}

double Timing::fp32_pair(std::int64_t d, bool with_best) const {
  const std::int64_t ld = padded(d), width = kernels_.panel_width;
  const auto points = some_values<float>(kRows * ld), panels = some_values<float>(kPanels * width * d);
  const std::vector<float> starts(static_cast<std::size_t>(width)), thresholds(kRows, 1e30f);
  Outputs out(width);
  return nanoseconds(static_cast<double>(kRows * kPanels * width), [&] {
    for (std::int64_t panel = 0; panel < kPanels; ++panel)
      kernels_.scan({.points = points.data(),
                     .ld = ld,
                     .rows = kRows,
                     .d = d,
                     .panel = panels.data() + panel * width * d,
                     .starts = starts.data(),
                     .thresholds = thresholds.data(),
                     .out = out.view(with_best)});
  });
}

double Timing::int8_pair(std::int64_t size, bool with_best) const {
  const std::int64_t width = kernels_.panel_width;
  const auto points = some_values<std::int8_t>(kRows * size);
  const auto panels = some_values<std::uint8_t>(kPanels * width * size);
  const std::vector<float> starts(static_cast<std::size_t>(width)), scales(kRows, 0.1f), thresholds(kRows, 1e30f);
  const std::vector<std::int32_t> sums(kRows);
  Outputs out(width);
  return nanoseconds(static_cast<double>(kRows * kPanels * width), [&] {
    for (std::int64_t panel = 0; panel < kPanels; ++panel)
      kernels_.sketch->scan({.points = points.data(),
                             .size = size,
                             .rows = kRows,
                             .scales = scales.data(),
                             .sums = sums.data(),
                             .width = width,
                             .panel = panels.data() + panel * width * size,
                             .panel_scales = scales.data(),
                             .starts = starts.data(),
                             .thresholds = thresholds.data(),
                             .out = out.view(with_best)});
  });
}

double Timing::low_dim_pair(std::int64_t d) const {
  constexpr std::int64_t k = 256;
  const auto columns = some_values<float>(kLowDimRows * d), centroids = some_values<float>(k * d);
  const std::vector<float> starts(k);
  std::vector<float> second(kLowDimRows);
  std::vector<std::int32_t> who(kLowDimRows);
  return nanoseconds(static_cast<double>(kLowDimRows * k), [&] {
    kernels_.nearest_two({.columns = columns.data(),
                          .rows = kLowDimRows,
                          .d = d,
                          .k = k,
                          .centroids = centroids.data(),
                          .starts = starts.data(),
                          .second = second.data(),
                          .who = who.data()});
  });
}

double Timing::distance(std::int64_t d, std::int64_t bytes) const {
  constexpr std::int64_t calls = 512;
  const std::int64_t ld = padded(d), k = std::max<std::int64_t>(1, bytes / (4 * ld));
  const auto points = some_values<float>(64 * ld), centroids = some_values<float>(k * ld);
  volatile float sink = 0;
  return nanoseconds(static_cast<double>(calls), [&] {
    float sum = 0;
    for (std::int64_t i = 0; i < calls; ++i)
      sum += kernels_.distance(points.data() + i % 64 * ld, centroids.data() + i * 181 % k * ld, ld);
    sink = sum;
  });
}

double Timing::sketch(std::int64_t d) const {
  const FullSketcher sketcher(d, *kernels_.sketch);
  const auto row = some_values<float>(padded(d)), mu = some_values<float>(padded(d));
  std::vector<std::int8_t> q(static_cast<std::size_t>(sketcher.size()));
  const float* from = row.data();
  std::int8_t* to = q.data();
  Sketcher::Scratch scratch;
  Sketcher::Row out;
  return nanoseconds(1, [&] { sketcher.sketch(&from, 1, mu.data(), padded(d), scratch, &to, &out); });
}

}  // namespace fastkmeans::cpu
