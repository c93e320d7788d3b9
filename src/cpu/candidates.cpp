// SPDX-License-Identifier: Apache-2.0
#include "cpu/candidates.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "numeric/distance.hpp"
#include "plan/plan.hpp"
#include "plan/survey.hpp"

namespace fastkmeans::cpu {
namespace {

// Rows of which a thread scans the sketches at a time: their scores fit L2 beside them.
constexpr std::int64_t kMostRows = 512;
// Rows looked at to learn what is typical.
constexpr std::int64_t kLookedAt = 64;
// Rows fetched ahead of the one whose distances are taken: they lie here and there, which hardware does not foresee.
constexpr std::int64_t kAhead = 4;

// The beginning of it; of long rows hardware fetches the rest. Inline: GCC leaves out calls of what only fetches.
[[gnu::always_inline]] inline void prefetch_row(const MatrixView& x, std::int64_t row) {
  constexpr std::int64_t kLine = 64, kLines = 8;
  const char* const at = static_cast<const char*>(x.data) + row * x.row_stride;
  const std::int64_t bytes = std::min(x.cols * x.col_stride, kLine * kLines);
  for (std::int64_t j = 0; j < bytes; j += kLine) __builtin_prefetch(at + j);
}

}  // namespace

// What a thread scans with.
struct Candidates::Scan {
  Scan(const SketchedPoints::Shared& shared, const Context& context, std::int64_t rows)
      : points(shared, 0),
        row(context, 1, shared.centroids.ld),
        scores(rows * shared.panels.width),
        hits(static_cast<std::size_t>(rows)) {}
  SketchedPoints points;
  RowTile row;
  Buffer<float> scores;
  std::vector<Hit> hits;
};

bool Candidates::possible(const Context& context) { return context.kernels.sketch && context.x.cols <= kLargestSketch; }

Candidates::Candidates(const Context& context, const float* distances)
    : context_(context),
      distances_(distances),
      sketcher_(context.x.cols, *context.kernels.sketch),
      bound_(bound(1)),
      nearer_(static_cast<std::size_t>(context.workers.count())) {
  const std::int64_t n = context.x.rows;
  centroids_.prepare({nullptr, 0, context.x.cols}, centre_of(context), 1.0f, nullptr, no_lift_, context.workers);
  sketch_rows();
  bound_ = bound(split());
  thresholds_.resize(n + sketched_group(*context.kernels.sketch));
  for (std::int64_t i = 0; i < n; ++i) lowered(i);
  std::fill(thresholds_.data() + n, thresholds_.data() + thresholds_.size(), std::numeric_limits<float>::quiet_NaN());
}

SketchedPoints::Shared Candidates::shared() {
  return {.centroids = centroids_,
          .panels = panels_,
          .bound = bound_,
          .kernels = context_.kernels,
          .sketcher = sketcher_,
          .kept = &sketches_,
          .complete = false};
}

std::int64_t Candidates::tile_rows() const {
  const std::int64_t group = sketched_group(*context_.kernels.sketch);
  return std::max(group, std::min(kMostRows, 4 * cpu::tile_rows(context_.x.cols)) / group * group);
}

void Candidates::sketch_rows() {
  const std::int64_t n = context_.x.rows, rows = tile_rows();
  sketches_.resize(n + sketched_group(*context_.kernels.sketch), sketcher_.size());
  const SketchedPoints::Shared shared = this->shared();
  const auto sketch = [&](std::int64_t first, std::int64_t count, int) {
    SketchedPoints points(shared, 0);
    RowTile tile(context_, count, centroids_.ld);
    points.begin(first);
    tile.load(first, count);
    for (std::int64_t i = 0; i < count; ++i) points.describe(tile.row(i), i);
    points.described_all();
    for (std::int64_t i = count; i < whole_groups(count, shared.row_group()); ++i) points.clear(i);
  };
  const double operations = 20.0 * static_cast<double>(n) * static_cast<double>(context_.x.cols);
  context_.workers.for_blocks(n, rows, operations, sketch, rows * centroids_.ld * 4);
}

double Candidates::split() const {
  const std::int64_t n = context_.x.rows, count = std::min(n, kLookedAt);
  double length = 0, radius = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = spread_row(n, count, i);
    length += std::sqrt(std::max(0.0f, sketches_.sq_norms[row]));
    radius += std::sqrt(true_distance(distances_[row]));
  }
  const double error = typical_quantisation(context_.kernels.sketch->levels) * length;
  return radius > 0 ? std::clamp(error / radius, 0x1p-12, 1.0) : 1.0;
}

float Candidates::threshold(std::int64_t row) const {
  const float distance = distances_[row];
  // D was taken by the rule for tiny data: every score passes.
  if (std::signbit(distance)) return std::numeric_limits<float>::lowest();  // mutant: tiny_threshold
  return bound_.threshold({.sq_norm = sketches_.sq_norms[row], .error = sketches_.errors[row]},
                          bound_.radius(distance));
}

const std::vector<std::vector<Candidates::Nearer>>& Candidates::look_at(CentroidsView candidates) {
  Workers& workers = context_.workers;
  const std::vector<float> centre(centroids_.mu.begin(), centroids_.mu.begin() + candidates.d);
  centroids_.prepare(candidates, centre, 1.0f, nullptr, no_lift_, workers);
  // A copy of another candidate is nearer to the same rows: it is not left out.
  std::fill(centroids_.is_copy.begin(), centroids_.is_copy.end(), std::uint8_t{0});  // mutant: copied_candidates
  const std::int64_t width = context_.kernels.panel_width, half = width / 2;
  panels_.prepare(centroids_, bound_, sketcher_, candidates.k <= half ? half : width, context_.kernels, workers);
  for (auto& part : nearer_) part.clear();
  const SketchedPoints::Shared shared = this->shared();
  const std::int64_t n = context_.x.rows, rows = tile_rows();
  std::vector<std::unique_ptr<Scan>> scans(nearer_.size());
  const auto scan = [&](std::int64_t first, std::int64_t count, int worker) {
    auto& mine = scans[static_cast<std::size_t>(worker)];
    if (!mine) mine = std::make_unique<Scan>(shared, context_, rows);
    scan_tile(first, count, *mine, nearer_[static_cast<std::size_t>(worker)]);
  };
  const double operations = static_cast<double>(n * panels_.count * panels_.width) * static_cast<double>(candidates.d);
  workers.for_blocks(n, rows, operations, scan, rows * panels_.width * 4);
  return nearer_;
}

void Candidates::scan_tile(std::int64_t first, std::int64_t count, Scan& scan, std::vector<Nearer>& nearer) const {
  scan.points.begin(first);
  for (std::int64_t panel = 0; panel < panels_.count; ++panel) {
    const std::int64_t hits =
        scan.points.scan(scan.points.view(count), panel, &thresholds_[first],
                         {.scores = scan.scores.data(), .hits = scan.hits.data(), .best = nullptr});
    const auto prefetch = [&](std::int64_t h) __attribute__((always_inline)) {
      if (h < hits) prefetch_row(context_.x, first + scan.hits[static_cast<std::size_t>(h)].row);
    };
    for (std::int64_t h = 0; h < kAhead; ++h) prefetch(h);
    for (std::int64_t h = 0; h < hits; ++h) {
      prefetch(h + kAhead);
      const Hit hit = scan.hits[static_cast<std::size_t>(h)];
      const std::int64_t row = first + hit.row;
      scan.row.load(row, 1);
      for (std::uint32_t passed = hit.passed; passed != 0; passed &= passed - 1) {
        const std::int64_t c = panel * panels_.width + std::countr_zero(passed);
        const float distance = context_.kernels.distance(scan.row.row(0), centroids_.row(c), centroids_.ld);
        if (static_cast<double>(distance) < true_distance(distances_[row])) nearer.push_back({row, c, distance});
      }
    }
  }
}

std::int64_t Candidates::find(const float* row) const {
  for (std::int64_t c = 0; c < centroids_.k; ++c)
    if (std::equal(row, row + centroids_.d, centroids_.row(c))) return c;
  return -1;
}

}  // namespace fastkmeans::cpu
