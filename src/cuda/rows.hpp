// SPDX-License-Identifier: Apache-2.0
// The rows of a shard as kernels read them: fp32 in device memory, as the metric takes them, some at a time. They lie
// on the device already, or come from the host as they are needed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "cuda/device.hpp"
#include "numeric/both.hpp"
#include "numeric/metric.hpp"
#include "source/source.hpp"

namespace fastkmeans::cuda {

// Row i: x + i * ld, elements side by side.
struct RowsView {
  const float* x;
  std::int64_t ld;
  FASTKMEANS_BOTH const float* row(std::int64_t i) const { return x + i * ld; }
};

class Rows {
 public:
  virtual ~Rows() = default;
  // For all rows in turn, `count` rows from `first` on at a time, at most `most`: visit launches kernels that read
  // them.
  using Visit = std::function<void(std::int64_t first, std::int64_t count, RowsView rows)>;
  virtual void each_batch(std::int64_t most, const Visit& visit) = 0;
  // All rows at once, where they lie on the device as kernels read them.
  virtual std::optional<RowsView> all() = 0;
  // These rows (host memory), (count, d) in device memory.
  virtual void fetch(const std::int64_t* rows, std::int64_t count, float* out) = 0;
};

// rows: on the host or on this device; resident: copied to the device once, if they are on the host. OutOfMemory if
// they do not fit. batch_bytes: of rows on their way, which lie in pinned memory twice.
std::unique_ptr<Rows> make_rows(Device& device, const Source& rows, const Metric& metric, bool resident,
                                std::int64_t batch_bytes);

// (count, d) rows of the store's n, spread_row() of plan/survey.hpp.
DeviceBuffer<float> spread_rows(Device& device, Rows& store, std::int64_t n, std::int64_t d, std::int64_t count,
                                double shift);

// Elements of a device matrix of any dtype and strides as fp32, (count, d) without gaps.
void to_float(Device& device, const MatrixView& x, float* out);
// The same for rows chosen by number; rows: device memory.
void gather_float(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, float* out);
// row_hash() of rows without gaps, (count, d) in device memory as out: (count).
void hash_rows(Device& device, const float* rows, std::int64_t count, std::int64_t d, std::uint64_t* out);
// In their own dtype, side by side; rows null: the first ones.
void gather_rows(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, void* out);

// Bytes of a row that stays on the device: wide types become fp32.
std::int64_t resident_row_bytes(DType dtype, std::int64_t d);

}  // namespace fastkmeans::cuda
