// SPDX-License-Identifier: Apache-2.0
// Rows drawn at random, with chances given by integers (docs/algorithm.md section 5); the same on all shards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "runtime/reducer.hpp"
#include "shard.hpp"
#include "source/sample.hpp"

namespace fastkmeans {

// All shards', by rank: (shards, own.size()).
std::vector<Mass> of_all_shards(const std::vector<Mass>& own, Reducer& reducer);
// Of numbers that are not negative.
double largest_over_shards(double own, Reducer& reducer);

// One way in which rows have masses, over all shards.
class Urn {
 public:
  using RowsAt = std::function<std::vector<std::int64_t>(const std::vector<Mass>&)>;
  // own: total mass of this shard's rows. rows_at: as Shard::rows_at.
  Urn(Mass own, RowsAt rows_at, Reducer& reducer);

  Mass total() const { return ends_.back(); }

  // The rows at these masses, below the total.
  std::vector<RowPlace> rows_at(const std::vector<Mass>& masses) const;
  RowPlace row_at(Mass mass) const { return rows_at({mass}).front(); }

 private:
  RowsAt rows_at_;
  int rank_;
  std::vector<Mass> ends_;  // of each shard's rows among the masses of all
};

// Rows that are found one by one. ends: of each row, the sum of the masses up to it and with it.
template <class End>
Urn::RowsAt rows_by_ends(std::vector<End> ends) {
  return [ends = std::move(ends)](const std::vector<Mass>& masses) {
    std::vector<std::int64_t> rows;
    for (const Mass mass : masses)
      rows.push_back(std::upper_bound(ends.begin(), ends.end(), static_cast<End>(mass)) - ends.begin());
    return rows;
  };
}

// Every row by its weight.
Urn urn_of_weights(const Source& rows, Reducer& reducer);

}  // namespace fastkmeans
