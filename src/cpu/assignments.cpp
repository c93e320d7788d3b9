// SPDX-License-Identifier: Apache-2.0
#include "cpu/assignments.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/narrow.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

// Rows of a tile. fp32: beyond this a panel's own traffic is hidden already. int8: four times the arithmetic a byte, so
// more rows must share a panel; their fp32 rows, read again by refine, stay within the L2 of most servers.
constexpr std::int64_t kMostRows = 192, kMostSketchedRows = 512;
// Rows and centroids looked at to learn what is typical.
constexpr std::int64_t kLookedAt = 64;
// Quantisation's share of a row's length, for normal elements after the rotation: a largest element of 3.2 deviations
// over `levels`, and the root of 1/12 of a step.
double quantisation(const SketchKernels& kernels) { return 3.2 / kernels.levels / 3.4641; }

// Tiles of kept sketches hold whole groups of the scan and whole vectors of what the bound knows: no thread reads what
// another writes.
std::int64_t sketched_group(const SketchKernels& kernels) { return std::lcm(kernels.row_group, kPadding); }
// The median of value(i) over at most kLookedAt of n, spread evenly.
template <class Value>
double typical(std::int64_t n, Value value) {
  const std::int64_t count = std::min(n, kLookedAt);
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(value(n * i / count));
  std::nth_element(values.begin(), values.begin() + count / 2, values.end());
  return values[static_cast<std::size_t>(count / 2)];
}
// A few milliseconds of work between two checkpoints, on the slowest path too.
constexpr std::int64_t kMultiplyAddsPerCheckpoint = 1 << 24;

}  // namespace

Assignments::Assignments(const Kernels& kernels, const Execution& execution, Workers& workers)
    : kernels_(kernels),
      execution_(execution),
      workers_(workers),
      forced_(forced_choice(execution.filter, kernels.costs)) {}

Assigned Assignments::assign(const MatrixView& x, CentroidsView centroids, const std::int32_t* previous, bool again,
                             std::int32_t* labels, float* distances) {
  if (centre_.empty()) centre_ = central_row(x, kernels_, workers_);
  if (!sketcher_ && kernels_.sketch) sketcher_.emplace(x.cols, *kernels_.sketch);
  const bool tiny = kernels_.largest_bits(centroids.values, centroids.k * centroids.d) < magnitude_bits(kTinyBelow);
  if (!is_known(x)) {
    known_.reset();
    sketches_.complete = false;
    radius_ = 0;
  }
  const Problem problem = {.d = x.cols,
                           .k = centroids.k,
                           .size = sketcher_ ? sketcher_->size() : 0,
                           .panel_width = kernels_.panel_width,
                           .first = previous == nullptr,
                           .again = again,
                           .sketched = sketches_.complete,
                           .tiny = tiny,
                           .forced = forced_};
  const Plan plan = make_plan(problem, history_, kernels_.costs);
  const std::int64_t tile_rows = rows_per_tile(x, plan.filter);
  keep_bounds(x, centroids, plan.bounds && previous, again, tile_rows);
  const bool bounds_known = bounds_ && bounds_->known();
  const bool int8 = plan.filter == Filter::int8;
  // Tiles of less than a group would write into each other's places.
  const bool keeps = int8 && (again || sketches_.complete) && tile_rows % sketched_group(*kernels_.sketch) == 0;
  if (keeps && !sketches_.complete)
    sketches_.resize(x.rows + std::max(kernels_.sketch->row_group, kPadding), sketcher_->size());

  const auto run = [&](Filter filter, const std::vector<std::uint8_t>* only) {
    const bool sketched = filter == Filter::int8, narrow = filter == Filter::low_dim;
    const FilterBound bound =
        sketched ? FilterBound::of_sketches(x.cols, split(centroids)) : FilterBound::of_rows(x.cols);
    const Layout layout = sketched ? Layout::sketches : narrow ? Layout::rows : Layout::panels;
    const std::vector<std::int32_t> order = bounds_ ? bounds_->order() : std::vector<std::int32_t>();
    plain_.prepare(centroids, centre_, 1.0f, bound, layout, sketched ? &*sketcher_ : nullptr, order, kernels_,
                   workers_);
    // Scaled by 2^64 the centre of larger rows would overflow; without one the bound holds as well.
    if (tiny) scaled_.prepare(centroids, {}, kTinyScale, bound, Layout::panels, nullptr, {}, kernels_, workers_);
    const std::int64_t by_chunk = std::max<std::int64_t>(1, execution_.chunk_size_centroids / kernels_.panel_width);
    const std::int64_t panels =
        std::min(by_chunk, kMultiplyAddsPerCheckpoint / (tile_rows * kernels_.panel_width * x.cols) + 1);
    const AssignTask task = {x,
                             plain_,
                             tiny ? &scaled_ : nullptr,
                             bound,
                             kernels_,
                             tile_rows,
                             panels,
                             sketched && keeps ? &sketches_ : nullptr,
                             bounds_.get(),
                             bounds_known,
                             only ? 0 : plan.most_refined,
                             only,
                             previous,
                             labels,
                             distances};
    return narrow ? assign_narrow(task, workers_) : cpu::assign(task, workers_);
  };
  AssignCounts counts = run(plan.filter, nullptr);
  const auto rows = static_cast<double>(x.rows);
  const double scored = bounds_known ? static_cast<double>(counts.scored) / rows / static_cast<double>(centroids.k) : 1;
  const bool gave_up = !counts.undone.empty();
  if (gave_up) {
    bounds_.reset();
    counts.add(run(Filter::fp32, &counts.undone));
  }
  history_.note({static_cast<double>(counts.changed) / rows, scored, plan.most_scored, gave_up});
  known_.reset();
  sketches_.complete = false;
  if (again && !counts.check.bad) {
    known_ = x;
    sketches_.complete = keeps && !gave_up;
    if (bounds_) bounds_->set_known();
    radius_ = std::sqrt(typical(x.rows, [&](std::int64_t i) { return true_distance(distances[i]); }));
  }
  Assigned assigned;
  assigned.check = counts.check;
  assigned.filter = {name_of(plan.filter, gave_up), counts.scored, counts.refined, ""};
  assigned.abandoned = counts.abandoned;
  return assigned;
}

std::int64_t Assignments::rows_per_tile(const MatrixView& x, Filter filter) const {
  // As many rows as the cache and the caller allow, yet four tiles a thread if there are rows enough.
  const bool int8 = filter == Filter::int8, narrow = filter == Filter::low_dim;
  const std::int64_t group = int8 ? sketched_group(*kernels_.sketch) : narrow ? kNarrowGroup : kernels_.row_group;
  const std::int64_t most = int8     ? std::min(kMostSketchedRows, 4 * tile_rows(x.cols))
                            : narrow ? kNarrowRows
                                     : tile_rows(x.cols, kMostRows);
  const std::int64_t shares = 4 * static_cast<std::int64_t>(workers_.count());
  const std::int64_t fair = (x.rows + shares - 1) / shares;
  const std::int64_t rows = std::min({std::max(group, std::min(most, fair)), execution_.chunk_size_data, x.rows});
  return rows < group ? rows : rows / group * group;
}

void Assignments::keep_bounds(const MatrixView& x, CentroidsView centroids, bool wanted, bool again,
                              std::int64_t tile_rows) {
  if (!known_ || !wanted || (bounds_ && !bounds_->fits(tile_rows, centroids))) bounds_.reset();
  if (bounds_)
    bounds_->move_to(centroids, workers_);
  else if (known_ && wanted && again)
    bounds_ = std::make_unique<DriftBounds>(x.rows, tile_rows, centroids, kernels_.panel_width, workers_);
}

bool Assignments::is_known(const MatrixView& x) const {
  return known_ && known_->data == x.data && known_->rows == x.rows && known_->cols == x.cols &&
         known_->dtype == x.dtype && known_->row_stride == x.row_stride && known_->col_stride == x.col_stride;
}

double Assignments::split(CentroidsView centroids) const {
  const double length = typical(centroids.k, [&](std::int64_t c) {
    double sum = 0;
    for (std::int64_t j = 0; j < centroids.d; ++j) {
      const double t =
          static_cast<double>(centroids.row(c)[j]) - static_cast<double>(centre_[static_cast<std::size_t>(j)]);
      sum += t * t;
    }
    return std::sqrt(sum);
  });
  // Before any distance is known: initial centroids are rows, and as far from the centre as from each other.
  const double radius = radius_ > 0 ? radius_ : length;
  return radius > 0 ? std::clamp(quantisation(*kernels_.sketch) * length / radius, 0x1p-12, 1.0) : 1.0;
}

}  // namespace fastkmeans::cpu
