// SPDX-License-Identifier: Apache-2.0
#include "source/weights.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "numeric/text.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

// Weights handled between two looks at the interrupt.
constexpr std::int64_t kRowsPerPass = 1 << 16;
constexpr std::uint64_t kMostWeight = std::uint64_t{1} << 40;

// join(part_of(first weight, count)) for blocks of all weights, one join at a time.
template <class Part, class Join>
void for_parts(std::span<const double> weights, Workers& workers, const Part& part_of, const Join& join) {
  const auto n = static_cast<std::int64_t>(weights.size());
  std::mutex mutex;
  workers.for_blocks(n, kRowsPerPass, 4.0 * static_cast<double>(n), [&](std::int64_t first, std::int64_t count, int) {
    const auto part = part_of(static_cast<std::size_t>(first), static_cast<std::size_t>(first + count));
    const std::lock_guard lock(mutex);
    join(part);
  });
}

struct Facts {
  std::size_t bad = std::numeric_limits<std::size_t>::max();  // the lowest row whose weight is refused
  std::uint64_t positive = 0;                                 // rows of weight above 0
  double largest = 0;
  bool whole = true;      // all are integers up to 2^40
  std::uint64_t sum = 0;  // if so, and if it is at most 2^40

  void join(const Facts& other) {
    bad = std::min(bad, other.bad);
    positive += other.positive;
    largest = std::max(largest, other.largest);
    whole = whole && other.whole;
    sum = std::min(sum + other.sum, kMostWeight + 1);
  }
};

Facts facts_of(std::span<const double> weights, Workers& workers) {
  const auto look = [&](std::size_t begin, std::size_t end) {
    Facts facts;
    for (std::size_t i = begin; i < end; ++i) {
      const double weight = weights[i];
      if (!(weight >= 0 && std::isfinite(weight))) {
        facts.bad = std::min(facts.bad, i);
        continue;
      }
      facts.positive += weight > 0;
      facts.largest = std::max(facts.largest, weight);
      if (weight <= static_cast<double>(kMostWeight) && weight == std::floor(weight))
        facts.sum += static_cast<std::uint64_t>(weight);  // of one block: below 2^57
      else
        facts.whole = false;
    }
    return facts;
  };
  Facts all;
  for_parts(weights, workers, look, [&](const Facts& part) { all.join(part); });
  return all;
}

// The largest for which the rounded weights surely stay within 2^40.
int exponent_for(const Facts& facts, std::span<const double> weights, Workers& workers) {
  int largest = 0;
  std::frexp(facts.largest, &largest);
  // No sum of fp64: it would depend on the order. 2^31 rows of up to 2^32 are below 2^64.
  std::uint64_t total = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    std::uint64_t part = 0;
    for (std::size_t i = begin; i < end; ++i)
      part += static_cast<std::uint64_t>(std::ceil(std::ldexp(weights[i], 32 - largest)));  // mutant: weights_sum
    return part;
  };
  for_parts(weights, workers, add, [&](std::uint64_t part) { total += part; });
  // Rounding adds less than 1 to each.
  const std::uint64_t room = kMostWeight - facts.positive;                // mutant: weights_room
  int shift = 8;                                                          // total is at least 2^31, and at most 2^63
  while (total > (shift >= 0 ? room >> shift : room << -shift)) --shift;  // mutant: weights_shift
  return shift + 32 - largest;
}

}  // namespace

IntegerWeights integer_weights(std::span<const double> weights, Workers& workers) {
  if (weights.empty()) return {};
  const Facts facts = facts_of(weights, workers);
  if (facts.bad < weights.size())
    throw std::invalid_argument("weights[" + std::to_string(facts.bad) + "] is " + text_of(weights[facts.bad]) +
                                "; it must be finite and at least 0");
  if (facts.positive == 0) throw std::invalid_argument("weights are all 0; at least one must be above 0");
  IntegerWeights result;
  // mutant: weights_kept
  if (!(facts.whole && facts.sum <= kMostWeight)) result.exponent = exponent_for(facts, weights, workers);
  result.values.resize(weights.size());
  const auto n = static_cast<std::int64_t>(weights.size());
  workers.for_blocks(n, kRowsPerPass, 4.0 * static_cast<double>(n), [&](std::int64_t first, std::int64_t count, int) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(first + count); ++i) {
      const auto rounded = static_cast<std::int64_t>(std::rint(std::ldexp(weights[i], result.exponent)));
      // mutant: weights_stay_positive
      result.values[i] = weights[i] > 0 ? std::max<std::int64_t>(rounded, 1) : 0;
    }
  });
  return result;
}

}  // namespace fastkmeans
