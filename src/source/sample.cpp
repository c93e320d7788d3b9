// SPDX-License-Identifier: Apache-2.0
#include "source/sample.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "numeric/centroids_view.hpp"
#include "numeric/random.hpp"
#include "numeric/row_hash.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kRowsPerTask = 1 << 16;
constexpr double kOperationsPerKey = 100;  // ten Philox rounds
// Rows sorted at a time: Ctrl-C must act within half a second, and sorting a million takes a fifth of that.
constexpr double kMostBand = 1 << 20;

// A row of this shard, and its place in the random order.
struct KeyedRow {
  std::uint64_t key;
  std::int64_t index;
};

// In the order of their source, as the tasks found them: not together, which would take the memory twice.
using KeyedRows = std::vector<std::vector<KeyedRow>>;

// (key, number) as one integer.
using Order = Uint128;
// mutant: smallest_of_equal_keys
Order order_of(std::uint64_t key, std::uint64_t number) { return Order{key} << 64 | number; }

// A row of any shard.
struct Candidate {
  std::uint64_t key;
  std::int64_t number;  // among the rows of all shards: decides between equal keys
  RowPlace place;
  // mutant: equal_keys
  bool operator<(const Candidate& other) const { return key != other.key ? key < other.key : number < other.number; }
};

// The largest key of about `expected` rows out of n, keys being uniform.
std::uint64_t key_limit(double expected, std::int64_t n) {
  const double fraction = expected / static_cast<double>(n);
  return fraction >= 1 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(std::ldexp(fraction, 64));
}

// With a limit for this many, fewer than m rows are a 6 sigma event.
double surely(std::int64_t m) { return static_cast<double>(m) + 6 * std::sqrt(static_cast<double>(m)) + 64; }

// This shard's rows of weight with low <= key <= high, in the order of the source.
template <class Key>
KeyedRows rows_between(std::uint64_t low, std::uint64_t high, const Source& rows, Workers& workers, const Key& key) {
  KeyedRows parts(static_cast<std::size_t>((rows.rows() + kRowsPerTask - 1) / kRowsPerTask));
  const auto look = [&](std::int64_t first, std::int64_t count, int) {
    std::vector<KeyedRow> part;
    for (std::int64_t i = first; i < first + count; ++i)
      // mutant: candidates_of_weight
      if (const std::uint64_t k = key(rows.number(i)); low <= k && k <= high && rows.weight(i) > 0)
        part.push_back({k, i});
    parts[static_cast<std::size_t>(first / kRowsPerTask)] = std::move(part);
  };
  workers.for_blocks(rows.rows(), kRowsPerTask, kOperationsPerKey * static_cast<double>(rows.rows()), look);
  return parts;
}

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
std::vector<Candidate> all_in_order(const KeyedRows& own, const Source& rows, Reducer& reducer) {
  std::vector<Candidate> order;
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

std::vector<RowPlace> places_of(const Candidate* candidates, std::int64_t count) {
  std::vector<RowPlace> places(static_cast<std::size_t>(count));
  std::transform(candidates, candidates + count, places.begin(), [](const Candidate& row) { return row.place; });
  return places;
}

// Rows taken so far, found again by value.
class DistinctRows {
 public:
  DistinctRows(std::int64_t d, std::size_t most)
      : d_(static_cast<std::size_t>(d)), mask_(std::bit_ceil(2 * most) - 1), places_(mask_ + 1) {}

  // Adds the row and returns true, unless an equal one is there. row: (d), which will stand at taken + index * d.
  bool add(const float* row, std::uint64_t hash, const float* taken, std::size_t index) {
    std::size_t at = static_cast<std::size_t>(hash) & mask_;
    for (; places_[at].index_plus_1 > 0; at = (at + 1) & mask_)
      if (places_[at].hash == hash && std::equal(row, row + d_, taken + (places_[at].index_plus_1 - 1) * d_))
        return false;  // == on floats: -0 equals 0
    places_[at] = {hash, index + 1};
    return true;
  }

 private:
  struct Place {
    std::uint64_t hash = 0;
    std::size_t index_plus_1 = 0;  // 0: free
  };
  std::size_t d_, mask_;
  std::vector<Place> places_;  // the first free one from the hash on; half of them stay free
};

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
  const auto key = [seed](std::int64_t number) {
    return row_key(seed, static_cast<std::uint64_t>(number), Purpose::sample, 0);
  };
  KeyedRows candidates;
  std::uint64_t high = 0;
  for (double expected = surely(m); sum_over_shards(size_of(candidates), reducer) < m; expected *= 2) {
    high = key_limit(expected, n);
    candidates = rows_between(0, high, rows, workers, key);
  }
  const Order last = mth_smallest(candidates, m, high, rows, reducer, workers);
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(std::min(m, size_of(candidates))));
  for (const auto& part : candidates) {
    workers.checkpoint(0);
    for (const auto& [its_key, index] : part)
      if (order_of(its_key, static_cast<std::uint64_t>(rows.number(index))) <= last)  // mutant: smallest_keys
        indices.push_back(index);
  }
  return indices;
}

std::vector<float> initial_centroids(std::vector<float> given, const Source& rows, const Metric& metric, std::int64_t k,
                                     std::uint64_t seed, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  const auto key = [=](std::int64_t number) {
    return row_key(seed, static_cast<std::uint64_t>(number), Purpose::initial_centroids, redo);
  };
  const std::int64_t n = sum_over_shards(rows.rows(), reducer), d = rows.cols();
  const auto row_length = static_cast<std::size_t>(d), wanted = static_cast<std::size_t>(k);
  std::size_t taken = given.size() / row_length;
  std::vector<float> centroids = std::move(given);
  centroids.resize(wanted * row_length);
  if (taken == wanted) return centroids;
  DistinctRows distinct(d, wanted);
  for (std::size_t c = 0; c < taken; ++c) {
    const float* row = &centroids[c * row_length];
    distinct.add(row, row_hash(row, d), centroids.data(), c);  // mutant: given_rows_skipped
  }
  std::vector<Candidate> skipped;
  // Rows looked at together: as many as fit.
  const std::int64_t together = std::clamp<std::int64_t>(kMostScratch / 16 / (4 * d), 1, 4 * k);
  std::vector<float> some(static_cast<std::size_t>(together) * row_length);
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(together));
  const auto take = [&](const std::vector<Candidate>& order) {
    for (std::size_t at = 0; at < order.size() && taken < wanted; at += static_cast<std::size_t>(together)) {
      const auto count = std::min(together, static_cast<std::int64_t>(order.size() - at));
      rows_at(places_of(&order[at], count), rows, metric, reducer, workers, some.data());
      workers.for_blocks(count, kCentroidsPerTask, 4.0 * static_cast<double>(count * d),
                         [&](std::int64_t first, std::int64_t block, int) {
                           for (std::int64_t i = first; i < first + block; ++i)
                             hashes[static_cast<std::size_t>(i)] = row_hash(&some[static_cast<std::size_t>(i * d)], d);
                         });
      for (std::size_t i = 0; i < static_cast<std::size_t>(count) && taken < wanted; ++i) {
        workers.checkpoint(0);
        const float* row = &some[i * row_length];
        if (distinct.add(row, hashes[i], centroids.data(), taken)) {  // mutant: distinct_rows
          std::copy_n(row, row_length, &centroids[taken++ * row_length]);
        } else if (skipped.size() < wanted) {
          skipped.push_back(order[at + i]);
        }
      }
    }
  };
  // One band of keys after the other, until there are enough; only data with many equal rows needs more than the first.
  const double most = std::max(kMostBand, static_cast<double>(n) / 16);
  double band = std::min(surely(k), most), expected = band;
  for (std::uint64_t low = 0;;) {
    const std::uint64_t high = key_limit(expected, n);
    take(all_in_order(rows_between(low, high, rows, workers, key), rows, reducer));
    if (taken == wanted || high == ~std::uint64_t{0}) break;
    low = high + 1;
    band = std::min(2 * band, most);
    expected += band;
  }
  // Too few distinct rows: equal ones fill up.
  for (std::size_t s = 0; taken < wanted && s < skipped.size();) {
    const std::size_t count = std::min({static_cast<std::size_t>(together), wanted - taken, skipped.size() - s});
    rows_at(places_of(&skipped[s], static_cast<std::int64_t>(count)), rows, metric, reducer, workers,
            &centroids[taken * row_length]);
    s += count;
    taken += count;
  }
  // Too few rows: copies of the first.
  for (taken = std::max<std::size_t>(taken, 1); taken < wanted; ++taken)
    std::copy_n(centroids.begin(), d, centroids.begin() + static_cast<std::ptrdiff_t>(taken * row_length));
  return centroids;
}

}  // namespace fastkmeans
