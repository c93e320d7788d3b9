// SPDX-License-Identifier: Apache-2.0
// Rows of any type as fp32, and the largest magnitudes in them.
// Included by kernels_inl.hpp, whose rules hold here too.
#pragma once

#include <type_traits>

#include "cpu/simd.hpp"
#include "fastkmeans/matrix_view.hpp"

namespace fastkmeans::cpu {
namespace {

struct Half {
  std::uint16_t bits;
};
struct Bfloat {
  std::uint16_t bits;
};

template <class T>
[[gnu::always_inline]] inline float to_float(T value) {
  return static_cast<float>(value);
}
[[gnu::always_inline]] inline float to_float(Bfloat value) {
  const std::uint32_t bits = std::uint32_t{value.bits} << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
// As half_to_float in element.hpp (a test compares them), without branches so that it vectorises.
[[gnu::always_inline]] inline float to_float(Half value) {
  const std::uint32_t magnitude = (value.bits & 0x7fffu) << 13;
  float out;
  std::memcpy(&out, &magnitude, sizeof out);
  out *= 0x1p112f;
  std::uint32_t bits;
  std::memcpy(&bits, &out, sizeof bits);
  bits |= magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  bits |= (value.bits & 0x8000u) << 16;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

template <class T>
[[gnu::always_inline]] inline float read(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return to_float(value);
}

template <class T>
void load_as(const MatrixView& x, std::int64_t first, std::int64_t count, float* out, std::int64_t ld) {
  const char* rows = static_cast<const char*>(x.data) + first * x.row_stride;
  const std::int64_t d = x.cols, row_stride = x.row_stride, col_stride = x.col_stride;
  // All at once only if rows end where the next begin: in a slice of a wider array, what follows is not ours to read.
  if (std::is_same_v<T, float> && d == ld && col_stride == 4 && row_stride == ld * 4) {  // mutant: in_place_if_dense
    std::memcpy(out, rows, static_cast<std::size_t>(count * row_stride));
    return;
  }
  if (col_stride == static_cast<std::int64_t>(sizeof(T))) {
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < d; ++j)
        out[i * ld + j] = read<T>(rows + i * row_stride + j * static_cast<std::int64_t>(sizeof(T)));
  } else {
    // Fortran order: down the columns, 16 at a time, so that a cache line of `out` is filled while it is near.
    for (std::int64_t block = 0; block < d; block += 16)
      for (std::int64_t j = block; j < d && j < block + 16; ++j)
        for (std::int64_t i = 0; i < count; ++i) out[i * ld + j] = read<T>(rows + i * row_stride + j * col_stride);
  }
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t j = d; j < ld; ++j) out[i * ld + j] = 0;
}

void load_rows(const MatrixView& x, std::int64_t first, std::int64_t count, float* out, std::int64_t ld) {
  switch (x.dtype) {
    case DType::f32: return load_as<float>(x, first, count, out, ld);
    case DType::f64: return load_as<double>(x, first, count, out, ld);
    case DType::f16: return load_as<Half>(x, first, count, out, ld);
    case DType::bf16: return load_as<Bfloat>(x, first, count, out, ld);
    case DType::i8: return load_as<std::int8_t>(x, first, count, out, ld);
    case DType::u8: return load_as<std::uint8_t>(x, first, count, out, ld);
    case DType::i16: return load_as<std::int16_t>(x, first, count, out, ld);
    case DType::u16: return load_as<std::uint16_t>(x, first, count, out, ld);
    case DType::i32: return load_as<std::int32_t>(x, first, count, out, ld);
    case DType::u32: return load_as<std::uint32_t>(x, first, count, out, ld);
    case DType::i64: return load_as<std::int64_t>(x, first, count, out, ld);
    case DType::u64: return load_as<std::uint64_t>(x, first, count, out, ld);
  }
}

[[gnu::always_inline]] inline std::int32_t bits_of(float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffff;  // as a signed integer: SSE2 compares no unsigned ones
}

std::uint32_t largest_bits(const float* values, std::int64_t n) {
  std::int32_t most = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int32_t bits = bits_of(values[j]);
    most = bits > most ? bits : most;
  }
  return static_cast<std::uint32_t>(most);
}

void raise_bits(const float* row, std::int64_t n, std::uint32_t* most) {
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int32_t bits = bits_of(row[j]), old = static_cast<std::int32_t>(most[j]);
    most[j] = static_cast<std::uint32_t>(bits > old ? bits : old);
  }
}

}  // namespace
}  // namespace fastkmeans::cpu
