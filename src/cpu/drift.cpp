// SPDX-License-Identifier: Apache-2.0
#include "cpu/drift.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fastkmeans::cpu {
namespace {

double squared_distance(const float* a, const float* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double t = static_cast<double>(a[j]) - static_cast<double>(b[j]);
    sum += t * t;
  }
  return sum;
}

// Splits order[0, count) into halves, as far apart as one direction can tell, until a part fits a panel. The direction
// leads from the member farthest from the first to the one farthest from that.
void bisect(CentroidsView centroids, std::int32_t* order, std::int64_t count, std::int64_t width,
            std::vector<std::pair<double, std::int32_t>>& keyed, Workers& workers) {
  if (count <= width) return;
  workers.checkpoint(0);
  const auto farthest = [&](std::int32_t from) {
    double most = -1;
    std::int32_t found = from;
    for (std::int64_t i = 0; i < count; ++i)
      if (const double distance = squared_distance(centroids.row(from), centroids.row(order[i]), centroids.d);
          distance > most)
        most = distance, found = order[i];
    return found;
  };
  const std::int32_t a = farthest(order[0]), b = farthest(a);
  const float *start = centroids.row(a), *end = centroids.row(b);
  keyed.clear();
  for (std::int64_t i = 0; i < count; ++i) {
    const float* c = centroids.row(order[i]);
    double along = 0;
    for (std::int64_t j = 0; j < centroids.d; ++j)
      along += (static_cast<double>(end[j]) - static_cast<double>(start[j])) * static_cast<double>(c[j]);
    keyed.emplace_back(along, order[i]);
  }
  const std::int64_t half = (count / width + 1) / 2 * width;
  std::nth_element(keyed.begin(), keyed.begin() + std::min(half, count - 1), keyed.end());
  for (std::int64_t i = 0; i < count; ++i) order[i] = keyed[static_cast<std::size_t>(i)].second;
  bisect(centroids, order, half, width, keyed, workers);
  bisect(centroids, order + half, count - half, width, keyed, workers);
}

}  // namespace

DriftBounds::DriftBounds(std::int64_t rows, std::int64_t tile_rows, CentroidsView centroids, std::int64_t panel_width,
                         Workers& workers)
    : tile_rows_(tile_rows),
      last_tile_((rows - 1) / tile_rows),
      stride_(padded(tile_rows)),
      last_stride_(padded(rows - last_tile_ * tile_rows)),
      panel_width_(panel_width) {
  const std::int64_t panels = (centroids.k + panel_width - 1) / panel_width;
  // Tiles are filled up to whole vectors: where they are short, fewer groups keep the promise. Tiles of one row still
  // may have kFewBytes / 4 / kPadding = 1.
  const std::int64_t bytes = std::clamp(4 * centroids.d, kFewBytes, kMostBytes);
  const std::int64_t most_groups = bytes * tile_rows / stride_ / 4;
  panels_per_group_ = (panels + most_groups - 1) / most_groups;
  groups_ = (panels + panels_per_group_ - 1) / panels_per_group_;
  order_.resize(static_cast<std::size_t>(centroids.k));
  std::iota(order_.begin(), order_.end(), 0);
  std::vector<std::pair<double, std::int32_t>> keyed;
  bisect(centroids, order_.data(), centroids.k, panel_width, keyed, workers);
  centroids_.assign(centroids.values, centroids.values + centroids.k * centroids.d);
  drift_.assign(static_cast<std::size_t>(groups_), 0.0f);
  least_.resize(groups_ * (last_tile_ * stride_ + last_stride_));
}

void DriftBounds::move_to(CentroidsView centroids, Workers& workers) {
  const std::int64_t members = panels_per_group_ * panel_width_;
  const double operations = 4.0 * static_cast<double>(centroids.k) * static_cast<double>(centroids.d);
  workers.for_each(groups_, operations, [&](std::int64_t group, int) {
    double most = 0;
    for (std::int64_t slot = group * members; slot < std::min(centroids.k, (group + 1) * members); ++slot) {
      const std::int32_t c = order_[static_cast<std::size_t>(slot)];
      most = std::max(most, squared_distance(centroids.row(c), centroids_.data() + c * centroids.d, centroids.d));
    }
    // fp64 sums of squares and a root, then the sum with what was there: all rounded up.
    const auto g = static_cast<std::size_t>(group);
    drift_[g] = round_up((static_cast<double>(drift_[g]) + std::sqrt(most)) * (1 + kFp64Slack));
  });
  std::copy(centroids.values, centroids.values + centroids.k * centroids.d, centroids_.begin());
}

}  // namespace fastkmeans::cpu
