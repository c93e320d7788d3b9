// SPDX-License-Identifier: Apache-2.0
#include "source/sample.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "numeric/random.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kRowsPerTask = 1 << 16;
// Rows sorted at a time: Ctrl-C must act within half a second, and sorting a million takes a fifth of that.
constexpr double kMostBand = 1 << 20;

// (key, number) as one integer.
using Order = Uint128;
// mutant: smallest_of_equal_keys
Order order_of(std::uint64_t key, std::uint64_t number) { return Order{key} << 64 | number; }

// The largest key of about `expected` rows out of n, keys being uniform.
std::uint64_t key_limit(double expected, std::int64_t n) {
  const double fraction = expected / static_cast<double>(n);
  return fraction >= 1 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(std::ldexp(fraction, 64));
}

// With a limit for this many, fewer than m rows are a 6 sigma event.
double surely(std::int64_t m) { return static_cast<double>(m) + 6 * std::sqrt(static_cast<double>(m)) + 64; }

std::int64_t size_of(const KeyedRows& rows) {
  std::int64_t size = 0;
  for (const auto& part : rows) size += static_cast<std::int64_t>(part.size());
  return size;
}

// The m-th smallest of all shards' candidates by (key, number); there are at least m. Digit by digit, by how many
// candidates have each: all shards add up their counts, and none needs to sort.
Order mth_smallest(const KeyedRows& candidates, std::int64_t m, std::uint64_t largest_key, const Source& rows,
                   Reducer& reducer, Workers& workers) {
  // Few candidates need few digits; the counts stay in the second cache.
  const std::int64_t all = sum_over_shards(size_of(candidates), reducer);
  const int digit = std::min(16, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(all))));
  std::vector<std::uint64_t> counts(std::size_t{1} << digit);
  Order least = 0, most = order_of(largest_key, ~std::uint64_t{0});  // it lies between
  for (int shift = 64 + static_cast<int>(std::bit_width(largest_key)); least < most;) {
    shift = std::max(0, shift - digit);
    std::fill(counts.begin(), counts.end(), 0);
    for (const auto& part : candidates) {
      workers.checkpoint(0);
      for (const auto& [key, index] : part) {
        const Order order = order_of(key, static_cast<std::uint64_t>(rows.number(index)));
        if (least <= order && order <= most) ++counts[static_cast<std::size_t>((order - least) >> shift)];
      }
    }
    // mutant: digits_of_all_shards
    reducer.sum(counts.data(), static_cast<std::int64_t>(counts.size()));
    std::size_t at = 0;  // its digit
    for (; counts[at] < static_cast<std::uint64_t>(m); ++at) m -= static_cast<std::int64_t>(counts[at]);
    least += Order{at} << shift;
    most = least + ((Order{1} << shift) - 1);
    if (counts[at] == static_cast<std::uint64_t>(m)) break;  // all that begin so are among the m
  }
  return most;
}

// All shards' candidates in order.
std::vector<DrawnRow> all_in_order(const KeyedRows& own, const Source& rows, Reducer& reducer) {
  std::vector<DrawnRow> order;
  if (reducer.size() == 1) {
    for (const auto& part : own)
      for (const auto& [key, index] : part) order.push_back({key, rows.number(index), {index, 0}});
  } else {
    std::vector<std::uint64_t> packed;
    for (const auto& part : own)
      for (const auto& [key, index] : part)
        packed.insert(packed.end(), {key, static_cast<std::uint64_t>(rows.number(index)),
                                     static_cast<std::uint64_t>(index), static_cast<std::uint64_t>(reducer.rank())});
    packed = gather_over_shards(packed, reducer);
    for (std::size_t i = 0; i < packed.size(); i += 4)
      order.push_back({packed[i],
                       static_cast<std::int64_t>(packed[i + 1]),
                       {static_cast<std::int64_t>(packed[i + 2]), static_cast<int>(packed[i + 3])}});
  }
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace

void rows_at(const std::vector<RowPlace>& places, const Source& rows, const Metric& metric, Reducer& reducer,
             Workers& workers, float* out) {
  if (places.empty()) return;
  const std::int64_t d = rows.cols();
  const auto count = static_cast<std::int64_t>(places.size());
  const bool alone = reducer.size() == 1;
  std::vector<std::int64_t> mine, indices;
  for (std::int64_t i = 0; i < count; ++i)
    if (const auto [index, rank] = places[static_cast<std::size_t>(i)]; rank == reducer.rank()) {
      mine.push_back(i);
      indices.push_back(index);
    }
  const auto own_count = static_cast<std::int64_t>(indices.size());
  std::vector<float> own(alone ? 0 : static_cast<std::size_t>(own_count * d));
  float* values = alone ? out : own.data();
  rows.gather(indices.data(), own_count, values, workers);
  if (!metric.keeps_rows())  // mutant: initial_rows_transformed
    for (std::int64_t i = 0; i < own_count; ++i) metric.transform(values + i * d, d);
  if (alone) return;
  // Two floats a number, among zeros.
  std::vector<std::uint64_t> sum(static_cast<std::size_t>((count * d + 1) / 2));
  auto* bytes = reinterpret_cast<char*>(sum.data());
  const auto row_bytes = static_cast<std::size_t>(d) * sizeof(float);
  for (std::int64_t i = 0; i < own_count; ++i)
    // mutant: row_places
    std::memcpy(bytes + static_cast<std::size_t>(mine[static_cast<std::size_t>(i)]) * row_bytes, values + i * d,
                row_bytes);
  reducer.sum(sum.data(), static_cast<std::int64_t>(sum.size()));
  std::memcpy(out, sum.data(), static_cast<std::size_t>(count) * row_bytes);
}

std::int64_t rows_of_weight(const Source& rows, Workers& workers) {
  if (!rows.weights()) return rows.rows();
  std::atomic<std::int64_t> found{0};
  const auto look = [&](std::int64_t first, std::int64_t count, int) {
    found +=
        // mutant: rows_of_weight
        std::count_if(rows.weights() + first, rows.weights() + first + count, [](std::int64_t w) { return w > 0; });
  };
  workers.for_blocks(rows.rows(), kRowsPerTask, static_cast<double>(rows.rows()), look);
  return found;
}

std::vector<std::int64_t> sample_rows(const Source& rows, std::int64_t m, std::uint64_t seed, Reducer& reducer,
                                      Workers& workers) {
  const std::int64_t n = sum_over_shards(rows.rows(), reducer);
  KeyedRows candidates;
  KeyRange range = {seed, Purpose::sample, 0, 0, 0};
  for (double expected = surely(m); sum_over_shards(size_of(candidates), reducer) < m; expected *= 2) {
    range.high = key_limit(expected, n);
    candidates = rows.keyed_rows(range, workers);
  }
  const Order last = mth_smallest(candidates, m, range.high, rows, reducer, workers);
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(std::min(m, size_of(candidates))));
  for (const auto& part : candidates) {
    workers.checkpoint(0);
    for (const auto& [key, index] : part)
      if (order_of(key, static_cast<std::uint64_t>(rows.number(index))) <= last)  // mutant: smallest_keys
        indices.push_back(index);
  }
  return indices;
}

RandomOrder::RandomOrder(const Source& rows, std::int64_t first, std::uint64_t seed, std::uint32_t redo,
                         Reducer& reducer, Workers& workers)
    : rows_(rows),
      seed_(seed),
      redo_(redo),
      reducer_(reducer),
      workers_(workers),
      n_(sum_over_shards(rows.rows(), reducer)),
      most_(std::max(kMostBand, static_cast<double>(n_) / 16)),
      band_(std::min(surely(first), most_)) {}

std::optional<std::vector<DrawnRow>> RandomOrder::next() {
  if (high_ == ~std::uint64_t{0}) return std::nullopt;
  const std::uint64_t low = expected_ == 0 ? 0 : high_ + 1;
  expected_ += band_;
  band_ = std::min(2 * band_, most_);
  high_ = key_limit(expected_, n_);
  const KeyRange range = {seed_, Purpose::initial_centroids, redo_, low, high_};
  return all_in_order(rows_.keyed_rows(range, workers_), rows_, reducer_);
}

}  // namespace fastkmeans
