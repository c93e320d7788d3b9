// SPDX-License-Identifier: Apache-2.0
// What a narrow sketch keeps of a row: its coordinates along a few directions, and the length of all the rest
// (docs/filter.md section 6.8 has the proof).
//
// f(a) = (W^T a, sqrt(|a|^2 - |W^T a|^2)) does not lengthen differences if |W| <= 1: with T = (I - W W^T)^(1/2) the map
// a -> (W^T a, T a) keeps lengths, and the last element is |T a|.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"
#include "numeric/distance.hpp"
#include "sketch/basis.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans {

class ProjectionBound {
 public:
  // roundings: those that touch a term of a coordinate, each a sum of d products in fp32 with the first `head`
  // directions.
  ProjectionBound(const Basis& basis, std::int64_t head, double roundings)
      : excess_(basis.excess),
        // mutant: projection_rounding
        rounding_(1.05 * roundings * kUnitRoundoff * std::sqrt(static_cast<double>(head))) {}

  struct Tail {
    float norm;    // of what the head leaves
    double error;  // of head, tail and a = fl(x - mu): its share of what |z - z'| may exceed |x - x'| by
  };
  // Of a row with |a|^2 = sq_length, |computed W^T a|^2 = sq_head, both fp64 sums.
  FASTKMEANS_BOTH Tail tail(double sq_length, double sq_head) const {
    const double rest = sq_length > sq_head ? sq_length - sq_head : 0;
    // mutant: tail_error
    const double off = 1.1 * (excess_ + 2.1 * rounding_ + kFp64Slack) * sq_length;
    const double root = std::sqrt(rest), length = std::sqrt(sq_length);
    // |root - t| = |rest - t^2| / (root + t), and |root - t|^2 <= |rest - t^2|.
    const double tail = off > root * root ? std::sqrt(off) : off > 0 ? off / root : 0;
    const double head = (rounding_ + excess_ / 2 + kCentring) * length;
    return {static_cast<float>(root), (head + tail + kUnitRoundoff * root) * (1 + kFp64Slack) + kUnderflow};
  }

 private:
  // What denormal products take from a coordinate, 2^-150 each, from at most 2^14 coordinates of at most 2^19 products.
  static constexpr double kUnderflow = 0x1p-120;

  double excess_, rounding_;
};

}  // namespace fastkmeans
