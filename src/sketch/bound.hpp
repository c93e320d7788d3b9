// SPDX-License-Identifier: Apache-2.0
// The filter's bound (docs/filter.md section 6 has the proof).
//
// A row x and a centroid c have sketches v and w, vectors with | |v - w| - |x - c| | <= error of x + error of c. The
// filter scores S = start_c + <v, w> in few fp32 operations, start_c = -|w|^2 / 2 raised by the centroid's share of all
// errors. A pair may be dropped only if S < threshold(U): then D(x, c) > U for sure, U being D of x to some centroid.
// Each share depends on x alone or on c alone, so an outlier spoils nobody else's bound.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "numeric/both.hpp"
#include "numeric/directed.hpp"
#include "numeric/distance.hpp"
#include "sketch/rotation.hpp"
#include "sketch/sketch.hpp"

namespace fastkmeans {

// fp64 sums of at most 2^20 fp32 squares, square roots and products: 2^-30 covers their own rounding many times over.
inline constexpr double kFp64Slack = 0x1p-30;  // mutant: fp64_slack

// |(a - b) - (x - c)| <= kCentring (|a| + |b|) for a = fl(x - mu), b = fl(c - mu): one rounding an element (fp32
// differences do not underflow).
inline constexpr double kCentring = 1.01 * kUnitRoundoff;  // mutant: centring

// What the bound knows of a sketch.
struct SketchSize {
  double sq_norm;  // |v|^2 as an fp64 sum
  double error;    // its share of | |v - w| - |x - c| |, not below the truth by more than 2^-33 of it
};

// y - scale q is off by this share of |y|: two roundings, of the product and of the difference.
inline constexpr double kSketchRounding = 3 * kUnitRoundoff;

// What a sketch of `size` elements says of its row. rounding: what the rotation and the arithmetic of the kernels add
// to the error, a share of the row's length (docs/filter.md section 6.3).
FASTKMEANS_BOTH inline SketchSize size_of(const RowSketch& row, std::int64_t size, double rounding) {
  // fp32 sums of `size` squares: each passes at most size + 8 roundings, and denormals take less than 2^-130.
  const double sums = 1 + (static_cast<double>(size) + 8) * kUnitRoundoff;
  const double length = std::sqrt(row.sq_length * sums + 0x1p-130);
  const double error = std::sqrt(row.sq_error * sums + 0x1p-130);
  const double scale = row.scale;
  return {.sq_norm = scale * scale * row.sq_sum,
          .error = error + (rounding + kCentring) * length + Rotation::kUnderflow};  // mutant: sketch_error
}

// The nearest of the numbers of 11 bits that tensor cores take (tf32). Small ones are 0, so that no product is
// denormal.
FASTKMEANS_BOTH inline float tensor_core_value(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  return (bits & 0x7fffffffu) < std::bit_cast<std::uint32_t>(0x1p-60f)
             ? 0.0f
             : std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

class FilterBound {
 public:
  // roundings: those that touch a term of a score. underflow: what denormals may take from a score. split: any number
  // > 0; best is the error of a typical centroid over the distance of a typical row to its own.
  FilterBound(std::int64_t d, double roundings, double underflow, double split)
      : distance_rounding_(1 + distance_rounding(d)),            // mutant: distance_rounding
        distance_underflow_(static_cast<double>(d) * 0x1p-148),  // mutant: distance_underflow
        score_rounding_(roundings * kUnitRoundoff / (1 - roundings * kUnitRoundoff)),
        score_underflow_(underflow),
        split_(split),
        loss_factor_(distance_rounding_) {}

  // fp32, W = I: v = x - mu, w = c - mu. A score is a chain of d products and d sums on top of the start value, in any
  // order: at most d + 2 roundings touch a term (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
  static FilterBound of_rows(std::int64_t d) {
    return {d, static_cast<double>(d) + 2, static_cast<double>(d) * 0x1p-148, kCentring};  // mutant: score_roundings
  }
  // int8: the product of the integers, its conversion, the product of the scales and one multiply-add.
  // mutant: sketch_score
  static FilterBound of_sketches(std::int64_t d, double split) { return {d, 4, 0x1p-120, split}; }

  // Rows and centroids less mu, as tensor_core_value() rounds them, `size` elements with the zeros behind them. An
  // instruction adds 8 products, which are exact, to a sum: each of the 9, and then the result, loses less than 2^-23
  // of the largest (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science
  // 2021), 24 u of all together; 40 are allowed. Sums may be denormal, products are not (docs/filter.md section 6.6).
  static FilterBound of_tensor_cores(std::int64_t d, std::int64_t size) {
    // mutant: tensor_core_roundings
    return {d, 5 * static_cast<double>(size), static_cast<double>(size) * 0x1p-120, 0x1p-12};
  }

  // The same for inner products, as distances to centroids lifted to this ceiling (docs/filter.md section 6.11):
  // radius() takes losses, and wants a base of each row.
  FilterBound lifted(double sq_ceiling) const {
    FilterBound bound = *this;
    bound.loss_factor_ = 2;
    bound.sq_ceiling_ = sq_ceiling;
    return bound;
  }

  // The start value of a centroid's scores.
  FASTKMEANS_BOTH float start(const SketchSize& w) const {
    const double error = w.error * w.error * (1 + 1 / split_);  // mutant: centroid_error_split
    // mutant: start_value_up
    return round_up(-0.5 *
                    // mutant: start_value
                    (w.sq_norm * (1 - 2 * score_rounding_ - kFp64Slack) - error * (1 + score_rounding_ + kFp64Slack)));
  }

  // What the threshold needs of a row.
  struct Point {
    float sq_norm;  // |v|^2 less the score's rounding
    float error;    // the row's share of the errors
  };
  FASTKMEANS_BOTH Point point(const SketchSize& v) const {
    // mutant: point_sq_norm
    return {round_down((1 - kFp64Slack) * v.sq_norm - (1 + kFp64Slack) * score_rounding_ * v.sq_norm),
            round_up(v.error)};
  }

  // |x - c| is at most this if D(x, c) <= `distance`.
  FASTKMEANS_BOTH double radius(float distance) const { return radius(distance, distance_underflow_); }

  // The base of every row, for distances; and of one with L(x, x) = own_loss, for lifted centroids.
  double base() const { return distance_underflow_; }
  FASTKMEANS_BOTH double base(float own_loss) const {
    const double sq_length = distance_rounding_ * -static_cast<double>(own_loss) + distance_underflow_;
    // mutant: product_rounding
    const double rounding = 2 * ((distance_rounding_ - 1) * std::sqrt(sq_length * sq_ceiling_) + distance_underflow_);
    return (1 + kFp64Slack) * (sq_length + sq_ceiling_ + rounding);
  }
  // |x - c| is at most this if the loss of the pair is <= `loss`.
  FASTKMEANS_BOTH double radius(float loss, double base) const {
    const double square = static_cast<double>(loss) * loss_factor_ + base;  // mutant: radius
    return square < 0 ? 0 : std::sqrt(square);
  }

  // |x - c| is at least this if D(x, c) >= `distance`.
  FASTKMEANS_BOTH double least_radius(float distance) const {
    // mutant: least_radius
    const double square = static_cast<double>(distance) / distance_rounding_ - distance_underflow_;
    return square > 0 ? (1 - kFp64Slack) * std::sqrt(square) : 0;
  }

  // The least score that a centroid with |x - c| <= radius can have.
  float threshold(const Point& point, double radius) const {
    // mutant: row_error
    const double apart = radius + static_cast<double>(point.error);  // the sketches, at most
    const double least =
        // mutant: threshold
        0.5 * (static_cast<double>(point.sq_norm) - (1 + kFp64Slack) * (1 + split_) * apart * apart) - score_underflow_;
    // Not -infinity, which the scores of centroids left out have; every other score is above the lowest float.
    return std::max(std::numeric_limits<float>::lowest(), round_down(least));  // mutant: threshold_down
  }

  // The threshold in fp32, for scores as in of_rows: T = (norm_factor A^2 - (distance and error)^2) / 2 - underflow,
  // where A^2 is an fp32 sum of d squares.
  struct LowDim {
    float distance_factor, distance_underflow, error_factor, norm_factor, score_underflow;
  };
  static LowDim low_dim(std::int64_t d) {
    const FilterBound exact = of_rows(d);
    const double sum = 2 * (static_cast<double>(d) + 2) * kUnitRoundoff;
    return {round_up(exact.distance_rounding_), round_up(exact.distance_underflow_), round_up(kCentring * (1 + sum)),
            round_down((1 - exact.score_rounding_) * (1 - sum) * (1 - 0x1p-20)), round_up(2 * exact.score_underflow_)};
  }

  // The threshold in fp32, or less: every step is rounded to the safe side.
  class Rounded {
   public:
    // size: squares that are added up to a sum.
    Rounded(const FilterBound& bound, std::int64_t size)
        : sum_factor_(round_up(1 + sum_rounding(size))),
          centring_(round_up(kCentring)),
          distance_factor_(round_up(bound.distance_rounding_)),
          distance_underflow_(round_up(bound.distance_underflow_)),
          // mutant: rounded_norm
          norm_factor_(round_down((1 - 2 * kFp64Slack - bound.score_rounding_) * (1 - sum_rounding(size)))),
          apart_factor_(round_up((1 + kFp64Slack) * (1 + bound.split_))),  // mutant: rounded_apart
          score_underflow_(round_up(bound.score_underflow_)) {}

    // sq_norm, sq_error: fp32 sums over the row's elements as they are multiplied, and over what they lost.
    FASTKMEANS_BOTH float threshold(float distance, float sq_norm, float sq_error) const {
      const float lost = length(sq_error);
      const float error = multiply_add_up(add_up(length(sq_norm), lost), centring_, lost);  // mutant: rounded_error
      const float radius = root_up(multiply_add_up(distance, distance_factor_, distance_underflow_));
      const float apart = add_up(radius, error);
      const float sq_apart = multiply_up(multiply_up(apart, apart), apart_factor_);
      const float least = multiply_down(0.5f, subtract_down(multiply_down(sq_norm, norm_factor_), sq_apart));
      return subtract_down(least, score_underflow_);
    }

   private:
    static double sum_rounding(std::int64_t size) { return (static_cast<double>(size) + 8) * kUnitRoundoff; }
    // As in size_of().
    FASTKMEANS_BOTH float length(float sq_sum) const {
      return root_up(multiply_add_up(sq_sum, sum_factor_, 0x1p-130f));
    }

    float sum_factor_, centring_, distance_factor_, distance_underflow_, norm_factor_, apart_factor_, score_underflow_;
  };

  // The threshold turned around: a centroid whose score is below `score` is farther than
  // sqrt((sq_norm - 2 score - 2 underflow) factor) - error.
  float inverse_underflow() const { return round_up(2 * score_underflow_); }
  float inverse_factor() const { return round_down(1 / ((1 + 2 * kFp64Slack) * (1 + split_))); }  // mutant: bound_split

 private:
  double distance_rounding_, distance_underflow_;
  double score_rounding_, score_underflow_;
  double split_;
  double loss_factor_;
  double sq_ceiling_ = 0;  // of lifted centroids
};

}  // namespace fastkmeans
