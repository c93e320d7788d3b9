// SPDX-License-Identifier: Apache-2.0
#include "source/sample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "numeric/random.hpp"
#include "numeric/row_hash.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {
namespace {

using KeyedRow = std::pair<std::uint64_t, std::int64_t>;  // (key, place among the rows used)

constexpr std::int64_t kRowsPerTask = 1 << 16;
constexpr double kOperationsPerKey = 100;  // ten Philox rounds
// Rows sorted at a time: Ctrl-C must act within half a second, and sorting a million takes a fifth of that.
constexpr double kMostBand = 1 << 20;

// The largest key of about `expected` rows out of n, keys being uniform.
std::uint64_t key_limit(double expected, std::int64_t n) {
  const double fraction = expected / static_cast<double>(n);
  return fraction >= 1 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(std::ldexp(fraction, 64));
}

// With a limit for this many, fewer than m rows are a 6 sigma event.
double surely(std::int64_t m) { return static_cast<double>(m) + 6 * std::sqrt(static_cast<double>(m)) + 64; }

// All (key, row) of n rows with low <= key <= high, in no order.
template <class Key>
std::vector<KeyedRow> rows_between(std::uint64_t low, std::uint64_t high, std::int64_t n, Workers& workers,
                                   const Key& key) {
  std::vector<KeyedRow> found;
  std::mutex mutex;
  workers.for_blocks(n, kRowsPerTask, kOperationsPerKey * static_cast<double>(n),
                     [&](std::int64_t first, std::int64_t count, int) {
                       std::vector<KeyedRow> part;
                       for (std::int64_t i = first; i < first + count; ++i)
                         if (const std::uint64_t k = key(i); low <= k && k <= high) part.emplace_back(k, i);
                       const std::lock_guard lock(mutex);
                       found.insert(found.end(), part.begin(), part.end());
                     });
  return found;
}

// Rows taken so far, found again by value.
class DistinctRows {
 public:
  explicit DistinctRows(std::int64_t d) : d_(static_cast<std::size_t>(d)) {}

  // Adds the row and returns true, unless an equal one is there. row: (d), and it stays at taken + index * d.
  bool add(const float* row, const float* taken, std::size_t index) {
    const std::uint64_t hash = row_hash(row, static_cast<std::int64_t>(d_));
    const auto [begin, end] = places_.equal_range(hash);
    for (auto it = begin; it != end; ++it)
      if (std::equal(row, row + d_, taken + it->second * d_)) return false;  // == on floats: -0 equals 0
    places_.emplace(hash, index);
    return true;
  }

 private:
  std::size_t d_;
  std::unordered_multimap<std::uint64_t, std::size_t> places_;
};

}  // namespace

std::vector<std::int64_t> sample_rows(std::int64_t n, std::int64_t m, std::uint64_t seed, Workers& workers) {
  const auto key = [seed](std::int64_t i) { return row_key(seed, static_cast<std::uint64_t>(i), Purpose::sample, 0); };
  std::vector<KeyedRow> chosen;
  for (double expected = surely(m); static_cast<std::int64_t>(chosen.size()) < m; expected *= 2)
    chosen = rows_between(0, key_limit(expected, n), n, workers, key);
  std::nth_element(chosen.begin(), chosen.begin() + (m - 1), chosen.end());  // mutant: smallest_keys
  std::vector<std::int64_t> rows(static_cast<std::size_t>(m));
  std::transform(chosen.begin(), chosen.begin() + m, rows.begin(), [](const KeyedRow& row) { return row.second; });
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<char> gather_rows(const MatrixView& x, const std::vector<std::int64_t>& rows, Workers& workers) {
  const std::size_t item = item_size(x.dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(x.cols) * item;
  const bool packed = x.col_stride == static_cast<std::int64_t>(item);
  std::vector<char> copy(rows.size() * row_bytes);
  constexpr std::int64_t kRows = 64;  // each may be far away: a cache miss, or a page of a file
  const auto n = static_cast<std::int64_t>(rows.size());
  workers.for_blocks(n, kRows, static_cast<double>(copy.size()), [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t i = first; i < first + count; ++i) {
      char* out = copy.data() + static_cast<std::size_t>(i) * row_bytes;
      const std::int64_t row = rows[static_cast<std::size_t>(i)];
      if (packed) {
        std::memcpy(out, element_address(x, row, 0), row_bytes);
      } else {
        for (std::int64_t j = 0; j < x.cols; ++j, out += item) std::memcpy(out, element_address(x, row, j), item);
      }
    }
  });
  return copy;
}

std::vector<float> initial_centroids(const MatrixView& x, const std::vector<std::int64_t>& rows, std::int64_t k,
                                     std::uint64_t seed, std::uint32_t redo, Workers& workers) {
  const auto key = [&](std::int64_t i) {
    const std::int64_t row = rows.empty() ? i : rows[static_cast<std::size_t>(i)];
    return row_key(seed, static_cast<std::uint64_t>(row), Purpose::initial_centroids, redo);
  };
  const auto d = static_cast<std::size_t>(x.cols), wanted = static_cast<std::size_t>(k);
  std::vector<float> centroids(wanted * d);
  DistinctRows distinct(x.cols);
  std::vector<std::int64_t> skipped;
  std::size_t taken = 0;
  // One band of keys after the other, until there are enough; only data with many equal rows needs more than the first.
  const double most = std::max(kMostBand, static_cast<double>(x.rows) / 16);
  double band = std::min(surely(k), most), expected = band;
  for (std::uint64_t low = 0;;) {
    const std::uint64_t high = key_limit(expected, x.rows);
    auto order = rows_between(low, high, x.rows, workers, key);
    std::sort(order.begin(), order.end());
    for (auto it = order.begin(); it != order.end() && taken < wanted; ++it) {
      workers.checkpoint(0);
      float* row = &centroids[taken * d];
      read_row(x, it->second, row);
      if (distinct.add(row, centroids.data(), taken)) {  // mutant: distinct_rows
        ++taken;
      } else if (skipped.size() < wanted) {
        skipped.push_back(it->second);
      }
    }
    if (taken == wanted || high == ~std::uint64_t{0}) break;
    low = high + 1;
    band = std::min(2 * band, most);
    expected += band;
  }
  for (std::size_t s = 0; taken < wanted; ++s, ++taken) read_row(x, skipped[s], &centroids[taken * d]);
  return centroids;
}

}  // namespace fastkmeans
