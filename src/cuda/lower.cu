// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "cuda/distances.hpp"
#include "cuda/lower.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {

void Lowering::lower(const SeededRows& rows, CentroidsView added, bool first) {
  if (first) forget();
  masses_.changed();
  const int known = candidates_ && added.k == 1 ? candidates_->find(added.row(0)) : -1;
  if (known >= 0) return candidates_->lower(rows, known);
  const std::int64_t size = added.k * added.d;
  const auto values = uploaded(device_, added.values, size);
  const Centroids centroids = {values.data(), static_cast<int>(added.k), static_cast<int>(added.d),
                               is_tiny(added.values, size)};
  rows.store.each_batch(rows.most, [&](std::int64_t begin, std::int64_t count, RowsView view) {
    lower_distances(device_, centroids, view, count, rows.states + begin, first, rows.distances + begin);
  });
  if (candidates_) candidates_->lowered(rows);
  device_.wait();
}

std::vector<Mass> Lowering::masses_with(const SeededRows& rows, CentroidsView candidates, int exponent) {
  if (++asked_ > kWithoutSketches) sketch(rows);
  try {
    return masses_of(rows, candidates, exponent);
  } catch (const OutOfMemory&) {
    if (!candidates_) throw;
    // Sketches took what D of their rows, or of all, would need.
    candidates_.reset();
    has_memory_ = false;
    return masses_of(rows, candidates, exponent);
  }
}

std::vector<Mass> Lowering::masses_of(const SeededRows& rows, CentroidsView candidates, int exponent) {
  std::vector<std::uint8_t> tiny;
  for (std::int64_t c = 0; c < candidates.k; ++c) tiny.push_back(is_tiny(candidates.row(c), candidates.d));
  const bool any_tiny = std::any_of(tiny.begin(), tiny.end(), [](std::uint8_t is) { return is; });
  if (candidates_ && !any_tiny && candidates.k <= Candidates::kMost)
    if (const auto taken = candidates_->look_at(rows, candidates, exponent)) {
      filter_ = "int8";
      std::vector<Mass> masses(taken->size(), masses_.total(rows, exponent));
      std::transform(masses.begin(), masses.end(), taken->begin(), masses.begin(), std::minus<>());
      return masses;
    }
  filter_ = "none";
  std::vector<Mass> masses;
  for (std::int64_t first = 0; first < candidates.k; first += DeviceMasses::kMostTogether) {
    const std::int64_t count = std::min(DeviceMasses::kMostTogether, candidates.k - first);
    const std::vector<Mass> some = masses_.with(rows, {candidates.row(first), count, candidates.d},
                                                {tiny.begin() + first, tiny.begin() + first + count}, exponent);
    masses.insert(masses.end(), some.begin(), some.end());
  }
  return masses;
}

void Lowering::sketch(const SeededRows& rows) {
  if (candidates_ || !has_memory_ || rows.n == 0 || !Candidates::possible(rows.d)) return;
  try {
    candidates_.emplace(device_, rows);
  } catch (const OutOfMemory&) {
    has_memory_ = false;
  }
}

void Lowering::forget() {
  candidates_.reset();
  asked_ = 0;
  has_memory_ = true;
  masses_.changed();
}

}  // namespace fastkmeans::cuda
