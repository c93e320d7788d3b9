// SPDX-License-Identifier: Apache-2.0
// The exact sum of stored distances, or of numbers of either sign, rounded once to fp64 (docs/algorithm.md section 3):
// what math.fsum would give.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "numeric/both.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans {

// D = m 2^(p - 149). v = m << (p & 31), times the row's weight, is cut into digits of 32 bits: the low one is added to
// bin p >> 5, the others to the next. Every bin grows by less than 2^32 a row, so 2^31 rows fit int64, and adding is
// free of order.
class ExactSum {
 public:
  static constexpr int kBins = 10;

  ExactSum() = default;
  // bins: (2, kBins), as added up elsewhere by the same rule.
  FASTKMEANS_BOTH explicit ExactSum(const std::int64_t* bins) { std::memcpy(&bins_, bins, sizeof bins_); }

  // The set and the bin of a distance's lowest digit, and the distance in its digits.
  struct Place {
    std::uint32_t set, bin;
    std::uint64_t v;
  };
  FASTKMEANS_BOTH static Place place_of(float stored) {
    const std::uint32_t bits = magnitude_bits(stored);
    const std::uint32_t exponent = bits >> 23;
    const std::uint64_t mantissa = (bits & 0x7fffffu) | (exponent ? 0x800000u : 0u);
    const std::uint32_t p = exponent ? exponent - 1 : 0;
    // mutant: inertia_scaled
    return {std::bit_cast<std::uint32_t>(stored) >> 31, p >> 5, mantissa << (p & 31)};
  }

  // v times a weight <= 2^40, in digits.
  struct Digits {
    std::uint64_t first, second, third;
  };
  FASTKMEANS_BOTH static Digits times(std::uint64_t v, std::uint64_t weight) {
    const std::uint64_t low = (v & 0xffffffffu) * (weight & 0xffffffffu), high = (v >> 32) * (weight & 0xffffffffu),
                        low_again = (v & 0xffffffffu) * (weight >> 32), high_again = (v >> 32) * (weight >> 32);
    // Each product is below 2^64 and stands at its own digit.
    // mutant: weighted_digits
    const std::uint64_t second = (low >> 32) + (high & 0xffffffffu) + (low_again & 0xffffffffu);
    // mutant: weighted_carry
    const std::uint64_t third = (second >> 32) + (high >> 32) + (low_again >> 32) + high_again;
    return {low & 0xffffffffu, second & 0xffffffffu, third};
  }

  void add(float stored) {
    const auto [set, first, v] = place_of(stored);
    std::int64_t* const bin = &bins_[set][first];
    bin[0] += static_cast<std::int64_t>(v & 0xffffffffu);
    bin[1] += static_cast<std::int64_t>(v >> 32);
  }

  // As often as `weight` <= 2^40 says.
  void add(float stored, std::uint64_t weight) {
    const auto [set, first, v] = place_of(stored);
    std::int64_t* const bin = &bins_[set][first];
    const Digits digits = times(v, weight);
    bin[0] += static_cast<std::int64_t>(digits.first);
    bin[1] += static_cast<std::int64_t>(digits.second);
    bin[2] += static_cast<std::int64_t>(digits.third);
  }

  void add(const ExactSum& other) {
    for (int set = 0; set < 2; ++set)
      for (int i = 0; i < kBins; ++i) bins_[set][i] += other.bins_[set][i];
  }

  // Over all shards.
  template <class Reducer>
  void merge_over_shards(Reducer& reducer) {
    std::array<std::uint64_t, std::size_t{2} * kBins> all;
    std::memcpy(all.data(), &bins_, sizeof bins_);
    reducer.sum(all.data(), all.size());
    std::memcpy(&bins_, all.data(), sizeof bins_);
  }

  // Nearest fp64, half to even.
  FASTKMEANS_BOTH double value() const {
    // Scaled rows count 2^-128, which is 4 digits.
    Digits32 digits{};
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
      if (i < kBins) carry += static_cast<std::uint64_t>(bins_[1][i]);
      const std::uint64_t low = carry & 0xffffffffu;
      std::uint64_t sum = low + (i >= 4 && i < kBins + 4 ? static_cast<std::uint64_t>(bins_[0][i - 4]) : 0);
      digits[i] = static_cast<std::uint32_t>(sum);
      carry = (carry >> 32) + (sum >> 32);
    }
    return rounded(digits);
  }

  // The same where what was added is not distances but numbers as they are.
  double signed_value() const {
    for (const std::size_t above : {0, 1}) {  // the set that is larger
      Digits32 digits{};
      std::int64_t carry = 0;
      for (std::size_t i = 4; i < digits.size(); ++i) {
        if (i < kBins + 4) carry += bins_[above][i - 4] - bins_[1 - above][i - 4];  // mutant: negative_terms
        digits[i] = static_cast<std::uint32_t>(carry & 0xffffffff);
        carry >>= 32;
      }
      if (carry == 0) return above == 0 ? rounded(digits) : -rounded(digits);
    }
    return 0;  // never: one of them is
  }

 private:
  // One number in base 2^32 with its last bit worth 2^(-149 - 128).
  using Digits32 = std::array<std::uint32_t, kBins + 4 + 2>;

  // Nearest fp64, half to even.
  FASTKMEANS_BOTH static double rounded(const Digits32& digits) {
    int top = static_cast<int>(digits.size()) - 1;
    while (top >= 0 && digits[static_cast<std::size_t>(top)] == 0) --top;
    if (top < 0) return 0.0;
    // The leading 64 bits, with everything below folded into the last one (sticky): one rounding to 53 bits follows.
    auto digit = [&](int i) { return i < 0 ? std::uint64_t{0} : std::uint64_t{digits[static_cast<std::size_t>(i)]}; };
    const int lead = std::countl_zero(digits[static_cast<std::size_t>(top)]);
    std::uint64_t head = digit(top) << 32 | digit(top - 1);
    std::uint64_t rest = digit(top - 2);
    if (lead > 0) {
      head = head << lead | rest >> (32 - lead);
      rest = (rest << lead) & 0xffffffffu;
    }
    for (int i = top - 3; i >= 0; --i) rest |= digit(i);  // mutant: inertia_tail
    // Round by hand: 64 -> 53 bits, half to even.
    std::uint64_t kept = head >> 11;
    const std::uint64_t below = head & 0x7ff;
    if (below > 0x400 || (below == 0x400 && (rest != 0 || (kept & 1)))) ++kept;  // mutant: inertia_half_way
    return std::ldexp(static_cast<double>(kept), 32 * (top - 1) - lead + 11 - 149 - 128);
  }

  std::array<std::array<std::int64_t, kBins>, 2> bins_{};  // [1]: of stored numbers with a sign bit
};

}  // namespace fastkmeans
