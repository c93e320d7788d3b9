// SPDX-License-Identifier: Apache-2.0
// Memory that ends at a page nobody may read, and slices of wider arrays in it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

#include "element.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {

// At least `size` bytes; whoever reads behind end() crashes.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    usable_ = (size + page - 1) / page * page;
    void* memory = mmap(nullptr, usable_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<char*>(memory);
    mapped_ = usable_ + page;
    if (mprotect(end(), page, PROT_NONE) != 0) throw std::bad_alloc();
  }
  ~GuardedMemory() { munmap(begin_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  char* begin() { return begin_; }
  char* end() { return begin_ + usable_; }

 private:
  char* begin_;
  std::size_t usable_, mapped_;
};

// What a slice does not show: NaN in every floating-point type, -1 in every integer, or a large number.
enum class Hidden { ones, large };

inline void fill_hidden(char* begin, char* end, Hidden hidden) {
  const float large = 1e30f;
  if (hidden == Hidden::ones) {
    std::memset(begin, 0xff, static_cast<std::size_t>(end - begin));
  } else {
    for (; end - begin >= 4; begin += 4) std::memcpy(begin, &large, 4);
  }
}

// The elements of `packed` (C order, no gaps) again, `gap` bytes between the rows, the last one ending `offset` bytes
// before the memory does. Everything around them is hidden.
inline MatrixView slice_of(const MatrixView& packed, std::int64_t gap, std::int64_t offset, Hidden hidden,
                           GuardedMemory& memory) {
  const std::int64_t row = packed.cols * static_cast<std::int64_t>(item_size(packed.dtype)), stride = row + gap;
  fill_hidden(memory.begin(), memory.end(), hidden);
  char* first = memory.end() - offset - row - (packed.rows - 1) * stride;
  for (std::int64_t i = 0; i < packed.rows; ++i)
    std::memcpy(first + i * stride, element_address(packed, i, 0), static_cast<std::size_t>(row));
  return {first, packed.rows, packed.cols, packed.dtype, stride, packed.col_stride};
}

}  // namespace fastkmeans::testing
