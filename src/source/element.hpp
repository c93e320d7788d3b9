// SPDX-License-Identifier: Apache-2.0
// One element of a MatrixView as fp32.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "fastkmeans/matrix_view.hpp"
#include "numeric/both.hpp"

namespace fastkmeans {

// IEEE half: its exponent and mantissa, moved to fp32's place, are 2^112 too small; multiplying puts denormals right
// too.
FASTKMEANS_BOTH inline float half_to_float(std::uint16_t h) {
  const std::uint32_t magnitude = (h & 0x7fffu) << 13;
  const float value = std::bit_cast<float>(magnitude) * 0x1p112f;
  const bool special = (h & 0x7c00u) == 0x7c00u;  // infinity or NaN
  const std::uint32_t bits = special ? (magnitude | 0x7f800000u) : std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>(bits | (h & 0x8000u) << 16);
}

FASTKMEANS_BOTH inline float bfloat_to_float(std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); }

// load(T{}) returns the element as what its dtype is stored in.
template <class Load>
FASTKMEANS_BOTH float read_element(const Load& load, DType dtype) {
  switch (dtype) {
    case DType::f32: return load(float{});
    case DType::f64: return static_cast<float>(load(double{}));
    case DType::f16: return half_to_float(load(std::uint16_t{}));
    case DType::bf16: return bfloat_to_float(load(std::uint16_t{}));
    case DType::i8: return static_cast<float>(load(std::int8_t{}));
    case DType::u8: return static_cast<float>(load(std::uint8_t{}));
    case DType::i16: return static_cast<float>(load(std::int16_t{}));
    case DType::u16: return static_cast<float>(load(std::uint16_t{}));
    case DType::i32: return static_cast<float>(load(std::int32_t{}));
    case DType::u32: return static_cast<float>(load(std::uint32_t{}));
    case DType::i64: return static_cast<float>(load(std::int64_t{}));
    case DType::u64: return static_cast<float>(load(std::uint64_t{}));
  }
  return 0;
}

FASTKMEANS_BOTH inline float read_element(const char* p, DType dtype) {
  const auto load = [p]<class T>(T value) {
    std::memcpy(&value, p, sizeof(T));
    return value;
  };
  return read_element(load, dtype);
}

FASTKMEANS_BOTH inline const char* element_address(const MatrixView& x, std::int64_t i, std::int64_t j) {
  return static_cast<const char*>(x.data) + i * x.row_stride + j * x.col_stride;
}

// Rows [first, first + count). No address is computed of no rows: they may have none.
inline MatrixView part_of(MatrixView x, std::int64_t first, std::int64_t count) {
  if (count > 0) x.data = element_address(x, first, 0);
  x.rows = count;
  return x;
}

FASTKMEANS_BOTH inline float element(const MatrixView& x, std::int64_t i, std::int64_t j) {
  return read_element(element_address(x, i, j), x.dtype);
}

// Row i in its own dtype, side by side.
inline void copy_row(const MatrixView& x, std::int64_t i, char* out) {
  const std::size_t item = item_size(x.dtype);
  if (x.col_stride == static_cast<std::int64_t>(item)) {
    std::memcpy(out, element_address(x, i, 0), static_cast<std::size_t>(x.cols) * item);
  } else {
    for (std::int64_t j = 0; j < x.cols; ++j, out += item) std::memcpy(out, element_address(x, i, j), item);
  }
}

inline void read_row(const MatrixView& x, std::int64_t i, float* out) {
  if (x.dtype == DType::f32) return copy_row(x, i, reinterpret_cast<char*>(out));
  for (std::int64_t j = 0; j < x.cols; ++j) out[j] = element(x, i, j);
}

}  // namespace fastkmeans
