// SPDX-License-Identifier: Apache-2.0
#include "scalar/scalar_shard.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "host/host_shard.hpp"
#include "host/masses.hpp"
#include "runtime/workers.hpp"
#include "scalar/scalar_distance.hpp"
#include "source/element.hpp"

namespace fastkmeans {
namespace {

class ScalarShard final : public HostShard {
 public:
  ScalarShard(const Source& rows, const Metric& metric, Workers& workers)
      : HostShard(rows, metric, workers), row_(static_cast<std::size_t>(rows.cols())) {}

  Statistics statistics() override {
    Statistics result;
    result.column_max.assign(row_.size(), 0.0f);
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      if (!read(i)) {
        result.check.note(i);
        continue;
      }
      if (rows_.weight(i) == 0) continue;
      for (std::size_t j = 0; j < row_.size(); ++j)
        result.column_max[j] = std::max(result.column_max[j], std::abs(row_[j]));
      const float row_max = largest_magnitude(row_.data(), x_.cols);
      result.zero_rows += row_max == 0;
      if (row_max > 0 && (result.least_row_max == 0 || row_max < result.least_row_max)) result.least_row_max = row_max;
    }
    return result;
  }

 protected:
  void forget() override {}

  Assigned assign_rows(CentroidsView centroids, const std::int32_t* previous, bool, std::int32_t* labels,
                       float* distances) override {
    Assigned assigned;
    assigned.filter.isa = "scalar";
    const bool tiny = is_tiny(centroids);
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      Nearest nearest = {0, 0};
      if (read(i))
        nearest = scalar_label(row_.data(), centroids, metric_, tiny, [this] { workers_.checkpoint(0); });
      else
        assigned.check.note(i);
      labels[i] = nearest.label;
      distances[i] = nearest.distance;
      assigned.changed += !previous || previous[i] != labels[i];
      assigned.inertia.add(distances[i]);
    }
    return assigned;
  }

  void accumulate_rows(const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale, Sums& sums) override {
    auto move = [&](std::int32_t c, std::int64_t times) {
      add_row(scale, row_.data(), times, sums.hi_row(c), sums.lo_row(c));
      sums.count(c, times);
    };
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      if ((from && from[i] == to[i]) || rows_.weight(i) == 0) continue;
      read(i);
      if (from) move(from[i], -rows_.weight(i));
      move(to[i], rows_.weight(i));
    }
  }

  void center_shifts(CentroidsView a, CentroidsView b, float* distances) override {
    const bool tiny = is_tiny(b);
    for (std::int64_t c = 0; c < a.k; ++c)
      distances[c] = scalar_nearest(a.row(c), {b.row(c), 1, b.d}, tiny, [] {}).distance;
  }

  void lower_rows(CentroidsView added, bool first, float* distances) override {
    const bool tiny = is_tiny(added);
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      read(i);
      const float distance = scalar_nearest(row_.data(), added, tiny, [this] { workers_.checkpoint(0); }).distance;
      if (first || true_distance(distance) < true_distance(distances[i])) distances[i] = distance;
    }
  }

  void own_losses(float* losses) override {
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      read(i);
      losses[i] = scalar_negated_product(row_.data(), row_.data(), x_.cols);
    }
  }

  std::vector<Mass> masses_of(CentroidsView candidates, int exponent, const float* distances) override {
    std::vector<Mass> masses;
    std::vector<float> lowered(static_cast<std::size_t>(x_.rows));
    for (std::int64_t c = 0; c < candidates.k; ++c) {
      std::copy_n(distances, x_.rows, lowered.begin());
      lower_rows({candidates.row(c), 1, candidates.d}, false, lowered.data());
      masses.push_back(Masses(lowered.data(), rows_, exponent, workers_).total());
    }
    return masses;
  }

 private:
  // Row i as the metric takes it, in row_; false if no distance can be taken of it.
  bool read(std::int64_t i) {
    workers_.checkpoint(0);
    read_row(x_, i, row_.data());
    if (!is_valid(row_.data(), x_.cols)) return false;
    metric_.transform(row_.data(), x_.cols);
    return true;
  }

  std::vector<float> row_;
};

}  // namespace

std::unique_ptr<Shard> make_scalar_shard(const Source& rows, const Metric& metric, Workers& workers) {
  return std::make_unique<ScalarShard>(rows, metric, workers);
}

}  // namespace fastkmeans
