// SPDX-License-Identifier: Apache-2.0
// What k-means++ asks of the distances of a shard's rows, on the device: as Masses of host/masses.hpp, which says what
// a mass is. A few bytes come to the host for each question.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/rows.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans::cuda {

class DeviceMasses {
 public:
  // source: the shard's rows; weights: theirs in device memory, or null; distances: (n) D as stored, in device memory.
  DeviceMasses(Device& device, const Source& source, const std::int64_t* weights, const float* distances)
      : device_(device), source_(source), weights_(weights), distances_(distances), n_(source.rows()) {}

  // As the verbs of Shard.
  double largest() const;
  Mass total(int exponent) const;
  std::int64_t row_at(int exponent, Mass mass) const;
  // states: of all rows (statistics.hpp); at most `most` rows at a time.
  std::vector<Mass> with(CentroidsView candidates, int exponent, Rows& rows, std::int64_t most,
                         const std::uint8_t* states) const;

 private:
  std::vector<Mass> parts(int exponent) const;

  Device& device_;
  const Source& source_;
  const std::int64_t* weights_;
  const float* distances_;
  std::int64_t n_;
};

}  // namespace fastkmeans::cuda
