// SPDX-License-Identifier: Apache-2.0
// What is known of rows before anything is assigned (source/statistics.hpp), found on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/rows.hpp"
#include "cuda/sums.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cuda {

// What a row is, a byte of these bits.
enum RowState : std::uint8_t {
  kBadRow = 1,   // no distance can be taken of it
  kTinyRow = 2,  // it is multiplied by kTinyScale where the centroids are tiny too
};

// Looks at all rows once. The results are facts about rows: they last as long as the shard.
class RowFacts {
 public:
  // all_statistics: column_max and least_row_max too, not the states and the check alone. own_losses: see there.
  RowFacts(Device& device, Rows& rows, std::int64_t n, std::int64_t d, std::int64_t batch, const std::int64_t* weights,
           bool all_statistics, bool own_losses);

  const std::uint8_t* states() const { return states_.data(); }  // (n), device memory
  // (n) L of each row and itself, device memory; or null.
  const float* own_losses() const { return own_losses_.data(); }
  std::int64_t bytes() const { return states_.bytes() + own_losses_.bytes(); }  // of device memory
  const Statistics& statistics() const { return statistics_; }

 private:
  DeviceBuffer<std::uint8_t> states_;
  DeviceBuffer<float> own_losses_;
  Statistics statistics_;
};

// As moments_of in source/statistics.hpp, of fp64 rows in device memory.
Moments moments_of_device(Device& device, const MatrixView& x);

// (d) a central row: the median of each column over some of the n rows. Elements that make a row bad are passed over;
// where none is left, 0. As central_row in sketch/centre.hpp.
DeviceBuffer<float> central_row(Device& device, Rows& store, std::int64_t n, std::int64_t d);

}  // namespace fastkmeans::cuda
