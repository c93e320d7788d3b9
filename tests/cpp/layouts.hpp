// SPDX-License-Identifier: Apache-2.0
// Values of every dtype, and memory in which they lie as badly as a caller can lay them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <ostream>
#include <stdexcept>

#include "source/element.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {

// --- Values ---

inline constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8,  DType::u8,
                                    DType::i16, DType::u16, DType::i32, DType::u32,  DType::i64, DType::u64};
inline const char* name_of(DType dtype) {
  constexpr const char* kNames[] = {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"};
  return kNames[static_cast<std::size_t>(dtype)];
}
inline const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"normal",   "integers", "duplicates", "offset",    "tiny",
                                    "denormal", "huge",     "mixed_rows", "half_tiny", "outliers"};
  return kNames[static_cast<std::size_t>(kind)];
}

template <class T>
void store_nearest(double value, char* out) {
  using Limits = std::numeric_limits<T>;
  T nearest = value > 0 ? Limits::max() : Limits::lowest();
  if (value > static_cast<double>(Limits::lowest()) && value < static_cast<double>(Limits::max()))
    nearest = static_cast<T>(std::nearbyint(value));
  std::memcpy(out, &nearest, sizeof nearest);
}

inline void store_bits16(std::uint32_t bits, char* out) {
  const auto low = static_cast<std::uint16_t>(bits);
  std::memcpy(out, &low, sizeof low);
}

// The value as an element of `dtype`; where it cannot be had, one near it (half floats are cut off, integers end at
// their limits, and NaN is the least of them).
inline void encode(double value, DType dtype, char* out) {
  const auto single = static_cast<float>(value);
  const auto bits = std::bit_cast<std::uint32_t>(single);
  switch (dtype) {
    case DType::f32: std::memcpy(out, &single, sizeof single); return;
    case DType::f64: std::memcpy(out, &value, sizeof value); return;
    case DType::bf16: return store_bits16(bits >> 16, out);
    case DType::f16: {
      // The inverse of half_to_float.
      const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(std::abs(single) * 0x1p-112f) >> 13;
      return store_bits16((bits >> 16 & 0x8000u) | (std::isnan(value) ? 0x7e00u : std::min(magnitude, 0x7c00u)), out);
    }
    case DType::i8: return store_nearest<std::int8_t>(value, out);
    case DType::u8: return store_nearest<std::uint8_t>(value, out);
    case DType::i16: return store_nearest<std::int16_t>(value, out);
    case DType::u16: return store_nearest<std::uint16_t>(value, out);
    case DType::i32: return store_nearest<std::int32_t>(value, out);
    case DType::u32: return store_nearest<std::uint32_t>(value, out);
    case DType::i64: return store_nearest<std::int64_t>(value, out);
    case DType::u64: return store_nearest<std::uint64_t>(value, out);
  }
}

// A matrix in C order without gaps: what the oracle reads.
struct Packed {
  std::int64_t rows = 0, cols = 0;
  DType dtype = DType::f32;
  std::vector<char> bytes;

  Packed() = default;
  Packed(std::int64_t rows_, std::int64_t cols_, DType dtype_)
      : rows(rows_), cols(cols_), dtype(dtype_), bytes(static_cast<std::size_t>(rows * cols) * item_size(dtype)) {}
  // The values times `factor`, kept below the magnitude that is refused and the infinity of half floats.
  Packed(const Matrix& values, DType dtype_, double factor) : Packed(values.rows, values.cols, dtype_) {
    const double most = dtype == DType::f16 ? 65504 : (1 - 0x1p-20) * static_cast<double>(magnitude_limit(cols));
    for (std::size_t i = 0; i < values.values.size(); ++i)
      encode(std::clamp(factor * static_cast<double>(values.values[i]), -most, most), dtype,
             &bytes[i * item_size(dtype)]);
  }

  char* at(std::int64_t i, std::int64_t j) {
    return bytes.data() + static_cast<std::size_t>(i * cols + j) * item_size(dtype);
  }
  MatrixView view() const { return {bytes.data(), rows, cols, dtype}; }
};

// --- Memory ---

inline bool one_in(Random& random, std::int64_t n) { return draw(random, 1, n) == 1; }

// What stands in memory that is not part of the matrix. plausible: elements of the matrix itself; a kernel that reads
// those gives a wrong result that looks right.
enum class Hidden { nan, infinity, large, all_ones, plausible };
enum class Place { anywhere, before_guard, behind_guard };

struct Layout {
  std::int64_t row_stride = 0, col_stride = 0;  // bytes
  Place place = Place::anywhere;
  std::int64_t offset = 0;  // bytes from a cache line, for Place::anywhere
  Hidden hidden = Hidden::nan;
};
inline std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  constexpr const char* kHidden[] = {"NaN", "infinity", "1e30", "all ones", "plausible"};
  constexpr const char* kPlaces[] = {"anywhere", "its end before a guard page", "its start behind a guard page"};
  return out << "row_stride " << layout.row_stride << " col_stride " << layout.col_stride << " offset " << layout.offset
             << " placed " << kPlaces[static_cast<int>(layout.place)] << ", hidden values "
             << kHidden[static_cast<int>(layout.hidden)];
}

// Element (i, j) is value i row + j col of a list: a view onto such a list may have these strides, in elements. row =
// 0: all rows are one; both 1: rows are windows that overlap.
struct Overlap {
  std::int64_t row = 0, col = 0;
};

inline Layout random_layout(std::int64_t rows, std::int64_t cols, DType dtype, const std::optional<Overlap>& overlap,
                            Random& random) {
  const auto item = static_cast<std::int64_t>(item_size(dtype));
  const std::int64_t way = draw(random, 0, overlap ? 11 : 8);
  Layout layout;
  layout.col_stride = item;
  layout.row_stride = cols * item;
  if (way >= 9) {
    layout.row_stride = overlap->row * item;
    layout.col_stride = overlap->col * item;
  } else if (way == 1 || way == 2) {
    layout.row_stride += draw(random, 0, 40) * item;
  } else if (way == 3 || way == 4) {  // the stride that rows in fp32 have inside, or twice that
    const std::int64_t whole = 16 * draw(random, 1, 2);
    layout.row_stride = (cols + whole - 1) / whole * whole * item;
  } else if (way == 5) {
    layout.row_stride += draw(random, 1, 64);
  } else if (way == 6) {
    layout.col_stride = item * draw(random, 2, 3) + (one_in(random, 4) ? 1 : 0);
    layout.row_stride = cols * layout.col_stride + draw(random, 0, 40);
  } else if (way == 7) {
    layout.row_stride = item;
    layout.col_stride = rows * item + (one_in(random, 2) ? 0 : draw(random, 1, 40));
  }
  if (way < 9) {
    if (one_in(random, 4)) layout.row_stride = -layout.row_stride;
    if (one_in(random, 8)) layout.col_stride = -layout.col_stride;
  }
  layout.place = one_in(random, 2) ? Place::before_guard : one_in(random, 3) ? Place::behind_guard : Place::anywhere;
  if (layout.place == Place::anywhere) layout.offset = draw(random, 0, 63);
  layout.hidden = static_cast<Hidden>(draw(random, 0, 4));
  if (one_in(random, 3)) layout.hidden = Hidden::plausible;
  return layout;
}

// Memory between two pages that nobody may touch; nobody may write into the matrix either.
class Arena {
 public:
  Arena() : page_(sysconf(_SC_PAGESIZE)), size_((kBytes + page_ - 1) / page_ * page_) {
    void* all =
        mmap(nullptr, static_cast<std::size_t>(size_ + 2 * page_), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<char*>(all) + page_;
  }
  ~Arena() { munmap(begin_ - page_, static_cast<std::size_t>(size_ + 2 * page_)); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool contains(const void* address) const { return address >= begin_ - page_ && address < begin_ + size_ + page_; }

  // The matrix in this layout. It takes the place of the one before. `random` chooses the plausible hidden values.
  MatrixView place(const Packed& matrix, const Layout& layout, Random& random) {
    const auto item = static_cast<std::int64_t>(item_size(matrix.dtype));
    const std::int64_t rows = (matrix.rows - 1) * layout.row_stride, cols = (matrix.cols - 1) * layout.col_stride;
    const std::int64_t lowest = std::min<std::int64_t>(rows, 0) + std::min<std::int64_t>(cols, 0);
    const std::int64_t span = std::max<std::int64_t>(rows, 0) + std::max<std::int64_t>(cols, 0) + item - lowest;
    if (span + 2 * kAround > size_) throw std::length_error("a matrix of the fuzz program is larger than its memory");
    const std::int64_t start = layout.place == Place::before_guard   ? size_ - span
                               : layout.place == Place::behind_guard ? 0
                                                                     : kAround + layout.offset;
    protect(PROT_READ | PROT_WRITE);
    const std::int64_t before = std::min(start, kAround) / item * item;
    const std::int64_t end = std::min(start + span + kAround, size_);
    for (std::int64_t at = start - before; at < end; at += item) {
      char element[8];
      hide(matrix, layout.hidden, random, element);
      std::memcpy(begin_ + at, element, static_cast<std::size_t>(std::min(item, end - at)));
    }
    char* const first = begin_ + start - lowest;
    const char* from = matrix.bytes.data();
    for (std::int64_t i = 0; i < matrix.rows; ++i)
      for (std::int64_t j = 0; j < matrix.cols; ++j, from += item)
        std::memcpy(first + i * layout.row_stride + j * layout.col_stride, from, static_cast<std::size_t>(item));
    protect(PROT_READ);
    return {first, matrix.rows, matrix.cols, matrix.dtype, layout.row_stride, layout.col_stride};
  }

 private:
  void protect(int how) {
    if (mprotect(begin_, static_cast<std::size_t>(size_), how) != 0) throw std::runtime_error("mprotect failed");
  }

  static void hide(const Packed& matrix, Hidden hidden, Random& random, char* out) {
    switch (hidden) {
      case Hidden::nan: return encode(std::numeric_limits<double>::quiet_NaN(), matrix.dtype, out);
      case Hidden::infinity: return encode(std::numeric_limits<double>::infinity(), matrix.dtype, out);
      case Hidden::large: return encode(1e30, matrix.dtype, out);
      case Hidden::all_ones: std::memset(out, 0xff, 8); return;
      case Hidden::plausible: {
        const std::size_t item = item_size(matrix.dtype), count = matrix.bytes.size() / item;
        std::memcpy(out, &matrix.bytes[random() % count * item], item);
      }
    }
  }

  static constexpr std::int64_t kBytes = 16 << 20;
  static constexpr std::int64_t kAround = 512;  // hidden values on each side of the matrix; a multiple of a cache line

  std::int64_t page_, size_;
  char* begin_;
};

}  // namespace fastkmeans::testing
