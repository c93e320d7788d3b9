// SPDX-License-Identifier: Apache-2.0
// Memory that is not initialised: the threads that fill it touch its pages first, between checkpoints. It starts at a
// cache line: AMX's tiles are loaded by the line, and lines that straddle two take twice the time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace fastkmeans {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) { resize(size); }

  // Room for `size` values at least. What was in it is lost if it grows, and kept if not.
  void resize(std::int64_t size) {
    if (size <= size_) return;
    values_.reset();  // first: both at once need not fit
    size_ = 0;        // until there is memory
    values_.reset(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), kLine)));
    size_ = size;
  }
  T& operator[](std::int64_t i) { return values_.get()[i]; }
  const T& operator[](std::int64_t i) const { return values_.get()[i]; }
  T* data() { return values_.get(); }
  const T* data() const { return values_.get(); }
  std::int64_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Delete {
    void operator()(T* values) const { ::operator delete(values, kLine); }
  };
  std::unique_ptr<T, Delete> values_;
  std::int64_t size_ = 0;
};

}  // namespace fastkmeans
