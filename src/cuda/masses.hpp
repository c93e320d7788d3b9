// SPDX-License-Identifier: Apache-2.0
// What k-means++ asks of the distances of a shard's rows, on the device: as Masses of host/masses.hpp, which says what
// a mass is. A few bytes come to the host for each question.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/rows.hpp"
#include "cuda/sums.hpp"
#include "host/masses.hpp"
#include "shard.hpp"

namespace fastkmeans::cuda {

// A mass in memory that threads add to.
struct MassWords {
  Integer low, high;
  FASTKMEANS_BOTH Mass mass() const { return low | Mass{high} << 64; }
};

// The rows of a shard as initialisations look at them; all but the store in device memory.
struct SeededRows {
  Rows& store;
  std::int64_t n, d;
  std::int64_t most;            // rows that are looked at in passing
  const std::uint8_t* states;   // (n) statistics.hpp
  const std::int64_t* weights;  // (n), or null
  float* distances;             // (n) D as stored
};

class DeviceMasses {
 public:
  explicit DeviceMasses(Device& device) : device_(device) {}

  // The distances are others than they were.
  void changed();

  // As the verbs of Shard.
  double largest(const SeededRows& rows);
  Mass total(const SeededRows& rows, int exponent);
  std::vector<std::int64_t> rows_at(const SeededRows& rows, int exponent, const std::vector<Mass>& masses);
  // D of all pairs; of at most kMostTogether candidates, are_tiny: whether each is.
  static constexpr std::int64_t kMostTogether = 32;
  std::vector<Mass> with(const SeededRows& rows, CentroidsView candidates, const std::vector<std::uint8_t>& are_tiny,
                         int exponent);

 private:
  void measure(const SeededRows& rows, std::optional<int> exponent);

  Device& device_;
  // The largest D's bits, and behind them the mass of each part; made when they are first needed.
  std::optional<Answer<MassWords>> words_;
  std::optional<Answer<std::int64_t>> found_;  // rows at masses
  std::optional<double> largest_;
  std::optional<int> exponent_;  // of parts_
  std::vector<Mass> parts_;
};

}  // namespace fastkmeans::cuda
