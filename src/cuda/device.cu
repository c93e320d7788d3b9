// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cuda/device.hpp"
#include "cuda/driver.hpp"
#include "runtime/os.hpp"

namespace fastkmeans::cuda {
namespace {

// A fit whose allocations fail must give the same bits or a clear error. FASTKMEANS_CUDA_FAIL_ALLOCATION=N, for tests:
// the N-th of the process fails.
bool is_made_to_fail() {
  static std::atomic<std::int64_t> allocations{0};
  const std::string wanted = os::environment("FASTKMEANS_CUDA_FAIL_ALLOCATION");
  return !wanted.empty() && ++allocations == std::atoll(wanted.c_str());
}

std::string gibibytes(std::int64_t bytes) {
  return std::to_string(static_cast<double>(bytes) / (1 << 30)).substr(0, 5) + " GiB";
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // errors that do not stay are forgotten
  const std::string text = std::string("CUDA failed: ") + what + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) throw OutOfMemory(text);
  if (error == cudaErrorInvalidValue) throw InvalidValue(text);
  throw Error(text);
}

OnDevice::OnDevice(int number) {
  int current = -1;
  check(cudaGetDevice(&current), "cudaGetDevice");
  if (current == number) return;
  check(cudaSetDevice(number), "cudaSetDevice");
  before_ = current;
}

OnDevice::~OnDevice() {
  if (before_ >= 0) cudaSetDevice(before_);
}

Device::Device(int number, const Execution& execution, Workers& workers)
    : number_(number), workers_(workers), limit_(execution.memory_limit) {
  const CudaState& state = driver_state();
  if (state.status != CudaStatus::ready) throw Error(state.problem);
  const OnDevice on(number_);
  try {
    check(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, number_), "cudaDeviceGetAttribute");
    check(cudaDeviceGetAttribute(&shared_memory_, cudaDevAttrMaxSharedMemoryPerBlockOptin, number_),
          "cudaDeviceGetAttribute");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "cudaStreamCreate");
    for (cudaEvent_t* event : {&done_, &pieces_[0], &pieces_[1]})
      check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreate");
    kept_ = &KeptMemory::of(number_);
    // All that is ever done to it is done in this order.
    check(kept_->allocate(reinterpret_cast<void**>(&stop_), sizeof *stop_, copies_), "cudaMallocAsync");
    check(cudaMemsetAsync(stop_, 0, sizeof *stop_, copies_), "cudaMemset");
    begin_after(copies_);
    begin_after(static_cast<cudaStream_t>(execution.cuda_stream));
  } catch (...) {
    destroy();
    throw;
  }
}

Device::~Device() {
  int current = number_;
  cudaGetDevice(&current);
  if (current != number_) cudaSetDevice(number_);
  abandon();
  destroy();
  if (current != number_) cudaSetDevice(current);
}

void Device::begin_after(cudaStream_t other) {
  check(cudaEventRecord(done_, other), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_, done_, 0), "cudaStreamWaitEvent");
}

void Device::abandon() noexcept {
  static constexpr int kYes = 1;
  cudaMemcpyAsync(stop_, &kYes, sizeof kYes, cudaMemcpyHostToDevice, copies_);  // by no kernel: there may be no room
}

void Device::destroy() noexcept {
  if (copies_) cudaStreamSynchronize(copies_);
  if (stream_) cudaStreamSynchronize(stream_);
  for (cudaEvent_t event : {done_, pieces_[0], pieces_[1]})
    if (event) cudaEventDestroy(event);
  if (stop_) kept_->release(stop_, copies_);
  if (copies_) cudaStreamDestroy(copies_);
  if (stream_) cudaStreamDestroy(stream_);
}

std::int64_t Device::available() const {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const auto most = static_cast<std::int64_t>(free) + kept_->unused();
  return limit_ > 0 ? std::min(most, limit_ - taken_) : most;
}

void* Device::allocate(std::int64_t bytes) {
  if (bytes == 0) bytes = 1;
  if ((limit_ > 0 && taken_ + bytes > limit_) || is_made_to_fail())
    throw OutOfMemory("CUDA has too little memory: " + gibibytes(bytes) + " more are needed beside " +
                      gibibytes(taken_) + (limit_ > 0 ? ", memory_limit is " + gibibytes(limit_) : ""));
  void* memory = nullptr;
  check(kept_->allocate(&memory, bytes, stream_), "cudaMallocAsync");
  taken_ += bytes;
  return memory;
}

void Device::release(void* memory, std::int64_t bytes) noexcept {
  kept_->release(memory, stream_);
  taken_ -= std::max<std::int64_t>(bytes, 1);
}

void Device::wait_for(cudaEvent_t event) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const cudaError_t error = cudaEventQuery(event);
    if (error == cudaSuccess) return;
    if (error != cudaErrorNotReady) check(error, "a kernel");
    workers_.checkpoint(0);
    // Where waiting takes longer, the core is left to others; to be told up to 0.1 ms late is then no loss.
    if (std::chrono::steady_clock::now() - start > std::chrono::milliseconds(10))
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void Device::wait() {
  check(cudaEventRecord(done_, stream_), "cudaEventRecord");
  wait_for(done_);
}

void Device::pace() {
  check(cudaEventRecord(pieces_[piece_ % 2], stream_), "cudaEventRecord");
  if (++piece_ >= 2) wait_for(pieces_[piece_ % 2]);
}

void Device::download(void* to, const void* from, std::int64_t bytes) {
  wait();
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream_), "cudaMemcpy");
  check(cudaStreamSynchronize(stream_), "cudaMemcpy");
}

void Device::upload(void* to, const void* from, std::int64_t bytes) {
  // Pageable memory is staged before the call returns.
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, stream_), "cudaMemcpy");
}

void Device::clear(void* memory, std::int64_t bytes) {
  check(cudaMemsetAsync(memory, 0, static_cast<std::size_t>(bytes), stream_), "cudaMemset");
}

}  // namespace fastkmeans::cuda
