// SPDX-License-Identifier: Apache-2.0
#include "host/empty_clusters.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <optional>
#include <queue>
#include <utility>

#include "numeric/distance.hpp"
#include "numeric/random.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kRowsPerTask = 1 << 14;
// Up to so many clusters (1 MiB) each thread has a table of its own: at one for all, 16 threads that wanted the same 8
// clusters took 20 times as long. With many clusters they seldom want the same.
constexpr std::size_t kPrivateClusters = (1 << 20) / 24;
// How far the parts of a split cluster lie from its centroid: faiss's.
constexpr float kAbove = 1 + 0x1p-10f, kBelow = 1 - 0x1p-10f;

void raise(std::uint64_t& most, std::uint64_t value) {
  const std::atomic_ref<std::uint64_t> at(most);
  for (std::uint64_t old = at.load(std::memory_order_relaxed);
       old < value && !at.compare_exchange_weak(old, value, std::memory_order_relaxed);) {
  }
}

void lower(std::uint64_t& least, std::uint64_t value) {
  const std::atomic_ref<std::uint64_t> at(least);
  for (std::uint64_t old = at.load(std::memory_order_relaxed);
       // mutant: farthest_tie
       old > value && !at.compare_exchange_weak(old, value, std::memory_order_relaxed);) {
  }
}

void merge(const Donors& from, Donors& to) {
  for (std::size_t c = 0; c < to.rank.size(); ++c) {
    to.rank[c] += from.rank[c];
    raise(to.worth[c], from.worth[c]);
    lower(to.row[c], from.row[c]);
  }
}

// For every row of weight: call(where it is noted, its place, cluster and distance). Then all is in donors.
template <class Call>
void each_row(const AssignedRows& own, Workers& workers, Donors& donors, const Call& call) {
  const std::int64_t n = own.rows.rows();
  std::vector<std::optional<Donors>> parts(static_cast<std::size_t>(workers.count()));
  workers.for_blocks(n, kRowsPerTask, 10.0 * static_cast<double>(n),
                     [&](std::int64_t first, std::int64_t rows, int worker) {
                       auto& part = parts[static_cast<std::size_t>(worker)];
                       const bool is_private = worker > 0 && donors.worth.size() <= kPrivateClusters;
                       if (is_private && !part) part.emplace(donors.worth.size());
                       for (std::int64_t i = first; i < first + rows; ++i)
                         if (own.rows.weight(i) > 0)  // mutant: donor_rows
                           call(is_private ? *part : donors, i, static_cast<std::size_t>(own.labels[i]),
                                true_distance(own.distances[i]));
                     });
  for (const auto& part : parts)
    if (part) merge(*part, donors);
}

// Rows are worth their distance, clusters their inertia.
void find_farthest(const AssignedRows& own, std::int64_t total_weight, Reducer& reducer, Workers& workers,
                   Donors& donors) {
  const auto k = static_cast<std::int64_t>(donors.worth.size());
  each_row(own, workers, donors, [](Donors& mine, std::int64_t, std::size_t c, double distance) {
    raise(mine.worth[c], std::bit_cast<std::uint64_t>(distance));
  });
  reducer.max(donors.worth.data(), k);  // mutant: farthest_of_all_shards
  const double factor = donors.factor(total_weight);
  if (factor == 0) return;

  each_row(own, workers, donors, [&](Donors& mine, std::int64_t i, std::size_t c, double distance) {
    // mutant: donor_weights
    const auto share = static_cast<std::uint64_t>(distance * factor) * static_cast<std::uint64_t>(own.rows.weight(i));
    std::atomic_ref<std::uint64_t>(mine.rank[c]).fetch_add(share, std::memory_order_relaxed);
    if (std::bit_cast<std::uint64_t>(distance) == donors.worth[c])  // mutant: donor_row
      lower(mine.row[c], static_cast<std::uint64_t>(own.rows.number(i)));
  });
  reducer.sum(donors.rank.data(), k);  // mutant: inertia_of_all_shards
  reducer.min(donors.row.data(), k);   // mutant: lowest_row_of_all_shards
}

// Rows off their centroid are worth a random number, clusters that of their row.
void find_random(const AssignedRows& own, const CentroidRule& rule, Reducer& reducer, Workers& workers,
                 Donors& donors) {
  const auto k = static_cast<std::int64_t>(donors.worth.size());
  const auto worth = [&](std::int64_t i, double distance) {
    const std::array<std::uint32_t, 4> counter = {static_cast<std::uint32_t>(own.rows.number(i)), rule.iteration,
                                                  static_cast<std::uint32_t>(Purpose::empty_clusters), rule.redo};
    return distance > 0 ? random_bits(rule.seed, counter) | 1 : 0;  // mutant: random_rows_off_centroids
  };
  each_row(own, workers, donors, [&](Donors& mine, std::int64_t i, std::size_t c, double distance) {
    raise(mine.worth[c], worth(i, distance));
  });
  reducer.max(donors.worth.data(), k);  // mutant: random_worth_of_all_shards
  each_row(own, workers, donors, [&](Donors& mine, std::int64_t i, std::size_t c, double distance) {
    if (worth(i, distance) == donors.worth[c]) lower(mine.row[c], static_cast<std::uint64_t>(own.rows.number(i)));
  });
  reducer.min(donors.row.data(), k);  // mutant: random_row_of_all_shards
  donors.rank = donors.worth;
}

}  // namespace

double Donors::factor(std::int64_t total_weight) const {
  const double largest = std::bit_cast<double>(*std::max_element(worth.begin(), worth.end()));
  if (largest == 0) return 0;
  int exponent = 0;  // least with largest < 2^exponent
  std::frexp(largest, &exponent);
  // Terms below 2^(exponent + s), as many as the weights say, stay below 2^63.
  // mutant: donor_inertia_fits
  const int s = 63 - static_cast<int>(std::bit_width(static_cast<std::uint64_t>(total_weight))) - exponent;
  return std::ldexp(1.0, s);
}

std::vector<Relocation> choose_relocations(const Donors& donors, const std::vector<std::uint64_t>& members,
                                           std::int64_t frozen) {
  std::vector<std::int64_t> order, empty;
  for (std::int64_t c = 0; c < static_cast<std::int64_t>(members.size()); ++c) {
    const auto at = static_cast<std::size_t>(c);
    if (members[at] == 0 && c >= frozen) empty.push_back(c);  // mutant: frozen_get_no_row
    // mutant: donors
    if (members[at] >= 2 && donors.worth[at] > 0) order.push_back(c);
  }
  const std::size_t filled = std::min(order.size(), empty.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(filled), order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      const auto ia = donors.rank[static_cast<std::size_t>(a)];
                      const auto ib = donors.rank[static_cast<std::size_t>(b)];
                      return ia != ib ? ia > ib : a < b;  // mutant: donor_order
                    });
  std::vector<Relocation> relocations(filled);
  for (std::size_t i = 0; i < filled; ++i)
    relocations[i] = {static_cast<std::int64_t>(donors.row[static_cast<std::size_t>(order[i])]), order[i], empty[i]};
  return relocations;
}

std::vector<Relocation> fill_empty_clusters(const AssignedRows& own, const std::vector<std::uint64_t>& members,
                                            std::int64_t total_weight, const CentroidRule& rule, Reducer& reducer,
                                            Workers& workers) {
  Donors donors(members.size());
  if (rule.empty == EmptyClusters::random)
    find_random(own, rule, reducer, workers, donors);
  else
    find_farthest(own, total_weight, reducer, workers, donors);
  return choose_relocations(donors, members, rule.frozen);
}

std::int64_t split_clusters(const std::vector<std::uint64_t>& weights, const CentroidRule& rule, const Metric& metric,
                            std::int64_t d, float* centroids) {
  using Cluster = std::pair<std::uint64_t, std::int64_t>;  // weight, index
  const auto is_smaller = [](const Cluster& a, const Cluster& b) {
    return a.first != b.first ? a.first < b.first : a.second > b.second;  // mutant: split_order
  };
  std::priority_queue<Cluster, std::vector<Cluster>, decltype(is_smaller)> largest(is_smaller);
  std::vector<std::int64_t> empty;
  // mutant: split_frozen
  for (auto c = rule.frozen; c < static_cast<std::int64_t>(weights.size()); ++c) {
    const std::uint64_t weight = weights[static_cast<std::size_t>(c)];
    if (weight == 0) empty.push_back(c);
    if (weight >= 2) largest.emplace(weight, c);  // mutant: split_at_least_two
  }
  const float limit = magnitude_limit(d);
  const auto times = [limit](float v, float factor) {
    return std::abs(v * factor) < limit ? v * factor : v;  // mutant: split_within_limit
  };
  std::vector<std::int64_t> moved;
  std::int64_t filled = 0;
  for (; filled < static_cast<std::int64_t>(empty.size()) && !largest.empty(); ++filled) {
    const auto [weight, from] = largest.top();
    const std::int64_t to = empty[static_cast<std::size_t>(filled)];
    largest.pop();
    for (const auto& [part, c] :
         {Cluster{weight - weight / 2, from}, Cluster{weight / 2, to}}) {  // mutant: split_parts
      moved.push_back(c);
      if (part >= 2) largest.emplace(part, c);
    }
    for (std::int64_t j = 0; j < d; ++j) {
      float& whole = centroids[from * d + j];
      centroids[to * d + j] = times(whole, j % 2 == 0 ? kAbove : kBelow);
      whole = times(whole, j % 2 == 0 ? kBelow : kAbove);
    }
  }
  std::sort(moved.begin(), moved.end());
  moved.erase(std::unique(moved.begin(), moved.end()), moved.end());
  for (const std::int64_t c : moved) {
    float* row = centroids + c * d;
    metric.transform(row, d);  // mutant: split_transformed
    if (rule.integers) std::transform(row, row + d, row, [](float v) { return std::rint(v); });
  }
  return filled;
}

}  // namespace fastkmeans
