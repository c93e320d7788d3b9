// SPDX-License-Identifier: Apache-2.0
#include "cpu/assigner.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/calibrate.hpp"
#include "cpu/filter.hpp"
#include "cpu/low_dim.hpp"
#include "cpu/rows.hpp"
#include "numeric/distance.hpp"
#include "plan/survey.hpp"

namespace fastkmeans::cpu {
namespace {

// Rows of a tile. fp32: beyond this a panel's own traffic is hidden already. int8: four times the arithmetic a byte, so
// more rows must share a panel; their fp32 rows, read again by refine, stay within the L2 of most servers.
constexpr std::int64_t kMostRows = 192, kMostSketchedRows = 512;
// Rows and centroids looked at to learn what is typical.
constexpr std::int64_t kLookedAt = 64;
// Bounds reach as far as the centroids lie apart, though most rows may have a centroid of their own, at distance 0:
// their unit is that of at least this share of a centroid's distance from the centre.
constexpr double kLeastDistance = 1.0 / 16;
// Movers are chosen by so many rows, but not by more than a part of all.
constexpr std::int64_t kSampledForMovers = 256, kRowsPerSampled = 16;
// Narrow sketches are tried on initial centroids, which are rows, and on the means of the first clusters: then most
// centroids are nearer to their rows than they were, and hardly more so later.
constexpr int kSurveys = 2;
// A few milliseconds of work between two checkpoints, on the slowest path too.
constexpr std::int64_t kMultiplyAddsPerCheckpoint = 1 << 24;

// The median of value(i) over at most kLookedAt of n, spread evenly.
template <class Value>
double typical(std::int64_t n, Value value) {
  const std::int64_t count = std::min(n, kLookedAt);
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(value(spread_row(n, count, i)));
  std::nth_element(values.begin(), values.begin() + count / 2, values.end());
  return values[static_cast<std::size_t>(count / 2)];
}

}  // namespace

struct Assigner::Call {
  CentroidsView centroids;
  bool more, tiny;
  AssignTask task;
  bool keeps_sketches;
};

Assigner::Assigner(const Context& context, const Execution& execution)
    : context_(context),
      x_(context.x),
      kernels_(context.kernels),
      workers_(context.workers),
      execution_(execution),
      costs_(&kernels_.costs),
      forced_(forced_choice(execution.filter, kernels_.costs)),
      products_(context.metric.loss() == Loss::negated_product) {
  if (kernels_.sketch) sketcher_ = std::make_unique<FullSketcher>(x_.cols, *kernels_.sketch);
}

Assigned Assigner::assign(CentroidsView centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                          float* distances) {
  if (x_.rows == 0) return {};  // mutant: no_rows
  if (centre_.empty()) centre_ = centre_of(context_);
  if (products_) lift_.raise(centroids, workers_);
  Call call = {.centroids = centroids,
               .more = more,
               .tiny = !products_ && is_tiny(centroids, kernels_),
               .task = {.context = context_, .previous = previous, .labels = labels, .distances = distances},
               .keeps_sketches = false};
  if (worth_calibrating(problem(call), kernels_.costs, workers_.count())) costs_ = &calibrated(kernels_);
  look_for_narrow(call);
  const Plan plan = make_plan(problem(call), history_, *costs_);
  const Sketcher* sketcher = sketcher_of(plan.filter);
  narrow_ran_ = narrow_ran_ || plan.filter == Filter::narrow;
  AssignTask& task = call.task;
  task.most_refined = plan.most_refined;
  cut(task, plan.filter);  // also where another one finishes
  keep_bounds(call, plan.bounds);
  const bool bounds_known = bounds_ && bounds_->known();
  // Tiles of less than a group would write into each other's places.
  call.keeps_sketches = sketcher && (more || has_sketches_of(sketcher)) &&
                        task.tile_rows % sketched_group(*kernels_.sketch) == 0;  // mutant: whole_groups_kept

  AssignCounts counts = run(call, plan.filter);
  const auto rows = static_cast<double>(x_.rows);
  const double scored =
      bounds_known ? static_cast<double>(counts.effort.scored) / rows / static_cast<double>(centroids.k) : 0;
  const TileSet undone = counts.undone;
  const bool gave_up = !undone.empty();
  if (gave_up) {
    bounds_.reset();
    task.most_refined = 0;
    task.only = &undone;
    call.keeps_sketches = false;  // mutant: forgotten_sketches
    sketched_by_ = nullptr;
    counts.add(run(call, plan.next()));
  }
  history_.note({.changed = static_cast<double>(counts.changed) / rows,
                 .scored = scored,
                 .most_scored = plan.most_scored,
                 .gave_up = gave_up,
                 .narrow = plan.filter == Filter::narrow});
  const auto finished = gave_up ? std::optional(plan.next()) : std::nullopt;  // mutant: gave_up_said
  const bool all_good = counts.check.bad == 0;
  if (call.keeps_sketches && all_good) sketched_by_ = sketcher;  // mutant: sketches_complete
  follows_ = more && all_good;
  if (follows_ && bounds_) bounds_->set_known();
  const auto distance = [&](std::int64_t i) {
    if (!products_) return std::sqrt(true_distance(distances[i]));
    RowTile tile(context_, 1, x_.cols);
    return radius(tile, i, centroids, labels[i]);
  };
  radius_ = follows_ ? typical(x_.rows, distance) : 0;
  return {.check = counts.check,
          .inertia = counts.inertia,
          .changed = counts.changed,
          .filter = {.filter = name_of(plan.filter, finished),
                     .scored = counts.effort.scored,
                     .refined = counts.effort.refined,
                     .isa = {}},
          .abandoned = counts.abandoned};
}

Problem Assigner::problem(const Call& call) const {
  Problem problem = {.rows = x_.rows,
                     .d = x_.cols,
                     .k = call.centroids.k,
                     .size = sketcher_ ? sketcher_->size() : 0,
                     .panel_width = kernels_.panel_width,
                     .most_groups = LowerBounds::most_groups(x_.cols),
                     .first = call.task.previous == nullptr,
                     .more = call.more,
                     .sketched = has_sketches_of(sketcher_.get()),
                     .narrow = narrow_,
                     .tiny = call.tiny,
                     .products = products_,
                     .forced = forced_};
  problem.narrow.sketched = narrow_sketches_ && has_sketches_of(narrow_sketches_->sketcher());
  return problem;
}

const Sketcher* Assigner::sketcher_of(Filter filter) const {
  if (filter == Filter::narrow) return narrow_sketches_->sketcher();
  return filter == Filter::int8 ? sketcher_.get() : nullptr;
}

void Assigner::try_some_rows(const Call& call) {
  const Problem problem = this->problem(call);
  const Plan plan = make_plan(problem, history_, *costs_);
  Context some = context_;
  Call trial = {
      .centroids = call.centroids,
      .more = false,
      .tiny = call.tiny,
      .task = {.context = some, .previous = nullptr, .labels = call.task.labels, .distances = call.task.distances},
      .keeps_sketches = false};
  trial.task.most_refined = plan.most_refined;
  cut(trial.task, plan.filter);
  some.x.rows = trial.task.tile_rows * workers_.count();
  if (!worth_a_trial(problem, *costs_, some.x.rows)) return;
  bounds_.reset();  // a first assignment has none
  const AssignCounts counts = run(trial, plan.filter);
  const Trial tried = {
      .rows = some.x.rows, .refined = counts.effort.refined, .nanoseconds = static_cast<double>(counts.spent.count())};
  // A filter that is given up says nothing of the next.
  slower_ = counts.undone.empty() ? slower(problem, *costs_, tried) : 1;
}

void Assigner::look_for_narrow(const Call& call) {
  if (surveys_ == kSurveys || narrow_ran_) return;
  const Problem problem = this->problem(call);
  if (!slower_) try_some_rows(call);  // once
  if (!worth_a_survey(problem, *costs_, slower_.value_or(1))) return;
  ++surveys_;
  if (!narrow_sketches_) narrow_sketches_ = std::make_unique<NarrowSketches>(context_, centre_, call.centroids.k);
  narrow_ = narrow_sketches_->choose(call.centroids, problem, *costs_);
  // In vain: what it counted for sketches of all dimensions does not go with costs that a trial found too low.
  if (slower_.value_or(1) > 1 && make_plan(this->problem(call), history_, *costs_).filter != Filter::narrow)
    narrow_ = {};
}

void Assigner::forget() {
  follows_ = false;
  bounds_.reset();
  radius_ = 0;
  if (surveys_ == kSurveys && !narrow_ran_) narrow_ = {};  // they will not be looked for again
}

void Assigner::keep_bounds(const Call& call, bool wanted) {
  const std::int64_t tile_rows = call.task.tile_rows;
  const bool usable = follows_ && wanted && call.task.previous;  // mutant: old_bounds
  if (!usable || (bounds_ && !bounds_->fits(tile_rows, call.centroids))) bounds_.reset();
  if (bounds_) {
    bounds_->move_to(call.centroids, sample_rows(call), workers_, lift_);  // mutant: bounds_moved
  } else if (usable && call.more) {
    // mutant: unit_of_bounds
    const double distance = std::max(radius_, kLeastDistance * typical_length(call.centroids));
    bounds_ = std::make_unique<LowerBounds>(x_.rows, tile_rows, call.centroids, kernels_.panel_width, distance,
                                            workers_, lift_);
  }
  follows_ = false;  // mutant: bounds_half_done
}

std::vector<SampledRow> Assigner::sample_rows(const Call& call) const {
  const std::int64_t count = std::min(kSampledForMovers, x_.rows / kRowsPerSampled);
  std::vector<SampledRow> sample(static_cast<std::size_t>(count));
  const double operations = 4.0 * static_cast<double>(count) * static_cast<double>(x_.cols);
  workers_.for_blocks(count, kPadding, operations, [&](std::int64_t first, std::int64_t block, int) {
    RowTile tile(context_, 1, x_.cols);
    for (std::int64_t i = first; i < first + block; ++i) {
      const std::int64_t row = spread_row(x_.rows, count, i);
      const double distance = radius(tile, row, call.centroids, call.task.previous[row]);
      sample[static_cast<std::size_t>(i)] = {.row = row, .radius = static_cast<float>(distance)};
    }
  });
  return sample;
}

AssignCounts Assigner::run(const Call& call, Filter filter) {
  const std::vector<std::int32_t> places = bounds_ ? bounds_->places() : std::vector<std::int32_t>();
  centroids_.prepare(call.centroids, centre_, 1.0f, bounds_ ? &places : nullptr, lift_, workers_);
  switch (filter) {
    case Filter::int8:
    case Filter::narrow: return run_sketched(call, *sketcher_of(filter));
    case Filter::low_dim:
      float_panels_.prepare(centroids_, FilterBound::of_rows(x_.cols), 1, kernels_, workers_);
      return assign_low_dim(call.task, centroids_, float_panels_, low_dim_columns_);
    case Filter::fp32: break;
  }
  return run_fp32(call);
}

AssignCounts Assigner::run_fp32(const Call& call) {
  const FilterBound bound = bound_for(FilterBound::of_rows(x_.cols));
  const CentredPoints::Shared shared = {centroids_, float_panels_, bound, kernels_};
  float_panels_.prepare(centroids_, bound, kernels_.panel_width, kernels_, workers_);
  if (bounds_) return assign_bounded<CentredPoints>(call.task, shared, *bounds_);
  // mutant: tiny_scaled
  if (!call.tiny) return assign_all<CentredPoints, AllRows>(call.task, shared);
  // Scaled by 2^64 the centre of larger rows would overflow; without one the bound holds as well.
  tiny_centroids_.prepare(call.centroids, {}, kTinyScale, nullptr, lift_, workers_);
  tiny_panels_.prepare(tiny_centroids_, bound, kernels_.panel_width, kernels_, workers_);
  const CentredPoints::Shared scaled = {tiny_centroids_, tiny_panels_, bound, kernels_};
  AssignCounts counts = assign_all<CentredPoints, OtherRows>(call.task, shared);
  counts.add(assign_all<CentredPoints, TinyRows>(call.task, scaled));
  return counts;
}

AssignCounts Assigner::run_sketched(const Call& call, const Sketcher& sketcher) {
  const FilterBound bound = bound_for(FilterBound::of_sketches(x_.cols, split(call.centroids)));
  const bool complete = call.keeps_sketches && has_sketches_of(&sketcher);
  if (call.keeps_sketches && !complete) {
    sketched_by_ = nullptr;
    sketches_.resize(x_.rows + std::max(kernels_.sketch->row_group, kPadding), sketcher.size());
  }
  const SketchedPoints::Shared shared = {.centroids = centroids_,
                                         .panels = sketch_panels_,
                                         .bound = bound,
                                         .kernels = kernels_,
                                         .sketcher = sketcher,
                                         .kept = call.keeps_sketches ? &sketches_ : nullptr,
                                         .complete = complete};
  sketch_panels_.prepare(centroids_, bound, sketcher, kernels_.panel_width, kernels_, workers_);
  if (bounds_) return assign_bounded<SketchedPoints>(call.task, shared, *bounds_);
  return assign_all<SketchedPoints, AllRows>(call.task, shared);
}

void Assigner::cut(AssignTask& task, Filter filter) const {
  task.tile_rows = rows_per_tile(filter);
  const std::int64_t by_chunk = std::max<std::int64_t>(1, execution_.chunk_size_centroids / kernels_.panel_width);
  task.panels_at_a_time =
      std::min(by_chunk, kMultiplyAddsPerCheckpoint / (task.tile_rows * kernels_.panel_width * x_.cols) + 1);
}

std::int64_t Assigner::rows_per_tile(Filter filter) const {
  std::int64_t group = kernels_.row_group, most = tile_rows(x_.cols, kMostRows);
  if (sketcher_of(filter)) {
    group = sketched_group(*kernels_.sketch);
    most = std::min(kMostSketchedRows, 4 * tile_rows(x_.cols));
  } else if (filter == Filter::low_dim) {
    group = kLowDimGroup;
    most = kLowDimRows;
  }
  // As many rows as the cache and the caller allow, yet four tiles a thread if there are rows enough.
  const std::int64_t shares = 4 * static_cast<std::int64_t>(workers_.count());
  const std::int64_t fair = (x_.rows + shares - 1) / shares;
  const std::int64_t rows = std::min({std::max(group, std::min(most, fair)), execution_.chunk_size_data, x_.rows});
  return rows < group ? rows : rows / group * group;
}

double Assigner::radius(RowTile& rows, std::int64_t row, CentroidsView centroids, std::int32_t c) const {
  rows.load(row, 1);
  return std::sqrt(sq_distance(rows.row(0), centroids.row(c), x_.cols) + lift_.sq_height(c));
}

double Assigner::typical_length(CentroidsView centroids) const {
  return typical(centroids.k,
                 [&](std::int64_t c) { return std::sqrt(sq_distance(centroids.row(c), centre_.data(), centroids.d)); });
}

double Assigner::split(CentroidsView centroids) const {
  const double length = typical_length(centroids);
  // Before any distance is known: initial centroids are rows, and as far from the centre as from each other.
  const double radius = radius_ > 0 ? radius_ : length;
  return radius > 0 ? std::clamp(typical_quantisation(kernels_.sketch->levels) * length / radius, 0x1p-12, 1.0) : 1.0;
}

}  // namespace fastkmeans::cpu
