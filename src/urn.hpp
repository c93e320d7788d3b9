// SPDX-License-Identifier: Apache-2.0
// Rows drawn at random, with chances given by integers (docs/algorithm.md section 5); the same on all shards.
#pragma once

#include <cstdint>
#include <functional>
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
  // own: total mass of this shard's rows. row_at: as Shard::row_at.
  Urn(Mass own, std::function<std::int64_t(Mass)> row_at, Reducer& reducer);

  Mass total() const { return ends_.back(); }

  // The row at this mass, below the total.
  RowPlace row_at(Mass mass) const;

 private:
  std::function<std::int64_t(Mass)> row_at_;
  int rank_;
  std::vector<Mass> ends_;  // of each shard's rows among the masses of all
};

// Every row by its weight.
Urn urn_of_weights(const Source& rows, Reducer& reducer);

}  // namespace fastkmeans
