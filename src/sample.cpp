// SPDX-License-Identifier: Apache-2.0
#include "sample.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "element.hpp"
#include "random.hpp"
#include "workers.hpp"

namespace fastkmeans {
namespace {

using KeyedRow = std::pair<std::uint64_t, std::int64_t>;  // (key, place among the rows used)

constexpr std::int64_t kRowsPerTask = 1 << 16;
constexpr double kOperationsPerKey = 100;  // ten Philox rounds

// The m smallest (key, row) of n rows, unordered. key(i) is asked for every row, but only about m are kept.
template <class Key>
std::vector<KeyedRow> smallest_keys(std::int64_t n, std::int64_t m, Workers& workers, const Key& key) {
  // Keys are uniform: this limit leaves m + 6 sqrt(m) + 64 of them in the mean, so fewer than m is a 6 sigma event.
  double expected = static_cast<double>(m) + 6 * std::sqrt(static_cast<double>(m)) + 64;
  for (;; expected *= 2) {
    const double fraction = expected / static_cast<double>(n);
    const bool all = fraction >= 1;
    const std::uint64_t limit = all ? ~std::uint64_t{0} : static_cast<std::uint64_t>(std::ldexp(fraction, 64));
    std::vector<KeyedRow> found;
    std::mutex mutex;
    workers.for_each((n + kRowsPerTask - 1) / kRowsPerTask, kOperationsPerKey * static_cast<double>(n),
                     [&](std::int64_t task, int) {
                       std::vector<KeyedRow> part;
                       const std::int64_t end = std::min(n, (task + 1) * kRowsPerTask);
                       for (std::int64_t i = task * kRowsPerTask; i < end; ++i)
                         if (const std::uint64_t row = key(i); row <= limit) part.emplace_back(row, i);
                       const std::lock_guard lock(mutex);
                       found.insert(found.end(), part.begin(), part.end());
                     });
    if (static_cast<std::int64_t>(found.size()) < m) continue;
    if (static_cast<std::int64_t>(found.size()) > m) {
      std::nth_element(found.begin(), found.begin() + m, found.end());
      found.resize(static_cast<std::size_t>(m));
    }
    return found;
  }
}

// Rows taken so far, found again by value.
class DistinctRows {
 public:
  explicit DistinctRows(std::int64_t d) : d_(static_cast<std::size_t>(d)) {}

  // Adds the row and returns true, unless an equal one is there. row: (d), and it stays at taken + index * d.
  bool add(const float* row, const float* taken, std::size_t index) {
    const std::uint64_t hash = hash_of(row);
    const auto [begin, end] = places_.equal_range(hash);
    for (auto it = begin; it != end; ++it)
      if (std::equal(row, row + d_, taken + it->second * d_)) return false;  // == on floats: -0 equals 0
    places_.emplace(hash, index);
    return true;
  }

 private:
  std::uint64_t hash_of(const float* row) const {
    std::uint64_t hash = 0x9E3779B97F4A7C15;
    for (std::size_t j = 0; j < d_; ++j) {
      hash ^= std::bit_cast<std::uint32_t>(row[j] + 0.0f);  // -0 + 0 = 0
      hash *= 0xD6E8FEB86659FD93;
      hash ^= hash >> 32;
    }
    return hash;
  }

  std::size_t d_;
  std::unordered_multimap<std::uint64_t, std::size_t> places_;
};

}  // namespace

std::vector<std::int64_t> sample_rows(std::int64_t n, std::int64_t m, std::uint64_t seed, Workers& workers) {
  const auto chosen = smallest_keys(n, m, workers, [seed](std::int64_t i) {
    return row_key(seed, static_cast<std::uint64_t>(i), Purpose::sample, 0);
  });
  std::vector<std::int64_t> rows(chosen.size());
  std::transform(chosen.begin(), chosen.end(), rows.begin(), [](const KeyedRow& row) { return row.second; });
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<char> gather_rows(const MatrixView& x, const std::vector<std::int64_t>& rows, Workers& workers) {
  const std::size_t item = item_size(x.dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(x.cols) * item;
  const bool packed = x.col_stride == static_cast<std::int64_t>(item);
  std::vector<char> copy(rows.size() * row_bytes);
  constexpr std::int64_t kRows = 1024;
  const auto n = static_cast<std::int64_t>(rows.size());
  workers.for_each((n + kRows - 1) / kRows, static_cast<double>(copy.size()), [&](std::int64_t task, int) {
    for (std::int64_t i = task * kRows; i < std::min(n, (task + 1) * kRows); ++i) {
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
  const auto d = static_cast<std::size_t>(x.cols);
  std::vector<float> centroids(static_cast<std::size_t>(k) * d);
  // Mostly the k smallest keys are distinct rows; with many duplicates look at twice as many, up to all.
  for (std::int64_t wanted = k;; wanted = std::min(x.rows, 2 * wanted)) {
    auto order = smallest_keys(x.rows, wanted, workers, key);
    std::sort(order.begin(), order.end());
    DistinctRows distinct(x.cols);
    std::vector<std::int64_t> skipped;
    std::size_t taken = 0;
    for (auto it = order.begin(); it != order.end() && taken < static_cast<std::size_t>(k); ++it) {
      workers.checkpoint(0);
      float* row = &centroids[taken * d];
      read_row(x, it->second, row);
      if (distinct.add(row, centroids.data(), taken)) {
        ++taken;
      } else {
        skipped.push_back(it->second);
      }
    }
    if (taken < static_cast<std::size_t>(k) && wanted < x.rows) continue;
    for (std::size_t s = 0; taken < static_cast<std::size_t>(k); ++s, ++taken)
      read_row(x, skipped[s], &centroids[taken * d]);
    return centroids;
  }
}

}  // namespace fastkmeans
