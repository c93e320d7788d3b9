// SPDX-License-Identifier: Apache-2.0
// The inner loops, written once. A kernels_<isa>.cpp includes its file of plan/tuning, defines FASTKMEANS_KERNELS and
// FASTKMEANS_COSTS, the names of its table and of its costs, and includes this.
//
// All is in an anonymous namespace and nothing of the standard library's templates is used: an inline function compiled
// here with AVX flags could otherwise become the linker's choice for everybody (a test looks for such symbols).
#include <type_traits>

#include "cpu/kernels.hpp"
#include "cpu/simd.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cpu {
namespace {

constexpr int kPanelVectors = 2;
constexpr int kPanelWidth = kPanelVectors * kWidth;
// Points scored together: as many accumulators as the registers hold beside two vectors of the panel and a broadcast
// (32 registers with AVX-512, else 16; the baseline needs two more to multiply without fma). aarch64 has 32 too, and
// GCC keeps a register there for each point.
#if defined(__aarch64__)
constexpr int kRowGroup = 8;
#else
constexpr int kRowGroup = kWidth == 16 ? 12 : kWidth == 8 ? 6 : 4;
#endif

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
  if (std::is_same_v<T, float> && d == ld && col_stride == 4 && row_stride == ld * 4) {
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

double centre(const float* row, const float* mu, std::int64_t n, float* centred) {
  double lane[kPadding] = {};  // any order will do: FilterBound allows for it
  for (std::int64_t j = 0; j < n; j += kPadding)
    for (std::int64_t l = 0; l < kPadding; ++l) {
      const float a = row[j + l] - mu[j + l];
      centred[j + l] = a;
      lane[l] += static_cast<double>(a) * static_cast<double>(a);
    }
  double sum = 0;
  for (double part : lane) sum += part;
  return sum;
}

// The scores of one row against the panel: kept if one is >= the threshold. Returns 1 if so.
[[gnu::always_inline]] inline std::int64_t keep_hits(const ScanOut& out, const float* thresholds, std::int64_t row,
                                                     std::int64_t hits, const F32* score) {
  const F32 threshold = broadcast(thresholds[row]);
  if (out.best) out.best[row] = largest_lane(larger(score[0], score[1]));
  if (!any_at_least(score[0], score[1], threshold)) return 0;
  const std::uint32_t passed = at_least(score[0], threshold) | at_least(score[1], threshold) << kWidth;
  out.hits[hits] = {static_cast<std::int32_t>(row), passed};
  for (int v = 0; v < kPanelVectors; ++v) store(out.scores + hits * kPanelWidth + v * kWidth, score[v]);
  return 1;
}

// kRowGroup points x kPanelWidth centroids, all in registers. Returns the number of rows with a hit.
[[gnu::always_inline]] inline std::int64_t scan_group(const Scan& s, std::int64_t first, std::int64_t hits) {
  F32 score[kRowGroup][kPanelVectors];
  const float* a = s.points + first * s.ld;
  for (int r = 0; r < kRowGroup; ++r)
    for (int v = 0; v < kPanelVectors; ++v) score[r][v] = load(s.starts + v * kWidth);
  for (std::int64_t j = 0; j < s.d; ++j) {
    const float* b = s.panel + j * kPanelWidth;
    const F32 b0 = load(b), b1 = load(b + kWidth);
#pragma GCC unroll 12
    for (int r = 0; r < kRowGroup; ++r) {
      const F32 point = broadcast(a[r * s.ld + j]);
      score[r][0] = multiply_add(point, b0, score[r][0]);
      score[r][1] = multiply_add(point, b1, score[r][1]);
    }
  }
  std::int64_t found = 0;
#pragma GCC unroll 12
  for (int r = 0; r < kRowGroup; ++r) found += keep_hits(s.out, s.thresholds, first + r, hits + found, score[r]);
  return found;
}

std::int64_t scan(const Scan& given) {
  const Scan s = given;  // a copy, which no store can change: its pointers stay in registers
  std::int64_t hits = 0;
  for (std::int64_t first = 0; first < s.rows; first += kRowGroup) hits += scan_group(s, first, hits);
  return hits;
}

std::int64_t choose(const float* least, float drift, const float* radii, std::int64_t n, std::int32_t* rows) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    std::uint32_t near = at_least(load(radii + i), load(least + i) - broadcast(drift));
    if (n - i < kWidth) near &= (std::uint32_t{1} << (n - i)) - 1;
    for (; near; near &= near - 1) rows[count++] = static_cast<std::int32_t>(i + __builtin_ctz(near));
  }
  return count;
}

void least_radii(const float* best, const float* heads, const float* reaches, float underflow, float factor,
                 float drift, std::int64_t n, float* least) {
  // Down by more than the few roundings: those of the root's argument and of the root, then those of the two sums.
  constexpr float kDown = 1 - 0x1p-20f, kDownAgain = 1 - 0x1p-22f;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const F32 b = load(best + i);
    F32 square = ((load(heads + i) - (b + b)) - underflow) * factor;
    square = square > F32{} ? square : F32{};
    F32 radius = root(square) * kDown - load(reaches + i);
    radius = radius > F32{} ? radius : F32{};
    store(least + i, (radius + drift) * kDownAgain);
  }
}

float distance(const float* x, const float* c, std::int64_t n) {
  constexpr int kVectors = kLanes / kWidth;
  F32 lane[kVectors] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int v = 0; v < kVectors; ++v) {
      const F32 t = load(x + j + v * kWidth) - load(c + j + v * kWidth);
      lane[v] = square_add(t, lane[v]);
    }
  if (j < n)  // kPadding more: the lower half of the lanes
    for (int v = 0; v < kPadding / kWidth; ++v) {
      const F32 t = load(x + j + v * kWidth) - load(c + j + v * kWidth);
      lane[v] = square_add(t, lane[v]);
    }
  for (int half = kVectors / 2; half >= 1; half /= 2)
    for (int v = 0; v < half; ++v) lane[v] = lane[v] + lane[v + half];
  float last[kWidth];
  store(last, lane[0]);
  for (int half = kWidth / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) last[l] = last[l] + last[l + half];
  return last[0];
}

// rint of |value| <= 2^51 in int64: after adding 1.5 * 2^52 the integer stands in the low bits of the mantissa.
constexpr double kMagic = 0x1.8p52;
[[gnu::always_inline]] inline std::int64_t to_integer(double value) {
  const double shifted = value + kMagic, magic = kMagic;
  std::int64_t bits, zero;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&zero, &magic, sizeof zero);
  return bits - zero;
}

void add_row(const float* __restrict x, std::int64_t n, std::int64_t sign, const double* __restrict inverse,
             const double* __restrict grain, const double* __restrict lo_inverse, std::uint64_t* __restrict hi,
             std::uint64_t* __restrict lo) {
  const auto flip = static_cast<std::uint64_t>(sign < 0 ? -1 : 0);  // -v = (v ^ -1) + 1
  for (std::int64_t j = 0; j < n; ++j) {
    const double units = static_cast<double>(x[j]) * inverse[j];
    hi[j] += (static_cast<std::uint64_t>(to_integer(units)) ^ flip) - flip;
  }
  if (!lo) return;
  for (std::int64_t j = 0; j < n; ++j) {
    const double value = static_cast<double>(x[j]);
    const double units = (value * inverse[j] + kMagic) - kMagic;  // rint
    const double residual = (value - units * grain[j]) * lo_inverse[j];
    lo[j] += (static_cast<std::uint64_t>(to_integer(residual)) ^ flip) - flip;
  }
}

}  // namespace
}  // namespace fastkmeans::cpu

#include "cpu/narrow_inl.hpp"
#include "cpu/sketch_inl.hpp"

namespace fastkmeans::cpu {

const Kernels FASTKMEANS_KERNELS = {FASTKMEANS_COSTS, kPanelWidth, kRowGroup,  load_rows, largest_bits,
                                    raise_bits,       centre,      scan,       distance,  add_row,
                                    to_columns,       nearest_two, thresholds, choose,    least_radii,
#if defined(FASTKMEANS_NO_SKETCH)
                                    nullptr
#else
                                    &kSketchKernels
#endif
};

}  // namespace fastkmeans::cpu
