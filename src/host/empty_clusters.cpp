// SPDX-License-Identifier: Apache-2.0
#include "host/empty_clusters.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <optional>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

constexpr std::int64_t kRowsPerTask = 1 << 14;
// Up to so many clusters (1 MiB) each thread has a table of its own: at one for all, 16 threads that wanted the same 8
// clusters took 20 times as long. With many clusters they seldom want the same.
constexpr std::size_t kPrivateClusters = (1 << 20) / 24;

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
  for (std::size_t c = 0; c < to.inertia.size(); ++c) {
    to.inertia[c] += from.inertia[c];
    raise(to.farthest[c], from.farthest[c]);
    lower(to.row[c], from.row[c]);
  }
}

}  // namespace

double Donors::factor(std::int64_t total_weight) const {
  const double largest = std::bit_cast<double>(*std::max_element(farthest.begin(), farthest.end()));
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
    if (members[at] >= 2 && donors.farthest[at] > 0) order.push_back(c);
  }
  const std::size_t filled = std::min(order.size(), empty.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(filled), order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      const auto ia = donors.inertia[static_cast<std::size_t>(a)];
                      const auto ib = donors.inertia[static_cast<std::size_t>(b)];
                      return ia != ib ? ia > ib : a < b;  // mutant: donor_order
                    });
  std::vector<Relocation> relocations(filled);
  for (std::size_t i = 0; i < filled; ++i)
    relocations[i] = {static_cast<std::int64_t>(donors.row[static_cast<std::size_t>(order[i])]), order[i], empty[i]};
  return relocations;
}

std::vector<Relocation> fill_empty_clusters(const AssignedRows& own, const std::vector<std::uint64_t>& members,
                                            std::int64_t total_weight, std::int64_t frozen, Reducer& reducer,
                                            Workers& workers) {
  const std::int64_t n = own.rows.rows();
  const auto count = static_cast<std::int64_t>(members.size());
  Donors donors(members.size());
  // For every row of weight: where it is noted, its place, cluster and distance. Then all is in donors.
  const auto each_row = [&](const auto& call) {
    std::vector<std::optional<Donors>> parts(static_cast<std::size_t>(workers.count()));
    workers.for_blocks(n, kRowsPerTask, 10.0 * static_cast<double>(n),
                       [&](std::int64_t first, std::int64_t rows, int worker) {
                         auto& part = parts[static_cast<std::size_t>(worker)];
                         const bool is_private = worker > 0 && members.size() <= kPrivateClusters;
                         if (is_private && !part) part.emplace(members.size());
                         for (std::int64_t i = first; i < first + rows; ++i)
                           if (own.rows.weight(i) > 0)  // mutant: donor_rows
                             call(is_private ? *part : donors, i, static_cast<std::size_t>(own.labels[i]),
                                  true_distance(own.distances[i]));
                       });
    for (const auto& part : parts)
      if (part) merge(*part, donors);
  };
  each_row([](Donors& mine, std::int64_t, std::size_t c, double distance) {
    raise(mine.farthest[c], std::bit_cast<std::uint64_t>(distance));
  });
  reducer.max(donors.farthest.data(), count);  // mutant: farthest_of_all_shards
  const double factor = donors.factor(total_weight);
  if (factor == 0) return {};

  each_row([&](Donors& mine, std::int64_t i, std::size_t c, double distance) {
    // mutant: donor_weights
    const auto share = static_cast<std::uint64_t>(distance * factor) * static_cast<std::uint64_t>(own.rows.weight(i));
    std::atomic_ref<std::uint64_t>(mine.inertia[c]).fetch_add(share, std::memory_order_relaxed);
    if (std::bit_cast<std::uint64_t>(distance) == donors.farthest[c])  // mutant: donor_row
      lower(mine.row[c], static_cast<std::uint64_t>(own.rows.number(i)));
  });
  reducer.sum(donors.inertia.data(), count);  // mutant: inertia_of_all_shards
  reducer.min(donors.row.data(), count);      // mutant: lowest_row_of_all_shards
  return choose_relocations(donors, members, frozen);
}

}  // namespace fastkmeans
