// SPDX-License-Identifier: Apache-2.0
// The rows of a shard as kernels read them: in device memory, as the metric takes them, some at a time. They lie on the
// device already, or come from the host as they are needed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "cuda/device.hpp"
#include "cuda/tuning.hpp"
#include "numeric/both.hpp"
#include "numeric/metric.hpp"
#include "source/element.hpp"
#include "source/source.hpp"

namespace fastkmeans::cuda {

// Row i: x + i * ld, elements side by side.
struct RowsView {
  const float* x;
  std::int64_t ld;
  FASTKMEANS_BOTH const float* row(std::int64_t i) const { return x + i * ld; }
};

// The same in fp32, fp16 or bf16, elements at their own alignment.
struct StoredRow {
  const char* at;
  DType dtype;
  FASTKMEANS_BOTH float operator[](std::int64_t j) const {
    if (dtype == DType::f32) return reinterpret_cast<const float*>(at)[j];
    const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(at)[j];
    return dtype == DType::f16 ? half_to_float(bits) : bfloat_to_float(bits);
  }
};
struct StoredRows {
  const void* x = nullptr;
  std::int64_t ld = 0;
  DType dtype = DType::f32;

  StoredRows() = default;
  FASTKMEANS_BOTH StoredRows(const void* first, std::int64_t elements, DType their_dtype)
      : x(first), ld(elements), dtype(their_dtype) {}
  FASTKMEANS_BOTH StoredRows(RowsView rows) : StoredRows(rows.x, rows.ld, DType::f32) {}
  FASTKMEANS_BOTH RowsView floats() const { return {static_cast<const float*>(x), ld}; }  // of fp32
  FASTKMEANS_BOTH StoredRow row(std::int64_t i) const {
    return {static_cast<const char*>(x) + i * ld * (dtype == DType::f32 ? 4 : 2), dtype};
  }
};

class Rows {
 public:
  virtual ~Rows() = default;
  // For all rows in turn, `count` rows from `first` on at a time, at most `most`: visit launches kernels that read
  // them. As they are stored, where they can be read so, else in fp32.
  using VisitStored = std::function<void(std::int64_t first, std::int64_t count, StoredRows rows)>;
  void each_stored(std::int64_t most, const VisitStored& visit) { each(most, true, visit); }
  virtual Stored stored() const = 0;
  // In fp32.
  using Visit = std::function<void(std::int64_t first, std::int64_t count, RowsView rows)>;
  void each_batch(std::int64_t most, const Visit& visit) {
    each(most, false, [&](auto first, auto count, const StoredRows& rows) { visit(first, count, rows.floats()); });
  }
  // All rows at once, where they lie on the device as kernels read them.
  virtual std::optional<RowsView> all() = 0;
  // These rows (host memory), (count, d) in device memory.
  virtual void fetch(const std::int64_t* rows, std::int64_t count, float* out) = 0;

 private:
  virtual void each(std::int64_t most, bool takes_halves, const VisitStored& visit) = 0;
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
