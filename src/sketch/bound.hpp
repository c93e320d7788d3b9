// SPDX-License-Identifier: Apache-2.0
// The filter's bound for an fp32 sketch with W = I (docs/algorithm.md section 6 has the proof).
//
// With a = fl(x - mu), b = fl(c - mu), the filter scores S = start_c + <a, b> in fp32, start_c = -|b|^2 / 2 raised by
// the centroid's share of all rounding errors. A pair may be dropped only if S < threshold(U): then D(x, c) > U for
// sure, U being D of x to some centroid. Each share depends on x alone or on c alone, so an outlier spoils nobody
// else's bound.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "distance.hpp"

namespace fastkmeans {

// fp64 sums of at most 2^20 fp32 squares, square roots and products: 2^-30 covers their own rounding many times over.
inline constexpr double kFp64Slack = 0x1p-30;

// The largest fp32 number <= v, for finite results (std::nextafter is a call, and this runs for every row).
inline float round_down(double v) {
  const auto f = static_cast<float>(v);
  if (static_cast<double>(f) <= v) return f;
  const auto bits = std::bit_cast<std::int32_t>(f);  // below 0 the magnitude grows, above it shrinks; f = 0 means v < 0
  return std::bit_cast<float>(f > 0 ? bits - 1 : f < 0 ? bits + 1 : static_cast<std::int32_t>(0x80000001));
}
inline float round_up(double v) { return -round_down(-v); }

class FilterBound {
 public:
  explicit FilterBound(std::int64_t d)
      : distance_rounding_(1 + distance_rounding(d)), underflow_(static_cast<double>(d) * 0x1p-148) {
    // The score is a chain of d products and d sums on top of the start value, in any order: at most d + 2 roundings
    // touch a term (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    const double roundings = (static_cast<double>(d) + 2) * kUnitRoundoff;
    score_rounding_ = roundings / (1 - roundings);
  }

  // The start value of a centroid's scores; sq_norm = |b|^2 as an fp64 sum.
  float start(double sq_norm) const {
    return round_up(-0.5 * sq_norm * (1 - 2 * score_rounding_ - 2 * kCentring - kFp64Slack));
  }

  // What the threshold needs of a point; sq_norm = |a|^2 as an fp64 sum.
  struct Point {
    double head;   // |a|^2 less the score's rounding
    double reach;  // kCentring |a|
  };
  Point point(double sq_norm) const {
    return {(1 - kFp64Slack) * sq_norm - (1 + kFp64Slack) * score_rounding_ * sq_norm, kCentring * std::sqrt(sq_norm)};
  }

  // The least score that a centroid with D <= `distance` can have.
  float threshold(const Point& point, float distance) const {
    const double reach = std::sqrt(static_cast<double>(distance) * distance_rounding_ + underflow_) + point.reach;
    return round_down(0.5 * (point.head - (1 + kFp64Slack) * (1 + kCentring) * reach * reach) - underflow_);
  }

 private:
  // |(a - b) - (x - c)| <= kCentring (|a| + |b|): one rounding an element (fp32 differences do not underflow).
  static constexpr double kCentring = 1.01 * kUnitRoundoff;

  double distance_rounding_, score_rounding_;
  double underflow_;  // of D, and more than that of a score
};

}  // namespace fastkmeans
