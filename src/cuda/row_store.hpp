// SPDX-License-Identifier: Apache-2.0
// Where the rows of a shard are: on the device as long as there is room for them, else on their way from the host.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/device.hpp"
#include "cuda/rows.hpp"
#include "numeric/metric.hpp"
#include "source/source.hpp"

namespace fastkmeans::cuda {

class RowStore {
 public:
  // Empty until hold() is called. The arguments must outlive it.
  RowStore(Device& device, const Source& source, const Metric& metric);

  // Rows of the host are copied to the device, to stay; or not, also where there is no memory for all of them.
  void hold(bool resident);
  bool resident() const { return resident_; }

  // Bytes that a row takes on the device if it stays there, 0 if it was there before; those that all take now.
  std::int64_t row_bytes() const;
  std::int64_t bytes() const { return resident_ ? source_.rows() * row_bytes() : 0; }

  Rows& rows() const { return *rows_; }
  // Rows that are looked at in passing.
  std::int64_t at_a_time() const;
  // These rows (host memory), (count, d) in device memory.
  void fetch(const std::int64_t* rows, std::int64_t count, float* out) const;

 private:
  std::int64_t passing_bytes() const;

  Device& device_;
  const Source& source_;
  const Metric& metric_;
  std::unique_ptr<Rows> rows_;
  bool resident_ = false;
};

}  // namespace fastkmeans::cuda
