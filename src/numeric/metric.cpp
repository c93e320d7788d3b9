// SPDX-License-Identifier: Apache-2.0
#include "numeric/metric.hpp"

#include <algorithm>
#include <cmath>

#include "numeric/lanes.hpp"

namespace fastkmeans {
namespace {

class Means : public Metric {
 public:
  bool keeps_rows() const override { return true; }
  void transform(float*, std::int64_t) const override {}
  void update(const FixedPoint& scale, const std::uint64_t* hi, const std::uint64_t* lo, std::int64_t weight,
              const float*, float* out) const override {
    for (std::int64_t j = 0; j < scale.d(); ++j)
      out[j] = static_cast<float>(scale.sum(j, hi, lo) / static_cast<double>(weight));
  }
};

class InnerProduct final : public Means {
 public:
  Loss loss() const override { return Loss::negated_product; }
  double value(float stored) const override { return 0.0 - static_cast<double>(stored); }
  double inertia(const ExactSum& losses) const override { return 0.0 - losses.signed_value(); }
  double gain(double before, double now) const override { return now - before; }  // mutant: products_should_rise
};

class Spherical final : public Metric {
 public:
  bool keeps_rows() const override { return false; }

  void transform(float* row, std::int64_t d) const override {
    float most = 0;
    for (std::int64_t j = 0; j < d; ++j) most = std::max(most, std::abs(row[j]));
    if (most == 0) return;  // mutant: zero_row
    int exponent = 0;
    std::frexp(most, &exponent);
    // z = x 2^-exponent: the product is exact in fp64 and rounds once.
    const double factor = std::ldexp(1.0, -exponent);  // mutant: row_scaled_first
    for (std::int64_t j = 0; j < d; ++j) row[j] = static_cast<float>(static_cast<double>(row[j]) * factor);
    const float length = std::sqrt(sum_of_squares<float>(d, [row](std::int64_t j) { return row[j]; }));
    for (std::int64_t j = 0; j < d; ++j) row[j] = row[j] / length;
  }

  void update(const FixedPoint& scale, const std::uint64_t* hi, const std::uint64_t* lo, std::int64_t,
              const float* before, float* out) const override {
    const auto sum = [&](std::int64_t j) { return scale.sum(j, hi, lo); };
    const double length = std::sqrt(sum_of_squares<double>(scale.d(), sum));
    // mutant: zero_sum_stays
    for (std::int64_t j = 0; j < scale.d(); ++j) out[j] = length > 0 ? static_cast<float>(sum(j) / length) : before[j];
  }
};

}  // namespace

const Metric& euclidean() {
  static const Means metric;
  return metric;
}

const Metric& inner_product() {
  static const InnerProduct metric;
  return metric;
}

const Metric& spherical() {
  static const Spherical metric;
  return metric;
}

}  // namespace fastkmeans
