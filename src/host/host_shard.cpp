// SPDX-License-Identifier: Apache-2.0
#include "host/host_shard.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>

#include "numeric/distance.hpp"
#include "numeric/row_hash.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {
namespace {

// Rows handled between two looks at the interrupt, in passes that do a few operations a row.
constexpr std::int64_t kRowsPerPass = 1 << 16;

}  // namespace

double total_shift(const std::vector<float>& center_shifts) {
  std::vector<double> level(std::bit_ceil(center_shifts.size()), 0.0);
  std::transform(center_shifts.begin(), center_shifts.end(), level.begin(),
                 [](float distance) { return std::sqrt(true_distance(distance)); });
  for (std::size_t size = level.size() / 2; size >= 1; size /= 2)
    // mutant: shift_tree
    for (std::size_t i = 0; i < size; ++i) level[i] = level[2 * i] + level[2 * i + 1];
  return level[0];
}

HostShard::HostShard(const Source& rows, const Metric& metric, Workers& workers)
    : rows_(rows), metric_(metric), workers_(workers), x_(rows.batch(0, rows.rows())) {}

Moments HostShard::moments() { return moments_of(x_, workers_); }

void HostShard::hash_rows(const std::int64_t* rows, std::int64_t count, std::uint64_t* out) {
  const double operations = 4.0 * static_cast<double>(count * x_.cols);
  workers_.for_blocks(count, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t block, int) {
    std::vector<float> row(static_cast<std::size_t>(x_.cols));
    for (std::int64_t i = first; i < first + block; ++i) {
      read_row(x_, rows[i], row.data());
      metric_.transform(row.data(), x_.cols);  // mutant: hashed_rows_transformed
      out[i] = row_hash(row.data(), x_.cols);
    }
  });
}

void HostShard::start_run(Start start) {
  centroids_ = std::move(start.values);
  if (!start.borrowed.empty()) centroids_.assign(start.borrowed.begin(), start.borrowed.end());
  const std::size_t given = centroids_.size();
  const auto count = static_cast<std::int64_t>(start.rows.size());
  centroids_.resize(given + static_cast<std::size_t>(count * x_.cols));
  rows_.gather(start.rows.data(), count, centroids_.data() + given, workers_);
  if (!metric_.keeps_rows())  // mutant: first_rows_transformed
    for (std::size_t at = given; at < centroids_.size(); at += static_cast<std::size_t>(x_.cols))
      metric_.transform(&centroids_[at], x_.cols);
  assignments_ = 0;
  if (sums_) sums_->clear();  // mutant: sums_forgotten
  forget();
}

void HostShard::assign(bool more) {
  const bool first = assignments_++ == 0;
  if (!first) {
    before_.resize(x_.rows);
    std::swap(before_, labels_);
  }
  labels_.resize(x_.rows);
  masses_.reset();
  distances_.resize(x_.rows);
  assigned_ = assign_rows(view(centroids_), first ? nullptr : before_.data(), more, labels_.data(), distances_.data());
  if (rows_.weights()) assigned_.inertia = weighted_inertia();  // mutant: weighted_inertia
}

ExactSum HostShard::weighted_inertia() const {
  ExactSum total;
  std::mutex mutex;
  const auto add = [&](std::int64_t first, std::int64_t count, int) {
    ExactSum part;
    for (std::int64_t i = first; i < first + count; ++i)
      part.add(distances_.data()[i], static_cast<std::uint64_t>(rows_.weight(i)));
    const std::lock_guard lock(mutex);
    total.add(part);
  };
  workers_.for_blocks(x_.rows, kRowsPerPass, 10.0 * static_cast<double>(x_.rows), add);
  return total;
}

void HostShard::accumulate(const FixedPoint& scale) {
  scale_ = &scale;
  if (!sums_) {
    const CentroidsView centroids = view(centroids_);
    sums_.emplace(centroids.k, centroids.d, scale.two_limbs(), rows_.weights() != nullptr);
  }
  accumulate_rows(assignments_ == 1 ? nullptr : before_.data(), labels_.data(), scale, *sums_);
}

void HostShard::update(const CentroidRule& rule, Reducer& reducer) {
  std::vector<std::uint64_t> members = sums_->members();                   // mutant: members_or_weights
  reducer.sum(members.data(), static_cast<std::int64_t>(members.size()));  // mutant: members_of_all_shards
  updated_ = {};
  updated_.empty = std::count(members.begin(), members.end(), std::uint64_t{0});
  const bool splits = updated_.empty > 0 && rule.empty == EmptyClusters::split;
  if (updated_.empty > 0 && !splits) {
    const auto relocations =
        fill_empty_clusters({rows_, labels_.data(), gains()}, members, scale_->total_weight, rule, reducer, workers_);
    relocate(relocations);
    updated_.relocated = static_cast<std::int64_t>(relocations.size());
  }
  const Sums& sums = sums_over_shards(reducer);
  const CentroidsView now = view(centroids_);
  next_.resize(centroids_.size());
  center_shifts_.resize(static_cast<std::size_t>(now.k));
  const double operations = 8.0 * static_cast<double>(now.k) * static_cast<double>(now.d);
  workers_.for_blocks(now.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c) {
      const auto weight = static_cast<std::int64_t>(sums.weights[static_cast<std::size_t>(c)]);
      float* out = next_.data() + c * now.d;
      if (weight == 0 || c < rule.frozen) {  // mutant: centroid_stays
        std::copy_n(now.row(c), now.d, out);
        continue;
      }
      metric_.update(*scale_, sums.hi_row(c), sums.lo_row(c), weight, now.row(c), out);
      if (rule.integers) std::transform(out, out + now.d, out, [](float v) { return std::rint(v); });
    }
  });
  if (splits) updated_.relocated = split_clusters(sums.weights, rule, metric_, now.d, next_.data());
  center_shifts(view(next_), now, center_shifts_.data());
  updated_.shift = total_shift(center_shifts_);
  std::swap(centroids_, next_);
}

const float* HostShard::gains() {
  if (metric_.loss() == Loss::distance) return distances_.data();  // D(x, x) = 0
  if (own_losses_.size() == 0) {
    own_losses_.resize(x_.rows);
    own_losses(own_losses_.data());
  }
  gains_.resize(x_.rows);
  workers_.for_blocks(x_.rows, kRowsPerPass, static_cast<double>(x_.rows),
                      [&](std::int64_t first, std::int64_t count, int) {
                        for (std::int64_t i = first; i < first + count; ++i)
                          gains_.data()[i] = gain_of_row(distances_.data()[i], own_losses_.data()[i]);
                      });
  return gains_.data();
}

void HostShard::relocate(const std::vector<Relocation>& relocations) {
  const auto count = static_cast<std::int64_t>(relocations.size());
  const double operations = 20.0 * static_cast<double>(count) * static_cast<double>(x_.cols);
  workers_.for_each(count, operations, [&](std::int64_t r, int) {
    const auto [number, from, to] = relocations[static_cast<std::size_t>(r)];
    const std::int64_t i = rows_.index(number);
    if (i < 0) return;  // another shard's
    std::vector<float> row(static_cast<std::size_t>(x_.cols));
    read_row(x_, i, row.data());
    metric_.transform(row.data(), x_.cols);  // mutant: relocated_row_transformed
    // mutant: relocated_sums
    for (const auto& [c, times] : {std::pair(from, -rows_.weight(i)), std::pair(to, rows_.weight(i))}) {
      add_row(*scale_, row.data(), times, sums_->hi_row(c), sums_->lo_row(c));
      sums_->count(c, times);
    }
    labels_.data()[i] = static_cast<std::int32_t>(to);  // mutant: relocated_label
  });
}

const Sums& HostShard::sums_over_shards(Reducer& reducer) {
  if (reducer.size() == 1) return *sums_;
  total_ = sums_;
  for (auto* values : {&total_->hi, &total_->lo, &total_->weights})  // mutant: sums_of_all_shards
    reducer.sum(values->data(), static_cast<std::int64_t>(values->size()));
  return *total_;
}

void HostShard::copy_labels(std::int64_t* out) {
  workers_.for_blocks(
      x_.rows, kRowsPerPass, static_cast<double>(x_.rows),
      [&](std::int64_t first, std::int64_t count, int) { std::copy_n(labels_.data() + first, count, out + first); });
}

void HostShard::copy_distances(double* out) {
  workers_.for_blocks(x_.rows, kRowsPerPass, static_cast<double>(x_.rows),
                      [&](std::int64_t first, std::int64_t count, int) {
                        std::transform(distances_.data() + first, distances_.data() + first + count, out + first,
                                       [this](float stored) { return metric_.value(stored); });
                      });
}

void HostShard::look_up(const std::int64_t* rows, std::int64_t count, std::int32_t* labels, float* distances) {
  for (std::int64_t i = 0; i < count; ++i) {
    labels[i] = labels_.data()[rows[i]];
    distances[i] = distances_.data()[rows[i]];
  }
}

void HostShard::lower_distances(CentroidsView added, bool first) {
  masses_.reset();  // mutant: masses_of_distances
  distances_.resize(x_.rows);
  lower_rows(added, first, distances_.data());
}

double HostShard::largest_distance() { return fastkmeans::largest_distance(distances_.data(), rows_, workers_); }

Mass HostShard::total_mass(int exponent) { return masses(exponent).total(); }

std::vector<std::int64_t> HostShard::rows_at(int exponent, const std::vector<Mass>& masses) {
  const Masses& all = this->masses(exponent);
  std::vector<std::int64_t> rows;
  for (const Mass mass : masses) rows.push_back(all.row_at(mass));
  return rows;
}

const Masses& HostShard::masses(int exponent) {
  // mutant: masses_of_exponent
  if (!masses_ || masses_->exponent() != exponent) masses_.emplace(distances_.data(), rows_, exponent, workers_);
  return *masses_;
}

std::vector<Mass> HostShard::masses_with(CentroidsView candidates, int exponent) {
  return masses_of(candidates, exponent, distances_.data());
}

}  // namespace fastkmeans
