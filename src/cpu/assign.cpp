// SPDX-License-Identifier: Apache-2.0
#include "cpu/assign.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

// Below every score (scores are finite), above the -infinity of centroids left out.
constexpr float kAllPass = std::numeric_limits<float>::lowest();
constexpr float kNonePasses = std::numeric_limits<float>::quiet_NaN();  // a start, and so a score, may be +infinity
// Where more of a tile's rows than this need a group of centroids, all are scanned: gathering costs as much.
constexpr double kDense = 0.7;
// One tile may need this many times the distances that all may need on average.
constexpr double kTileExcess = 4;

// The points one thread works on at a time, and what is known of each. Row i of the tile is slot i.
class Tile {
 public:
  // capacity: the rows of a tile, rounded up to whole groups. Small arrays have room for whole vectors beyond.
  Tile(const AssignTask& task, std::int64_t capacity)
      : task_(task),
        ld_(padded(task.x.cols)),
        in_place_(row_in_place(task.x, 0) && task.x.cols == ld_),
        distances_(static_cast<std::size_t>(capacity + kPadding)),
        labels_(distances_.size()),
        thresholds_(distances_.size()),
        radii_(distances_.size()),
        hits_(distances_.size()),
        scores_(static_cast<std::size_t>(capacity * task.kernels.panel_width)) {
    if (!in_place_ || task.tiny) points_.resize(static_cast<std::size_t>(task.tile_rows * ld_));
    if (sketcher()) {
      work_.resize(static_cast<std::size_t>(sketcher()->size()));
      if (!task.kept) own_sketches_.resize(capacity + kPadding, sketcher()->size());
    } else {
      centred_.resize(static_cast<std::size_t>(capacity * ld_));
      heads_.resize(distances_.size());
      reaches_.resize(distances_.size());
    }
    if (task.bounds) {
      best_.resize(distances_.size());
      group_best_.resize(distances_.size());
      least_.resize(distances_.size());
      chosen_.resize(distances_.size());
      gathered_floats_.resize(4 * distances_.size());
      gathered_sums_.resize(distances_.size());
      gathered_.resize(capacity * element_bytes());
    }
  }

  // False: given up.
  bool assign(std::int64_t tile, std::int64_t first, std::int64_t count, Workers& workers, int seat,
              AssignCounts& counts) {
    tile_ = tile;
    first_ = first;
    size_ = count;
    if (load(task_.centroids, &counts.check) && !scan(task_.centroids, workers, seat, counts)) return false;
    if (task_.tiny && load(*task_.tiny, nullptr)) scan(*task_.tiny, workers, seat, counts);
    return true;
  }

 private:
  // What a kernel scans: the tile's rows, or those that were chosen.
  struct Rows {
    const void* points;
    const float *scales, *heads, *reaches, *thresholds;
    const std::int32_t* sums;
    std::int64_t count;
  };

  const Sketcher* sketcher() const { return task_.centroids.sketcher; }
  std::int64_t element_bytes() const { return sketcher() ? sketcher()->size() : ld_ * 4; }
  std::int64_t row_group() const { return sketcher() ? task_.kernels.sketch->row_group : task_.kernels.row_group; }
  std::int64_t whole_groups(std::int64_t rows) const { return (rows + row_group() - 1) / row_group() * row_group(); }
  RowSketches& sketches() { return task_.kept ? *task_.kept : own_sketches_; }
  std::int64_t sketch_row(std::int64_t slot) const { return task_.kept ? first_ + slot : slot; }

  // Reads the rows and finds what is known of those that belong to these centroids (scaled or not). Returns how many
  // do.
  std::int64_t load(const PreparedCentroids& centroids, RowCheck* check) {
    const Kernels& kernels = task_.kernels;
    const bool scaled = &centroids == task_.tiny, ready = task_.kept && task_.kept->complete;
    in_place_now_ = in_place_ && !scaled;
    if (!in_place_now_) kernels.load_rows(task_.x, first_, size_, points_.data(), ld_);
    taking_part_ = 0;
    for (std::int64_t i = 0; i < size_; ++i) {
      const auto s = static_cast<std::size_t>(i);
      labels_[s] = kInert;
      thresholds_[s] = kNonePasses;
      if (!ready) {
        const std::uint32_t largest = kernels.largest_bits(point(i), ld_);
        if (largest >= magnitude_limit_bits(task_.x.cols)) {
          task_.labels[first_ + i] = 0;
          task_.distances[first_ + i] = 0;
          if (check) check->note(first_ + i);
          clear(i);
          continue;
        }
        if (task_.tiny && scaled != (largest < magnitude_bits(kTinyBelow))) {
          clear(i);
          continue;
        }
        if (scaled)
          std::for_each(&points_[s * static_cast<std::size_t>(ld_)], &points_[(s + 1) * static_cast<std::size_t>(ld_)],
                        [](float& v) { v *= kTinyScale; });
        describe(centroids, i);
      }
      start(centroids, i);
      ++taking_part_;
    }
    if (!ready)  // kernels take whole groups
      for (std::int64_t i = size_; i < whole_groups(size_); ++i) clear(i);
    return taking_part_;
  }

  // The sketch of a row, or the row less the centre.
  void describe(const PreparedCentroids& centroids, std::int64_t slot) {
    SketchSize size;
    if (sketcher()) {
      RowSketches& to = sketches();
      const std::int64_t row = sketch_row(slot);
      const RowSketch sketch = sketcher()->sketch(point(slot), centroids.mu.data(), ld_, work_.data(),
                                                  to.q.data() + row * sketcher()->size());
      to.scales.data()[row] = sketch.scale;
      to.sums.data()[row] = sketch.sum;
      size = sketcher()->bound(sketch);
    } else {
      const double sq_norm =
          task_.kernels.centre(point(slot), centroids.mu.data(), ld_, &centred_[static_cast<std::size_t>(slot * ld_)]);
      size = {sq_norm, kCentring * std::sqrt(sq_norm)};
    }
    const FilterBound::Point known = task_.bound.point(size);
    heads()[slot] = known.head;
    reaches()[slot] = known.reach;
  }

  // A row that takes no part: zeros, whatever it holds.
  void clear(std::int64_t slot) {
    if (sketcher()) {
      const std::int64_t row = sketch_row(slot);
      std::fill_n(sketches().q.data() + row * sketcher()->size(), sketcher()->size(), std::int8_t{0});
      sketches().scales.data()[row] = 0;
      sketches().sums.data()[row] = 0;
    } else {
      std::fill_n(&centred_[static_cast<std::size_t>(slot * ld_)], ld_, 0.0f);
    }
    heads()[slot] = reaches()[slot] = 0;
  }

  // What is known of a point before the scan: D to the centroid it had, or nothing.
  void start(const PreparedCentroids& centroids, std::int64_t slot) {
    const auto s = static_cast<std::size_t>(slot);
    labels_[s] = task_.previous ? task_.previous[first_ + slot] : kNone;
    if (labels_[s] >= 0) {
      found(slot, distance(centroids, slot, labels_[s]));
    } else {
      distances_[s] = std::numeric_limits<float>::infinity();
      thresholds_[s] = kAllPass;
      radii_[s] = std::numeric_limits<float>::infinity();
    }
  }

  void found(std::int64_t slot, float distance) {
    const auto s = static_cast<std::size_t>(slot);
    distances_[s] = distance;
    const double radius = task_.bound.radius(distance);
    thresholds_[s] = task_.bound.threshold({heads()[slot], reaches()[slot]}, radius);
    radii_[s] = DriftBounds::compared(radius);
  }

  bool scan(const PreparedCentroids& centroids, Workers& workers, int seat, AssignCounts& counts) {
    const auto most = task_.most_refined > 0
                          ? static_cast<std::int64_t>(kTileExcess * task_.most_refined * static_cast<double>(size_))
                          : std::numeric_limits<std::int64_t>::max();
    std::fill(thresholds_.begin() + size_, thresholds_.begin() + whole_groups(size_), kNonePasses);
    DriftBounds* bounds = &centroids == task_.tiny ? nullptr : task_.bounds;
    const std::int64_t together = bounds ? bounds->panels_per_group() : 1;
    for (std::int64_t panel = 0, group = 0; panel < centroids.panels; ++group) {
      const std::int64_t end = std::min(panel + together, centroids.panels);
      const bool choose = bounds && task_.bounds_known;
      std::int64_t chosen = size_;
      if (choose) {
        chosen = task_.kernels.choose(bounds->least(tile_, group), bounds->drift(group), radii_.data(), size_,
                                      chosen_.data());
        if (chosen == 0) {
          panel = end;
          if (group % 64 == 0) workers.checkpoint(seat);
          continue;
        }
      }
      const bool dense = !choose || static_cast<double>(chosen) > kDense * static_cast<double>(size_);
      const Rows rows = dense ? whole() : gather(chosen);
      bool copy = false;
      const std::int64_t members = std::min(end * task_.kernels.panel_width, centroids.k) -
                                   panel * task_.kernels.panel_width;  // the last panel may be filled up
      counts.scored += (dense ? taking_part_ : chosen) * members;
      for (const std::int64_t begin = panel; panel < end; ++panel) {
        if (panel % task_.panels_at_a_time == 0) workers.checkpoint(seat);
        if (counts.refined > most) return false;
        if (panel > begin && !dense)  // thresholds rose
          for (std::int64_t i = 0; i < chosen; ++i)
            gathered_floats_[static_cast<std::size_t>(i)] =
                thresholds_[static_cast<std::size_t>(chosen_[static_cast<std::size_t>(i)])];
        const std::int64_t hits = run(centroids, panel, rows, bounds ? best_.data() : nullptr);
        for (std::int64_t h = 0; h < hits; ++h) {
          Hit hit = hits_[static_cast<std::size_t>(h)];
          if (!dense) hit.row = chosen_[static_cast<std::size_t>(hit.row)];
          refine(centroids, hit, panel, &scores_[static_cast<std::size_t>(h * task_.kernels.panel_width)], counts);
        }
        if (bounds) {
          copy = copy || centroids.has_copy[static_cast<std::size_t>(panel)];
          for (std::int64_t i = 0; i < rows.count; ++i) {
            const auto s = static_cast<std::size_t>(i);
            group_best_[s] = panel == begin || best_[s] > group_best_[s] ? best_[s] : group_best_[s];
          }
        }
      }
      if (bounds) learn(*bounds, group, rows, dense ? size_ : chosen, dense, copy);
    }
    const bool scaled = &centroids == task_.tiny;
    for (std::int64_t i = 0; i < size_; ++i) {
      const auto s = static_cast<std::size_t>(i);
      if (labels_[s] == kInert) continue;
      counts.changed += !task_.previous || task_.previous[first_ + i] != labels_[s];
      task_.labels[first_ + i] = labels_[s];
      task_.distances[first_ + i] = store_distance(distances_[s], scaled);
    }
    return true;
  }

  std::int64_t run(const PreparedCentroids& centroids, std::int64_t panel, const Rows& rows, float* best) {
    const std::int64_t width = task_.kernels.panel_width;
    const float* starts = &centroids.starts[static_cast<std::size_t>(panel * width)];
    const ScanOut out = {scores_.data(), hits_.data(), best};
    if (!sketcher())
      return task_.kernels.scan({static_cast<const float*>(rows.points), ld_, rows.count, centroids.d,
                                 centroids.packed.data() + panel * width * centroids.d, starts, rows.thresholds, out});
    const std::int64_t size = sketcher()->size();
    return task_.kernels.sketch->scan({static_cast<const std::int8_t*>(rows.points), size, rows.count, rows.scales,
                                       rows.sums, centroids.sketches.data() + panel * width * size,
                                       &centroids.scales[static_cast<std::size_t>(panel * width)], starts,
                                       rows.thresholds, out});
  }

  Rows whole() {
    const std::int64_t count = whole_groups(size_);
    if (!sketcher())
      return {centred_.data(), nullptr, heads_.data(), reaches_.data(), thresholds_.data(), nullptr, count};
    RowSketches& from = sketches();
    const std::int64_t row = sketch_row(0);
    return {from.q.data() + row * sketcher()->size(),
            from.scales.data() + row,
            from.heads.data() + row,
            from.reaches.data() + row,
            thresholds_.data(),
            from.sums.data() + row,
            count};
  }

  // The chosen rows, side by side.
  Rows gather(std::int64_t chosen) {
    const Rows from = whole();
    const std::int64_t bytes = element_bytes(), count = whole_groups(chosen);
    const auto capacity = static_cast<std::int64_t>(distances_.size());
    float *thresholds = gathered_floats_.data(), *scales = thresholds + capacity, *heads = scales + capacity,
          *reaches = heads + capacity;
    for (std::int64_t i = 0; i < chosen; ++i) {
      const std::int64_t slot = chosen_[static_cast<std::size_t>(i)];
      std::memcpy(gathered_.data() + i * bytes, static_cast<const char*>(from.points) + slot * bytes,
                  static_cast<std::size_t>(bytes));
      thresholds[i] = from.thresholds[slot];
      heads[i] = from.heads[slot];
      reaches[i] = from.reaches[slot];
      if (sketcher()) {
        scales[i] = from.scales[slot];
        gathered_sums_[static_cast<std::size_t>(i)] = from.sums[slot];
      }
    }
    std::fill(thresholds + chosen, thresholds + count, kNonePasses);
    return {gathered_.data(), scales, heads, reaches, thresholds, gathered_sums_.data(), count};
  }

  // The best scores of a group say how near its centroids can be.
  void learn(DriftBounds& bounds, std::int64_t group, const Rows& rows, std::int64_t count, bool dense, bool copy) {
    float* least = bounds.least(tile_, group);
    if (copy)  // the copy was not scored, and may part from its twin
      std::fill_n(least_.begin(), count, 0.0f);
    else
      task_.kernels.least_radii(group_best_.data(), rows.heads, rows.reaches, task_.bound.inverse_underflow(),
                                task_.bound.inverse_factor(), bounds.drift(group), count, least_.data());
    if (dense) {
      std::copy_n(least_.begin(), count, least);
    } else {
      for (std::int64_t i = 0; i < count; ++i)
        least[chosen_[static_cast<std::size_t>(i)]] = least_[static_cast<std::size_t>(i)];
    }
  }

  // D of the centroids whose score passed, the best score first: each better D raises the threshold for the rest.
  void refine(const PreparedCentroids& centroids, Hit hit, std::int64_t panel, const float* scores,
              AssignCounts& counts) {
    const auto s = static_cast<std::size_t>(hit.row);
    const std::int64_t first = panel * task_.kernels.panel_width;
    if (labels_[s] >= 0)
      if (const std::int64_t own = centroids.slot_of[static_cast<std::size_t>(labels_[s])] - first;
          own >= 0 && own < task_.kernels.panel_width)
        hit.passed &= ~(std::uint32_t{1} << own);
    while (hit.passed) {
      int best = std::countr_zero(hit.passed);
      for (std::uint32_t rest = hit.passed & (hit.passed - 1); rest; rest &= rest - 1)
        if (const int v = std::countr_zero(rest); scores[v] > scores[best]) best = v;
      if (scores[best] < thresholds_[s]) return;
      hit.passed &= ~(std::uint32_t{1} << best);
      const std::int32_t c = centroids.order[static_cast<std::size_t>(first + best)];
      const float d = distance(centroids, hit.row, c);
      ++counts.refined;
      if (d < distances_[s]) {
        labels_[s] = c;
        found(hit.row, d);
      } else if (d == distances_[s] && c < labels_[s]) {
        labels_[s] = c;
      }
    }
  }

  float distance(const PreparedCentroids& centroids, std::int64_t slot, std::int64_t c) {
    return task_.kernels.distance(point(slot), centroids.row(c), ld_);
  }

  const float* point(std::int64_t slot) const {
    return in_place_now_ ? row_in_place(task_.x, first_ + slot) : &points_[static_cast<std::size_t>(slot * ld_)];
  }
  float* heads() { return sketcher() ? sketches().heads.data() + sketch_row(0) : heads_.data(); }
  float* reaches() { return sketcher() ? sketches().reaches.data() + sketch_row(0) : reaches_.data(); }

  static constexpr std::int32_t kNone = -1;   // label of a row that has none yet
  static constexpr std::int32_t kInert = -2;  // of one that takes no part

  const AssignTask& task_;
  std::int64_t ld_, tile_ = 0, first_ = 0, size_ = 0, taking_part_ = 0;
  bool in_place_, in_place_now_ = false;  // the rows can be read where they lie
  std::vector<float> points_;             // (capacity, ld) else
  std::vector<float> centred_;            // (capacity, ld) the fp32 filter's rows
  std::vector<float> heads_, reaches_;    // (capacity) with the fp32 filter
  RowSketches own_sketches_;              // (capacity) the int8 filter's, unless kept
  std::vector<float> work_;
  std::vector<float> distances_;
  std::vector<std::int32_t> labels_;
  std::vector<float> thresholds_, radii_;
  std::vector<Hit> hits_;
  std::vector<float> scores_;  // (capacity, panel_width)
  // With drift bounds: best scores in a panel and a group, and the rows chosen for a group.
  std::vector<float> best_, group_best_, least_;
  std::vector<std::int32_t> chosen_, gathered_sums_;
  std::vector<float> gathered_floats_;
  Buffer<char> gathered_;
};

}  // namespace

void RowSketches::resize(std::int64_t count, std::int64_t size) {
  q.resize(count * size);
  scales.resize(count);
  sums.resize(count);
  heads.resize(count);
  reaches.resize(count);
}

void AssignCounts::add(const AssignCounts& other) {
  check.merge(other.check);
  refined += other.refined;
  scored += other.scored;
  changed += other.changed;
  abandoned.scored += other.abandoned.scored;
  abandoned.refined += other.abandoned.refined;
}

void AssignCounts::add_tile(const AssignCounts& tile, bool finished) {
  if (finished) return add(tile);
  abandoned.scored += tile.scored;
  abandoned.refined += tile.refined;
}

AssignCounts total_of(const std::vector<AssignCounts>& parts) {
  AssignCounts total;
  for (const AssignCounts& part : parts) total.add(part);
  return total;
}

AssignCounts assign(const AssignTask& task, Workers& workers) {
  const MatrixView& x = task.x;
  const std::int64_t group = task.centroids.sketcher ? task.kernels.sketch->row_group : task.kernels.row_group;
  const std::int64_t capacity = (task.tile_rows + group - 1) / group * group;

  std::vector<std::unique_ptr<Tile>> tiles(static_cast<std::size_t>(workers.count()));
  std::vector<AssignCounts> counts(tiles.size());
  const double operations =
      2.0 * static_cast<double>(x.rows) * static_cast<double>(task.centroids.k + 4) * static_cast<double>(x.cols);
  GiveUp give_up(task);
  const auto assign_tile = [&](std::int64_t first, std::int64_t count, int seat) {
    if (give_up.refuses(first)) return;
    auto& mine = tiles[static_cast<std::size_t>(seat)];
    AssignCounts& my_counts = counts[static_cast<std::size_t>(seat)];
    if (!mine) mine = std::make_unique<Tile>(task, capacity);
    AssignCounts tile;
    const bool finished = mine->assign(first / task.tile_rows, first, count, workers, seat, tile);
    my_counts.add_tile(tile, finished);
    give_up.note(first, count, tile.refined, finished);
  };
  workers.for_blocks(x.rows, task.tile_rows, operations, assign_tile, 2 * capacity * padded(x.cols) * 4);
  AssignCounts total = total_of(counts);
  total.undone = give_up.undone();
  return total;
}

}  // namespace fastkmeans::cpu
