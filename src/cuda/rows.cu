// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "cuda/metric.hpp"
#include "cuda/rows.hpp"
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

void convert_rows(Device& device, const MatrixView& x, const std::int64_t* rows, std::int64_t count, float* out) {
  if (count == 0) return;
  const auto kernel = is_aligned(x) ? convert<Aligned> : convert<Unaligned>;
  kernel<<<grid_for(device, count * x.cols), kThreads, 0, device.stream()>>>(x, rows, count, out);
  launched("convert");
}

// A matrix in device memory.
class DeviceRows final : public Rows {
 public:
  DeviceRows(Device& device, const MatrixView& x, const Metric& metric) : device_(device), x_(x), metric_(metric) {}
  DeviceRows(Device& device, DeviceBuffer<char> owned, const MatrixView& x, const Metric& metric)
      : device_(device), owned_(std::move(owned)), x_(x), metric_(metric) {}

  void each_batch(std::int64_t most, const Visit& visit) override {
    for (std::int64_t first = 0; first < x_.rows; first += most) {
      const std::int64_t count = std::min(most, x_.rows - first);
      const MatrixView part = part_of(x_, first, count);
      if (as_they_are()) {
        visit(first, count, view(part));
      } else {
        converted_.resize(device_, std::min(most, x_.rows) * x_.cols);
        to_float(device_, part, converted_.data());
        take_rows(device_, metric_, converted_.data(), count, x_.cols);
        visit(first, count, {converted_.data(), x_.cols});
      }
      device_.pace();
    }
  }

  std::optional<RowsView> all() override {
    if (!as_they_are()) return std::nullopt;
    return view(x_);
  }

  void fetch(const std::int64_t* rows, std::int64_t count, float* out) override {
    const auto numbers = uploaded(device_, rows, count);
    gather_float(device_, x_, numbers.data(), count, out);
    take_rows(device_, metric_, out, count, x_.cols);
  }

 private:
  static constexpr std::int64_t kItem = sizeof(float);
  static RowsView view(const MatrixView& x) { return {static_cast<const float*>(x.data), x.row_stride / kItem}; }
  bool as_they_are() const {
    return metric_.keeps_rows() && x_.dtype == DType::f32 && is_aligned(x_) && (x_.col_stride == kItem || x_.cols == 1);
  }

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
    if (!plain()) converted_.resize(device_, batch_ * x_.cols);
    device_.wait();  // the copies' stream must find the memory there
  }
  ~HostRows() override {
    cudaStreamSynchronize(device_.copies());
    for (Slot& slot : slots_)
      if (slot.arrived) cudaEventDestroy(slot.arrived);
  }

  void each_batch(std::int64_t most, const Visit& visit) override {
    each_raw(most, [&](std::int64_t first, std::int64_t count, const char* raw) {
      const float* values = reinterpret_cast<const float*>(raw);
      if (!plain()) {
        to_float(device_, {raw, count, x_.cols, x_.dtype}, converted_.data());
        take_rows(device_, metric_, converted_.data(), count, x_.cols);
        values = converted_.data();
      }
      visit(first, count, {values, x_.cols});
    });
  }

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

  bool plain() const { return x_.dtype == DType::f32 && metric_.keeps_rows(); }

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
