// SPDX-License-Identifier: Apache-2.0
// What an iteration came to, as the host wants to know it: one block of device memory, fetched at once.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/batch.hpp"
#include "cuda/sums.hpp"
#include "numeric/exact_sum.hpp"

namespace fastkmeans::cuda {

struct Summary {
  Integer inertia[2 * ExactSum::kBins];  // ExactSum's bins
  Integer changed;                       // rows whose label is another than before
  Notes notes;
  Integer empty;                   // clusters without a row of weight
  std::uint32_t largest_centroid;  // magnitude, as bits
};

// The summary, and behind it (k) how far each centroid moved: D as stored.
class Summaries {
 public:
  Summaries(Device& device, std::int64_t k);
  Summary* summary() const { return reinterpret_cast<Summary*>(memory_.data()); }
  float* shifts() const { return reinterpret_cast<float*>(memory_.data() + sizeof(Summary)); }
  // All zero again.
  void clear();
  // `empty` and `largest_centroid` are 0 again.
  void forget_update();
  // Waits; shifts: (k), or null if they are not wanted.
  Summary fetch(std::vector<float>* shifts);

  // Adds what the assignment of these rows came to. previous: labels before, or null; weights as in accumulate().
  void add(std::int64_t count, const std::int32_t* previous, const std::int32_t* labels, const float* distances,
           const std::int64_t* weights);

 private:
  Device& device_;
  Answer<char> memory_;  // a Summary, then (k) shifts
};

}  // namespace fastkmeans::cuda
