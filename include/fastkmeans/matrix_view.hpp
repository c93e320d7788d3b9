// SPDX-License-Identifier: Apache-2.0
// MatrixView: somebody else's rows, read where they lie.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastkmeans {

// Element types that can be read. Each is converted to fp32, round to nearest even (exact for f16, bf16, 8- and 16-bit
// integers).
enum class DType : std::uint8_t { f32, f64, f16, bf16, i8, u8, i16, u16, i32, u32, i64, u64 };

// Bytes of one element.
constexpr std::size_t item_size(DType dtype) {
  switch (dtype) {
    case DType::i8:
    case DType::u8: return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16: return 2;
    case DType::f64:
    case DType::i64:
    case DType::u64: return 8;
    default: return 4;
  }
}

// A matrix of `rows` x `cols` elements that the caller owns and must keep alive and unchanged. Strides are in bytes and
// may be zero, negative or unaligned, so C order, Fortran order, slices and memory maps are all read in place.
struct MatrixView {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DType dtype = DType::f32;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
  int cuda_device = kHost;  // the number of the CUDA device whose memory it is, or kHost

  static constexpr int kHost = -1;

  MatrixView() = default;
  MatrixView(const void* data_, std::int64_t rows_, std::int64_t cols_, DType dtype_, std::int64_t row_stride_,
             std::int64_t col_stride_)
      : data(data_), rows(rows_), cols(cols_), dtype(dtype_), row_stride(row_stride_), col_stride(col_stride_) {}
  // C order without gaps.
  MatrixView(const void* data_, std::int64_t rows_, std::int64_t cols_, DType dtype_)
      : MatrixView(data_, rows_, cols_, dtype_, cols_ * static_cast<std::int64_t>(item_size(dtype_)),
                   static_cast<std::int64_t>(item_size(dtype_))) {}
  MatrixView(const float* data_, std::int64_t rows_, std::int64_t cols_)
      : MatrixView(data_, rows_, cols_, DType::f32) {}
};

}  // namespace fastkmeans
