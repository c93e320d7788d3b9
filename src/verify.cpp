// SPDX-License-Identifier: Apache-2.0
#include "verify.hpp"

#include <bit>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "numeric/random.hpp"
#include "runtime/workers.hpp"
#include "scalar/scalar_distance.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kChecked = 1000;

std::string label_text(const Metric& metric, std::int32_t label, float stored) {
  char text[80];
  const char* const name = metric.loss() == Loss::distance ? "D" : "inner product";
  std::snprintf(text, sizeof text, "label %d (%s = %.9g)", label, name, metric.value(stored));
  return text;
}

class Verified final : public Shard {
 public:
  Verified(std::unique_ptr<Shard> shard, const Source& rows, const Metric& metric, Workers& workers)
      : shard_(std::move(shard)), rows_(rows), metric_(metric), workers_(workers) {}

  void assign(bool more) override {
    shard_->assign(more);
    if (rows_.rows() > 0) check(shard_->assigned().filter);
  }

  Statistics statistics() override { return shard_->statistics(); }
  Moments moments() override { return shard_->moments(); }
  void hash_rows(const std::int64_t* rows, std::int64_t count, std::uint64_t* out) override {
    shard_->hash_rows(rows, count, out);
  }
  void start_run(Start start) override { shard_->start_run(std::move(start)); }
  void accumulate(const FixedPoint& scale) override { shard_->accumulate(scale); }
  void update(const CentroidRule& rule, Reducer& reducer) override { shard_->update(rule, reducer); }
  const Assigned& assigned() override { return shard_->assigned(); }
  const Updated& updated() override { return shard_->updated(); }
  std::vector<float> centroids() override { return shard_->centroids(); }
  std::vector<float> take_centroids() override { return shard_->take_centroids(); }
  void copy_labels(std::int64_t* out) override { shard_->copy_labels(out); }
  void copy_distances(double* out) override { shard_->copy_distances(out); }
  void copy_to_device(const DeviceResults& out) override { shard_->copy_to_device(out); }
  void look_up(const std::int64_t* rows, std::int64_t count, std::int32_t* labels, float* distances) override {
    shard_->look_up(rows, count, labels, distances);
  }
  void lower_distances(CentroidsView added, bool first) override { shard_->lower_distances(added, first); }
  double largest_distance() override { return shard_->largest_distance(); }
  Mass total_mass(int exponent) override { return shard_->total_mass(exponent); }
  std::vector<std::int64_t> rows_at(int exponent, const std::vector<Mass>& masses) override {
    return shard_->rows_at(exponent, masses);
  }
  std::vector<Mass> masses_with(CentroidsView candidates, int exponent) override {
    return shard_->masses_with(candidates, exponent);
  }
  std::string_view filter_of_masses() const override { return shard_->filter_of_masses(); }
  std::unique_ptr<Shard> beside(const Source& rows) override {
    auto shard = shard_->beside(rows);
    // mutant: verified_beside
    return shard ? verified(std::move(shard), rows, euclidean(), workers_) : nullptr;
  }

 private:
  void check(const FilterStats& filter) {
    const std::int64_t d = rows_.cols();
    std::vector<std::int64_t> drawn(kChecked);
    for (std::size_t i = 0; i < drawn.size(); ++i)
      drawn[i] = static_cast<std::int64_t>(row_key(0, i, Purpose::verification, assignments_) %
                                           static_cast<std::uint64_t>(rows_.rows()));
    ++assignments_;
    std::vector<float> values(drawn.size() * static_cast<std::size_t>(d)), distances(drawn.size());
    std::vector<std::int32_t> labels(drawn.size());
    rows_.gather(drawn.data(), kChecked, values.data(), workers_);
    shard_->look_up(drawn.data(), kChecked, labels.data(), distances.data());
    const std::vector<float> centroids = shard_->centroids();
    const CentroidsView view = {centroids.data(), static_cast<std::int64_t>(centroids.size()) / d, d};
    const bool tiny = is_tiny(view);
    const double operations = 4.0 * static_cast<double>(kChecked) * static_cast<double>(view.k * d);
    workers_.for_each(kChecked, operations, [&](std::int64_t i, int worker) {
      const auto at = static_cast<std::size_t>(i);
      float* row = &values[at * static_cast<std::size_t>(d)];
      // mutant: bad_rows_not_verified
      if (!is_valid(row, d)) return;  // the check of rows speaks of these
      // mutant: verified_row
      metric_.transform(row, d);
      const Nearest nearest = scalar_label(row, view, metric_, tiny, [&] { workers_.checkpoint(worker); });
      // mutant: verified_label
      if (nearest.label == labels[at] &&
          // mutant: verified_distance
          std::bit_cast<std::uint32_t>(nearest.distance) == std::bit_cast<std::uint32_t>(distances[at]))
        return;
      throw std::runtime_error("FASTKMEANS_VERIFY: row " + std::to_string(rows_.number(drawn[at])) + " got " +
                               label_text(metric_, labels[at], distances[at]) + ", but the oracle finds " +
                               label_text(metric_, nearest.label, nearest.distance) + "; filter " +
                               std::string(filter.filter) + ", instruction set " + std::string(filter.isa));
    });
  }

  std::unique_ptr<Shard> shard_;
  const Source& rows_;
  const Metric& metric_;
  Workers& workers_;
  std::uint32_t assignments_ = 0;
};

}  // namespace

std::unique_ptr<Shard> verified(std::unique_ptr<Shard> shard, const Source& rows, const Metric& metric,
                                Workers& workers) {
  return std::make_unique<Verified>(std::move(shard), rows, metric, workers);
}

}  // namespace fastkmeans
