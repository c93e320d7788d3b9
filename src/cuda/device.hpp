// SPDX-License-Identifier: Apache-2.0
// One CUDA device, as one fit or prediction uses it: its streams, the memory it takes, and waiting.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/error.hpp"
#include "cuda/kept_memory.hpp"
#include "cuda/tuning.hpp"
#include "fastkmeans/params.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans::cuda {

// Throws OutOfMemory or Error, with "CUDA" and what was tried in the text.
void check(cudaError_t error, const char* what);

// The calling thread's current device is `number` while this lives.
class OnDevice {
 public:
  explicit OnDevice(int number);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = -1;  // -1: it was the same
};

// Of an object whose device is current while it is made, while one of its methods runs, and while it is destroyed, and
// never for the caller's own code.
class DeviceNumber {
 public:
  explicit DeviceNumber(int number) : number_(number) { enter(); }
  int number() const { return number_; }
  OnDevice here() const { return OnDevice(number_); }
  void enter() { current_.emplace(number_); }
  void leave() { current_.reset(); }

 private:
  int number_;
  std::optional<OnDevice> current_;
};

class Device {
 public:
  // number: of cuda_state(). Work begins after what the caller's stream holds now.
  Device(int number, const Execution& execution, Workers& workers);
  // Waits for what is running, which is soon told to stop.
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int number() const { return number_; }
  cudaStream_t stream() const { return stream_; }  // all kernels
  cudaStream_t copies() const { return copies_; }  // rows on their way to the device
  int processors() const { return processors_; }
  int shared_memory() const { return shared_memory_; }  // most bytes that a block may have
  Workers& workers() const { return workers_; }

  // Bytes that may still be allocated: what is free now or kept for us, or what the limit leaves.
  std::int64_t available() const;
  void* allocate(std::int64_t bytes);
  void release(void* memory, std::int64_t bytes) noexcept;

  // Until all that was launched is done; looks at the interrupt meanwhile.
  void wait();
  // To be called after each piece of work: keeps two in flight, so that an interrupt need not wait for more.
  void pace();
  // Nonzero: long kernels end. In the memory of the device: that of the host is read once in a microsecond, by all
  // threads together (H200).
  const volatile int* stop() const { return stop_; }
  // Makes them end, for good: nobody will look at what they leave.
  void abandon() noexcept;

  // Waits, and copies to the host.
  void download(void* to, const void* from, std::int64_t bytes);
  // In stream order; the source may be reused at once.
  void upload(void* to, const void* from, std::int64_t bytes);
  void clear(void* memory, std::int64_t bytes);

 private:
  void begin_after(cudaStream_t other);
  void wait_for(cudaEvent_t event);
  void destroy() noexcept;

  int number_;
  Workers& workers_;
  KeptMemory* kept_ = nullptr;
  cudaStream_t stream_ = nullptr, copies_ = nullptr;
  cudaEvent_t done_ = nullptr, pieces_[2] = {};
  unsigned piece_ = 0;
  int processors_ = 0, shared_memory_ = 0;
  std::int64_t limit_, taken_ = 0;
  int* stop_ = nullptr;
};

// Memory of a device, not initialised. It is given back in stream order.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device& device, std::int64_t size) { resize(device, size); }
  ~DeviceBuffer() { reset(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  // Room for `size` values; what was in it is lost if more memory must be taken.
  void resize(Device& device, std::int64_t size) {
    if (size > room_) {
      reset();
      values_ = static_cast<T*>(device.allocate(bytes_of(size)));
      device_ = &device;
      room_ = size;
    }
    size_ = size;
  }
  void reset() noexcept {
    if (values_) device_->release(values_, bytes_of(room_));
    values_ = nullptr;
    size_ = room_ = 0;
  }
  T* data() const { return values_; }
  std::int64_t size() const { return size_; }
  std::int64_t bytes() const { return bytes_of(size_); }
  void swap(DeviceBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(values_, other.values_);
    std::swap(size_, other.size_);
    std::swap(room_, other.room_);
  }

 private:
  static std::int64_t bytes_of(std::int64_t size) { return size * static_cast<std::int64_t>(sizeof(T)); }

  Device* device_ = nullptr;
  T* values_ = nullptr;
  std::int64_t size_ = 0, room_ = 0;
};

// Pinned host memory, which the device reads while the host goes on. Whoever has it waits for that before it goes.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(std::int64_t bytes) : bytes_(bytes), memory_(take_pinned(bytes)) {}
  ~PinnedBuffer() { give_pinned(memory_, bytes_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  char* data() const { return static_cast<char*>(memory_); }

 private:
  std::int64_t bytes_;
  void* memory_;
};

// What kernels tell the host again and again, in device memory: its copy is on its way before the host waits.
template <class T>
class Answer {
 public:
  Answer(Device& device, std::int64_t size)
      : device_(device), values_(device, size), on_host_(std::max<std::int64_t>(values_.bytes(), 1)) {}
  ~Answer() { cudaStreamSynchronize(device_.stream()); }  // the copy writes to on_host_
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  T* data() const { return values_.data(); }
  std::int64_t size() const { return values_.size(); }
  void clear() { device_.clear(values_.data(), values_.bytes()); }
  // Waits; (count) the first of them, which stay until the next time.
  const T* fetch(std::int64_t count) {
    check(cudaMemcpyAsync(on_host_.data(), values_.data(), static_cast<std::size_t>(count) * sizeof(T),
                          cudaMemcpyDeviceToHost, device_.stream()),
          "cudaMemcpy");
    device_.wait();
    return reinterpret_cast<const T*>(on_host_.data());
  }

 private:
  Device& device_;
  DeviceBuffer<T> values_;
  PinnedBuffer on_host_;
};

// After a kernel's launch.
inline void launched(const char* kernel) { check(cudaGetLastError(), kernel); }

// Lets a kernel have all the dynamic shared memory there is. Always the same for a kernel: it holds for the launches of
// all threads.
template <class Kernel>
void allow_shared_memory(const Device& device, Kernel* kernel) {
  cudaFuncAttributes own = {};
  check(cudaFuncGetAttributes(&own, kernel), "cudaFuncGetAttributes");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             device.shared_memory() - static_cast<int>(own.sharedSizeBytes)),
        "cudaFuncSetAttribute");
}
// The same for a kernel without any of its own, launched again and again with so many bytes. All may have a little
// without asking, which takes the host 4 us.
template <class Kernel>
void allow_shared_memory(const Device& device, Kernel* kernel, std::int64_t bytes) {
  if (bytes > 48 << 10) allow_shared_memory(device, kernel);
}

// `count` values of the host, which may be reused at once.
template <class T>
DeviceBuffer<T> uploaded(Device& device, const T* values, std::int64_t count) {
  DeviceBuffer<T> out(device, count);
  if (count > 0) device.upload(out.data(), values, out.bytes());
  return out;
}

// Waits; `count` values of device memory.
template <class T>
std::vector<T> downloaded(Device& device, const T* values, std::int64_t count) {
  std::vector<T> out(static_cast<std::size_t>(count));
  device.download(out.data(), values, count * static_cast<std::int64_t>(sizeof(T)));
  return out;
}

// Blocks of a grid for `items`, `per_block` each.
inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}
// The same where threads stride over the items: at most `per_processor` for each, and one if there is nothing to do.
inline unsigned grid_stride_blocks(const Device& device, std::int64_t items, std::int64_t per_block,
                                   int per_processor) {
  const std::int64_t most = std::int64_t{per_processor} * device.processors();
  return static_cast<unsigned>(std::clamp<std::int64_t>((items + per_block - 1) / per_block, 1, most));
}

}  // namespace fastkmeans::cuda
