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

FASTKMEANS_BOTH inline float read_element(const char* p, DType dtype) {
  auto as = [p]<typename T>(T value) {
    std::memcpy(&value, p, sizeof(T));
    return value;
  };
  switch (dtype) {
    case DType::f32: return as(float{});
    case DType::f64: return static_cast<float>(as(double{}));
    case DType::f16: return half_to_float(as(std::uint16_t{}));
    case DType::bf16: return bfloat_to_float(as(std::uint16_t{}));
    case DType::i8: return static_cast<float>(as(std::int8_t{}));
    case DType::u8: return static_cast<float>(as(std::uint8_t{}));
    case DType::i16: return static_cast<float>(as(std::int16_t{}));
    case DType::u16: return static_cast<float>(as(std::uint16_t{}));
    case DType::i32: return static_cast<float>(as(std::int32_t{}));
    case DType::u32: return static_cast<float>(as(std::uint32_t{}));
    case DType::i64: return static_cast<float>(as(std::int64_t{}));
    case DType::u64: return static_cast<float>(as(std::uint64_t{}));
  }
  return 0;
}

FASTKMEANS_BOTH inline const char* element_address(const MatrixView& x, std::int64_t i, std::int64_t j) {
  return static_cast<const char*>(x.data) + i * x.row_stride + j * x.col_stride;
}

FASTKMEANS_BOTH inline float element(const MatrixView& x, std::int64_t i, std::int64_t j) {
  return read_element(element_address(x, i, j), x.dtype);
}

inline void read_row(const MatrixView& x, std::int64_t i, float* out) {
  for (std::int64_t j = 0; j < x.cols; ++j) out[j] = element(x, i, j);
}

}  // namespace fastkmeans
