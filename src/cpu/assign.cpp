// SPDX-License-Identifier: Apache-2.0
#include "cpu/assign.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>

#include "distance.hpp"

namespace fastkmeans::cpu {
namespace {

// Beyond this the panel's own traffic is hidden already; scores of a tile stay far below 4 MiB (192 x 32 floats).
constexpr std::int64_t kMostTileRows = 192;
// A few milliseconds of work between two checkpoints, on the slowest path too.
constexpr std::int64_t kMultiplyAddsPerCheckpoint = 1 << 24;

// Below every score (scores are finite), above the -infinity of centroids left out.
constexpr float kAllPass = std::numeric_limits<float>::lowest();

// The points one thread works on at a time, and what is known of each.
class Tile {
 public:
  Tile(const AssignTask& task, std::int64_t capacity)
      : task_(task),
        ld_(padded(task.x.cols)),
        points_(static_cast<std::size_t>(capacity * ld_)),
        centred_(points_.size()),
        known_(static_cast<std::size_t>(capacity)),
        thresholds_(known_.size()),
        distances_(known_.size()),
        labels_(known_.size()),
        rows_(known_.size()),
        scores_(static_cast<std::size_t>(capacity * task.kernels.panel_width)),
        hits_(known_.size()) {}

  void assign(std::int64_t first, std::int64_t count, Workers& workers, int seat, RowCheck& check) {
    if (load(task_.centroids, first, count, &check)) scan(task_.centroids, workers, seat);
    if (task_.tiny && load(*task_.tiny, first, count, nullptr)) scan(*task_.tiny, workers, seat);
  }

 private:
  // Reads rows [first, first + count), keeps those that belong to these centroids (scaled or not) and returns how many.
  bool load(const PreparedCentroids& centroids, std::int64_t first, std::int64_t count, RowCheck* check) {
    const Kernels& kernels = task_.kernels;
    const bool scaled = &centroids == task_.tiny;
    kernels.load_rows(task_.x, first, count, points_.data(), ld_);
    size_ = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      float* point = &points_[static_cast<std::size_t>(i * ld_)];
      const std::uint32_t largest = kernels.largest_bits(point, ld_);
      if (largest >= magnitude_limit_bits(task_.x.cols)) {
        task_.labels[first + i] = 0;
        task_.distances[first + i] = 0;
        if (check) check->note(first + i);
        continue;
      }
      if (task_.tiny && scaled != (largest < magnitude_bits(kTinyBelow))) continue;
      if (size_ < i) std::copy_n(point, ld_, this->point(size_));
      if (scaled) std::for_each(this->point(size_), this->point(size_) + ld_, [](float& v) { v *= kTinyScale; });
      rows_[static_cast<std::size_t>(size_)] = first + i;
      start(centroids, size_++);
    }
    return size_ > 0;
  }

  // What is known of a point before the scan: D to the centroid it had, or nothing.
  void start(const PreparedCentroids& centroids, std::int64_t slot) {
    const auto s = static_cast<std::size_t>(slot);
    known_[s] = task_.bound.point(
        task_.kernels.centre(point(slot), centroids.mu.data(), ld_, &centred_[s * static_cast<std::size_t>(ld_)]));
    labels_[s] = task_.previous ? task_.previous[rows_[s]] : -1;
    if (labels_[s] >= 0) {
      distances_[s] = distance(centroids, slot, labels_[s]);
      thresholds_[s] = task_.bound.threshold(known_[s], distances_[s]);
    } else {
      distances_[s] = std::numeric_limits<float>::infinity();
      thresholds_[s] = kAllPass;
    }
  }

  void scan(const PreparedCentroids& centroids, Workers& workers, int seat) {
    const std::int64_t group = task_.kernels.row_group, width = task_.kernels.panel_width;
    const std::int64_t rows = (size_ + group - 1) / group * group;
    std::fill(thresholds_.begin() + size_, thresholds_.begin() + rows, std::numeric_limits<float>::infinity());
    const std::int64_t by_chunk = std::max<std::int64_t>(1, task_.execution.chunk_size_centroids / width);
    const std::int64_t between = std::min(by_chunk, kMultiplyAddsPerCheckpoint / (rows * width * centroids.d) + 1);
    for (std::int64_t panel = 0; panel < centroids.panels; ++panel) {
      if (panel % between == 0) workers.checkpoint(seat);
      const std::int64_t hits = task_.kernels.scan({centred_.data(), ld_, rows, centroids.d,
                                                    centroids.packed.data() + panel * width * centroids.d,
                                                    &centroids.starts[static_cast<std::size_t>(panel * width)],
                                                    thresholds_.data(), scores_.data(), hits_.data()});
      for (std::int64_t h = 0; h < hits; ++h)
        refine(centroids, hits_[static_cast<std::size_t>(h)], panel * width,
               &scores_[static_cast<std::size_t>(h * width)]);
    }
    const bool scaled = &centroids == task_.tiny;
    for (std::size_t s = 0; s < static_cast<std::size_t>(size_); ++s) {
      task_.labels[rows_[s]] = labels_[s];
      task_.distances[rows_[s]] = store_distance(distances_[s], scaled);
    }
  }

  // D of the centroids whose score passed, the best score first: each better D raises the threshold for the rest.
  void refine(const PreparedCentroids& centroids, Hit hit, std::int64_t first, const float* scores) {
    const auto s = static_cast<std::size_t>(hit.row);
    if (const std::int64_t own = labels_[s] - first; own >= 0 && own < task_.kernels.panel_width)
      hit.passed &= ~(std::uint32_t{1} << own);
    while (hit.passed) {
      int best = std::countr_zero(hit.passed);
      for (std::uint32_t rest = hit.passed & (hit.passed - 1); rest; rest &= rest - 1)
        if (const int v = std::countr_zero(rest); scores[v] > scores[best]) best = v;
      if (scores[best] < thresholds_[s]) return;
      hit.passed &= ~(std::uint32_t{1} << best);
      const auto c = static_cast<std::int32_t>(first + best);
      const float d = distance(centroids, hit.row, c);
      if (d < distances_[s]) {
        distances_[s] = d;
        labels_[s] = c;
        thresholds_[s] = task_.bound.threshold(known_[s], d);
      } else if (d == distances_[s] && c < labels_[s]) {
        labels_[s] = c;
      }
    }
  }

  float distance(const PreparedCentroids& centroids, std::int64_t slot, std::int64_t c) {
    return task_.kernels.distance(point(slot), centroids.row(c), ld_);
  }

  float* point(std::int64_t slot) { return &points_[static_cast<std::size_t>(slot * ld_)]; }

  const AssignTask& task_;
  std::int64_t ld_, size_ = 0;
  std::vector<float> points_, centred_;    // (capacity, ld)
  std::vector<FilterBound::Point> known_;  // (capacity)
  std::vector<float> thresholds_, distances_;
  std::vector<std::int32_t> labels_;
  std::vector<std::int64_t> rows_;  // where in x
  std::vector<float> scores_;       // (capacity, panel_width)
  std::vector<Hit> hits_;
};

}  // namespace

RowCheck assign(const AssignTask& task, Workers& workers) {
  const MatrixView& x = task.x;
  const std::int64_t group = task.kernels.row_group;
  // As many rows as the cache and the caller allow, yet four tiles a thread if there are rows enough.
  const std::int64_t shares = 4 * static_cast<std::int64_t>(workers.count());
  const std::int64_t fair = (x.rows + shares - 1) / shares;
  const std::int64_t rows = std::min(
      {std::max(group, std::min(tile_rows(x.cols, kMostTileRows), fair)), task.execution.chunk_size_data, x.rows});
  const std::int64_t step = rows < group ? rows : rows / group * group;
  const std::int64_t capacity = (step + group - 1) / group * group;

  std::vector<std::unique_ptr<Tile>> tiles(static_cast<std::size_t>(workers.count()));
  std::vector<RowCheck> checks(tiles.size());
  const double operations =
      2.0 * static_cast<double>(x.rows) * static_cast<double>(task.centroids.k + 4) * static_cast<double>(x.cols);
  const auto assign_tile = [&](std::int64_t first, std::int64_t count, int seat) {
    auto& mine = tiles[static_cast<std::size_t>(seat)];
    if (!mine) mine = std::make_unique<Tile>(task, capacity);
    mine->assign(first, count, workers, seat, checks[static_cast<std::size_t>(seat)]);
  };
  workers.for_blocks(x.rows, step, operations, assign_tile, 2 * capacity * padded(x.cols) * 4);
  RowCheck check;
  for (const RowCheck& part : checks) check.merge(part);
  return check;
}

}  // namespace fastkmeans::cpu
