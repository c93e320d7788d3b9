// SPDX-License-Identifier: Apache-2.0
// Which of many scores reach a threshold: two multiply-adds a score and no comparison, of which a GPU does half as many
// (docs/filter.md section 6.6).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "numeric/both.hpp"

namespace fastkmeans {

// v within [0, 1]; 0 if it is not a number.
FASTKMEANS_BOTH inline float saturated(float v) {
#if defined(__CUDA_ARCH__)
  return __saturatef(v);
#else
  return v > 0 ? (v < 1 ? v : 1.0f) : 0.0f;
#endif
}

// Of one threshold. A threshold that is tiny is taken to be a little lower, and one that is huge, or no number, is
// reached by all finite scores.
struct Reach {
  float factor, offset;

  Reach() = default;
  FASTKMEANS_BOTH explicit Reach(float threshold) : factor(0), offset(1) {
    constexpr float kTiny = 0x1p-100f, kHuge = 0x1p126f;
    const float size = std::fabs(threshold);
    if (!(size < kHuge)) return;  // mutant: reach_huge
    const float least = size < kTiny ? -kTiny : threshold;
    // The number before it. What is not above that must come to 0 or less, and `least`, the next number, to 1 or more.
    const auto bits = std::bit_cast<std::uint32_t>(least), before = least > 0 ? bits - 1 : bits + 1;
    const std::uint32_t exponent = before >> 23 & 0xff;
    factor = std::bit_cast<float>((2 * 127 + 24 - exponent) << 23);  // mutant: reach_factor
    offset = -std::bit_cast<float>(before) * factor;
  }

  // 1 if it is reached, 0 if not, which is so of -infinity and of what is no number.
  FASTKMEANS_BOTH float by(float score) const { return saturated(fmaf(score, factor, offset)); }
};

// Numbers of centroids whose sum over those that reach a threshold says which they are, if they are one or two.
class Codes {
 public:
  static constexpr int kMost = 1 << 21;  // centroids: sums of two codes are exact in fp32

  FASTKMEANS_BOTH explicit Codes(int k) : k_(k) {}
  FASTKMEANS_BOTH float of(int c) const { return static_cast<float>(2 * k_ + c); }
  // Whether c is the only one.
  FASTKMEANS_BOTH bool alone(float sum, int c) const { return sum == of(c); }
  // The other one, if they are c and one other, else -1; where c is none of them, -1 or any centroid.
  FASTKMEANS_BOTH int other(float sum, int c) const {
    if (!(sum < static_cast<float>(6 * k_))) return -1;  // three or more: perhaps no int
    const int other = static_cast<int>(sum) - 4 * k_ - c;
    return other >= 0 && other < k_ && other != c ? other : -1;  // mutant: code_of_other
  }

 private:
  int k_;
};

}  // namespace fastkmeans
