// SPDX-License-Identifier: Apache-2.0
// Joins what the shards of one fit found: GPUs of a process, or ranks. Every shard runs the same code and calls the
// same functions in the same order; afterwards all have the same values. All values are integers (or the bits of
// non-negative floats, for max and min), so the order in which they are joined changes no bit of a result. Where a
// shard fails (out of memory, Ctrl-C) it comes to no further call: whoever runs the shards makes those of the others
// throw.
#pragma once

#include <cstdint>
#include <vector>

namespace fastkmeans {

class Reducer {
 public:
  virtual ~Reducer() = default;

  virtual int rank() const = 0;  // of this shard, in [0, size()); rows of lower ranks come first
  virtual int size() const = 0;  // shards of the fit
  // values[i] over all shards, in place; the memory is where the shard's own state lies. Sums wrap around.
  virtual void sum(std::uint64_t* values, std::int64_t count) = 0;
  virtual void max(std::uint64_t* values, std::int64_t count) = 0;
  virtual void min(std::uint64_t* values, std::int64_t count) = 0;
};

// One shard has all rows.
class NoReducer final : public Reducer {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void sum(std::uint64_t*, std::int64_t) override {}
  void max(std::uint64_t*, std::int64_t) override {}
  void min(std::uint64_t*, std::int64_t) override {}
};

// The sum of one non-negative number of each shard.
std::int64_t sum_over_shards(std::int64_t own, Reducer& reducer);

// All shards' values, in the order of their ranks.
std::vector<std::uint64_t> gather_over_shards(const std::vector<std::uint64_t>& own, Reducer& reducer);

}  // namespace fastkmeans
