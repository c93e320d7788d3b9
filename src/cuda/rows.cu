// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "cuda/metric.hpp"
#include "cuda/rows.hpp"
#include "cuda/warp.cuh"
#include "numeric/row_hash.hpp"
#include "plan/survey.hpp"
#include "source/element.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
// Of rows that are copied once, twice in pinned memory. That takes 0.5 ms a MiB to have and 0.1 to give back (H200), so
// 64 MiB took as long as half of a fit of 8,192 clusters; and a copy of 8 MiB outlasts what it costs to begin.
constexpr std::int64_t kCopiedBytes = 8 << 20;

// Elements at their own alignment are read by one instruction; others byte by byte.
struct Aligned {
  static FASTKMEANS_BOTH float read(const char* p, DType dtype) {
    return read_element([p]<class T>(T) { return *reinterpret_cast<const T*>(p); }, dtype);
  }
};
struct Unaligned {
  static FASTKMEANS_BOTH float read(const char* p, DType dtype) { return read_element(p, dtype); }
};

// rows null: all, in order.
template <class Alignment>
__global__ void convert(const MatrixView x, const std::int64_t* rows, std::int64_t count, float* out) {
  const std::int64_t total = count * x.cols, step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < total; e += step) {
    const std::int64_t i = e / x.cols, j = e - i * x.cols;
    out[e] = Alignment::read(element_address(x, rows ? rows[i] : i, j), x.dtype);
  }
}

// Rows of 16 bits, eight elements at a time: `eights` of them a row, one every ld of them.
constexpr std::int64_t kHalf = 2, kEight = 8;
template <bool kF16>
__global__ void widen_rows(const uint4* x, std::int64_t ld, std::int64_t count, std::int64_t eights, float4* out) {
  const std::int64_t total = count * eights, step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < total; e += step) {
    const std::int64_t i = e / eights, j = e - i * eights;
    const uint4 bits = x[i * ld + j];
    out[2 * e] = widened<kF16>({bits.x, bits.y});
    out[2 * e + 1] = widened<kF16>({bits.z, bits.w});
  }
}

__global__ void copy_items(const MatrixView x, const std::int64_t* rows, std::int64_t count, int item, char* out) {
  const std::int64_t total = count * x.cols, step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < total; e += step) {
    const std::int64_t i = e / x.cols, j = e - i * x.cols;
    const char* from = element_address(x, rows ? rows[i] : i, j);
    for (int byte = 0; byte < item; ++byte) out[e * item + byte] = from[byte];
  }
}

__global__ void hash(const float* rows, std::int64_t count, std::int64_t d, std::uint64_t* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = row_hash(rows + i * d, d);
}

unsigned grid_for(Device& device, std::int64_t elements) { return grid_stride_blocks(device, elements, kThreads, 16); }

bool is_aligned(const MatrixView& x) {
  const auto item = static_cast<std::int64_t>(item_size(x.dtype));
  return reinterpret_cast<std::intptr_t>(x.data) % item == 0 && x.row_stride % item == 0 && x.col_stride % item == 0;
}

// Of 16 bits, and eight of them can be read at once, at the same place of each row.
bool in_eights(const MatrixView& x) {
  return (x.dtype == DType::f16 || x.dtype == DType::bf16) && x.col_stride == kHalf && x.cols % kEight == 0 &&
         x.row_stride % (kEight * kHalf) == 0 && reinterpret_cast<std::uintptr_t>(x.data) % (kEight * kHalf) == 0;
}

void widen(Device& device, const MatrixView& x, float* out) {
  const auto kernel = x.dtype == DType::f16 ? widen_rows<true> : widen_rows<false>;
  const std::int64_t eights = x.cols / kEight;
  kernel<<<grid_for(device, x.rows * eights), kThreads, 0, device.stream()>>>(static_cast<const uint4*>(x.data),
                                                                              x.row_stride / (kEight * kHalf), x.rows,
                                                                              eights, reinterpret_cast<float4*>(out));
  launched("widen_rows");
}

void convert_rows(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, float* out) {
  if (count == 0) return;
  if (!rows && in_eights(x) && reinterpret_cast<std::uintptr_t>(out) % sizeof(float4) == 0)
    return widen(device, x, out);
  const auto kernel = is_aligned(x) ? convert<Aligned> : convert<Unaligned>;
  kernel<<<grid_for(device, count * x.cols), kThreads, 0, device.stream()>>>(x, rows, count, out);
  launched("convert");
}

// Elements that lie side by side, as a metric takes them.
Stored stored_as(DType dtype, const Metric& metric) {
  if (!metric.keeps_rows()) return Stored::otherwise;
  return dtype == DType::f32                           ? Stored::floats
         : dtype == DType::f16 || dtype == DType::bf16 ? Stored::halves
                                                       : Stored::otherwise;
}
bool takes(Stored stored, bool takes_halves) {
  return stored == Stored::floats || (stored == Stored::halves && takes_halves);
}

// A matrix in device memory.
class DeviceRows final : public Rows {
 public:
  DeviceRows(Device& device, const MatrixView& x, const Metric& metric) : device_(device), x_(x), metric_(metric) {}
  DeviceRows(Device& device, DeviceBuffer<char> owned, const MatrixView& x, const Metric& metric)
      : device_(device), owned_(std::move(owned)), x_(x), metric_(metric) {}

  Stored stored() const override {
    const bool side_by_side = is_aligned(x_) && (x_.col_stride == item(x_) || x_.cols == 1);
    return side_by_side ? stored_as(x_.dtype, metric_) : Stored::otherwise;
  }

  std::optional<RowsView> all() override {
    if (stored() != Stored::floats) return std::nullopt;
    return view(x_).floats();
  }

  void fetch(const std::int64_t* rows, std::int64_t count, float* out) override {
    const auto numbers = uploaded(device_, rows, count);
    gather_float(device_, x_, numbers.data(), count, out);
    take_rows(device_, metric_, out, count, x_.cols);
  }

 private:
  void each(std::int64_t most, bool takes_halves, const VisitStored& visit) override {
    const bool as_they_are = takes(stored(), takes_halves);
    if (as_they_are) converted_.reset();  // of a pass in fp32: the others need it no more
    for (std::int64_t first = 0; first < x_.rows; first += most) {
      const std::int64_t count = std::min(most, x_.rows - first);
      const MatrixView part = part_of(x_, first, count);
      if (as_they_are) {
        visit(first, count, view(part));
      } else {
        converted_.resize(device_, std::min(most, x_.rows) * x_.cols);
        to_float(device_, part, converted_.data());
        take_rows(device_, metric_, converted_.data(), count, x_.cols);
        visit(first, count, RowsView{converted_.data(), x_.cols});
      }
      device_.pace();
    }
  }

  static std::int64_t item(const MatrixView& x) { return static_cast<std::int64_t>(item_size(x.dtype)); }
  static StoredRows view(const MatrixView& x) { return {x.data, x.row_stride / item(x), x.dtype}; }

  Device& device_;
  DeviceBuffer<char> owned_;
  MatrixView x_;
  const Metric& metric_;
  DeviceBuffer<float> converted_;
};

// Host rows on their way: while the device works on one batch, the workers copy the next into pinned memory.
class HostRows final : public Rows {
 public:
  HostRows(Device& device, const Source& rows, const Metric& metric, std::int64_t batch_bytes)
      : device_(device),
        rows_(rows),
        x_(rows.batch(0, rows.rows())),
        metric_(metric),
        row_bytes_(x_.cols * static_cast<std::int64_t>(item_size(x_.dtype))),
        batch_(std::clamp<std::int64_t>(batch_bytes / row_bytes_, 1, std::max<std::int64_t>(x_.rows, 1))) {
    for (Slot& slot : slots_) {
      slot.pinned.emplace(batch_ * row_bytes_);
      slot.raw.resize(device_, batch_ * row_bytes_);
      check(cudaEventCreateWithFlags(&slot.arrived, cudaEventDisableTiming), "cudaEventCreate");
    }
    if (stored() != Stored::floats) converted_.resize(device_, batch_ * x_.cols);
    device_.wait();  // the copies' stream must find the memory there
  }
  ~HostRows() override {
    cudaStreamSynchronize(device_.copies());
    for (Slot& slot : slots_)
      if (slot.arrived) cudaEventDestroy(slot.arrived);
  }

  Stored stored() const override { return stored_as(x_.dtype, metric_); }
  std::optional<RowsView> all() override { return std::nullopt; }

  // The rows in their own dtype, side by side.
  template <class VisitRaw>
  void each_raw(std::int64_t most, const VisitRaw& visit) {
    int turn = 0;
    most = std::min(most, batch_);
    for (std::int64_t first = 0; first < x_.rows; first += most, ++turn) {
      const std::int64_t count = std::min(most, x_.rows - first);
      Slot& slot = slots_[turn % 2];
      // pace() below has seen to it that the work of two turns ago, which read this slot, is done.
      pack(first, count, slot.pinned->data());
      check(cudaMemcpyAsync(slot.raw.data(), slot.pinned->data(), static_cast<std::size_t>(count * row_bytes_),
                            cudaMemcpyHostToDevice, device_.copies()),
            "cudaMemcpy");
      check(cudaEventRecord(slot.arrived, device_.copies()), "cudaEventRecord");
      check(cudaStreamWaitEvent(device_.stream(), slot.arrived, 0), "cudaStreamWaitEvent");
      visit(first, count, static_cast<const char*>(slot.raw.data()));
      device_.pace();
    }
    device_.wait();  // another pass begins with both slots free
  }

  void fetch(const std::int64_t* rows, std::int64_t count, float* out) override {
    std::vector<float> values(static_cast<std::size_t>(count * x_.cols));
    rows_.gather(rows, count, values.data(), device_.workers());
    device_.upload(out, values.data(), count * x_.cols * static_cast<std::int64_t>(sizeof(float)));
    take_rows(device_, metric_, out, count, x_.cols);
  }

 private:
  struct Slot {
    std::optional<PinnedBuffer> pinned;
    DeviceBuffer<char> raw;
    cudaEvent_t arrived = nullptr;
  };

  void each(std::int64_t most, bool takes_halves, const VisitStored& visit) override {
    each_raw(most, [&](std::int64_t first, std::int64_t count, const char* raw) {
      if (takes(stored(), takes_halves)) return visit(first, count, StoredRows(raw, x_.cols, x_.dtype));
      to_float(device_, {raw, count, x_.cols, x_.dtype}, converted_.data());
      take_rows(device_, metric_, converted_.data(), count, x_.cols);
      visit(first, count, RowsView{converted_.data(), x_.cols});
    });
  }

  void pack(std::int64_t first, std::int64_t count, char* out) {
    constexpr std::int64_t kRowsPerTask = 1024;
    const auto item = static_cast<std::int64_t>(item_size(x_.dtype));
    const auto pack_some = [&](std::int64_t begin, std::int64_t some, int) {
      if (x_.col_stride == item && x_.row_stride == row_bytes_) {
        std::memcpy(out + begin * row_bytes_, element_address(x_, first + begin, 0),
                    static_cast<std::size_t>(some * row_bytes_));
        return;
      }
      for (std::int64_t i = begin; i < begin + some; ++i) copy_row(x_, first + i, out + i * row_bytes_);
    };
    device_.workers().for_blocks(count, kRowsPerTask, static_cast<double>(count * row_bytes_), pack_some);
  }

  Device& device_;
  const Source& rows_;
  const MatrixView x_;
  const Metric& metric_;
  std::int64_t row_bytes_, batch_;
  Slot slots_[2];
  DeviceBuffer<float> converted_;
};

bool shrinks(DType dtype) { return item_size(dtype) > sizeof(float); }

}  // namespace

void to_float(Device& device, const MatrixView& x, float* out) { convert_rows(device, x, nullptr, x.rows, out); }

void gather_float(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, float* out) {
  convert_rows(device, x, rows, count, out);
}

void hash_rows(Device& device, const float* rows, std::int64_t count, std::int64_t d, std::uint64_t* out) {
  if (count == 0) return;
  constexpr int kFew = 32;  // a block: there are few rows, and a thread takes long for one
  hash<<<blocks_for(count, kFew), kFew, 0, device.stream()>>>(rows, count, d, out);
  launched("hash");
}

void gather_rows(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, void* out) {
  if (count == 0) return;
  copy_items<<<grid_for(device, count * x.cols), kThreads, 0, device.stream()>>>(
      x, rows, count, static_cast<int>(item_size(x.dtype)), static_cast<char*>(out));
  launched("copy_items");
}

std::int64_t resident_row_bytes(DType dtype, std::int64_t d) {
  return d * static_cast<std::int64_t>(shrinks(dtype) ? sizeof(float) : item_size(dtype));
}

std::unique_ptr<Rows> make_rows(Device& device, const Source& rows, const Metric& metric, bool resident,
                                std::int64_t batch_bytes) {
  const MatrixView x = rows.batch(0, rows.rows());
  if (rows.place() == Place::device) return std::make_unique<DeviceRows>(device, x, metric);
  if (!resident) return std::make_unique<HostRows>(device, rows, metric, batch_bytes);
  DeviceBuffer<char> memory(device, x.rows * resident_row_bytes(x.dtype, x.cols));
  HostRows on_their_way(device, rows, metric, std::min({batch_bytes, kCopiedBytes, memory.bytes() / 4 + 1}));
  const auto keep = [&](std::int64_t first, std::int64_t count, const void* some) {
    const std::int64_t row = resident_row_bytes(x.dtype, x.cols);
    check(cudaMemcpyAsync(memory.data() + first * row, some, static_cast<std::size_t>(count * row),
                          cudaMemcpyDeviceToDevice, device.stream()),
          "cudaMemcpy");
  };
  const bool converted = shrinks(x.dtype);
  if (converted)
    on_their_way.each_batch(x.rows, [&](auto first, auto count, RowsView some) { keep(first, count, some.x); });
  else
    on_their_way.each_raw(x.rows, keep);
  const MatrixView all(memory.data(), x.rows, x.cols, converted ? DType::f32 : x.dtype);
  // Converted rows are those that the metric has taken already.
  return std::make_unique<DeviceRows>(device, std::move(memory), all, converted ? euclidean() : metric);
}

DeviceBuffer<float> spread_rows(Device& device, Rows& store, std::int64_t n, std::int64_t d, std::int64_t count,
                                double shift) {
  std::vector<std::int64_t> numbers;
  for (std::int64_t i = 0; i < count; ++i) numbers.push_back(spread_row(n, count, i, shift));
  DeviceBuffer<float> rows(device, count * d);
  store.fetch(numbers.data(), count, rows.data());
  return rows;
}

}  // namespace fastkmeans::cuda
