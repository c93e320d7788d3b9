// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "cuda/device.hpp"
#include "cuda/error.hpp"
#include "cuda/host_copy.hpp"
#include "cuda/rows.hpp"
#include "source/element.hpp"
#include "source/joined.hpp"

namespace fastkmeans::cuda {
namespace {

// Of rows with gaps, packed on the device: enough to fill it, and little beside what it holds.
constexpr std::int64_t kPackedBytes = 64 << 20;

void copy(Device& device, const MatrixView& x, char* out) {
  const auto item = static_cast<std::int64_t>(item_size(x.dtype)), row = x.cols * item;
  if (x.col_stride == item && x.row_stride == row) return device.download(out, x.data, x.rows * row);
  const std::int64_t most = std::clamp<std::int64_t>(std::min(kPackedBytes, device.available() / 2) / row, 1,
                                                     x.rows);  // one row that does not fit says so
  DeviceBuffer<char> packed(device, most * row);
  for (std::int64_t first = 0; first < x.rows; first += most) {
    const std::int64_t count = std::min(most, x.rows - first);
    gather_rows(device, part_of(x, first, count), nullptr, count, packed.data());
    device.download(out + first * row, packed.data(), count * row);
  }
}

void copy_each(std::span<const MatrixView> matrices, const Execution& execution, Workers& workers, char* out) {
  std::optional<Device> device;
  for (const MatrixView& x : matrices) {
    if (x.rows == 0) continue;
    const OnDevice on(x.cuda_device);
    if (!device || device->number() != x.cuda_device) device.emplace(x.cuda_device, execution, workers);
    copy(*device, x, out);
    out += x.rows * x.cols * static_cast<std::int64_t>(item_size(x.dtype));
  }
}

}  // namespace

void copy_to_host(std::span<const MatrixView> matrices, const Execution& execution, Workers& workers, char* out) {
  try {
    copy_each(joined(matrices), execution, workers, out);
  } catch (const InvalidValue&) {  // what stands together need not be of one array
    copy_each(matrices, execution, workers, out);
  }
}

void copy_to_device(std::span<const std::pair<void*, std::span<const std::byte>>> copies, int number,
                    const Execution& execution, Workers& workers) {
  const OnDevice on(number);
  Device device(number, execution, workers);
  for (const auto& [to, from] : copies) device.upload(to, from.data(), static_cast<std::int64_t>(from.size()));
  device.wait();
}

}  // namespace fastkmeans::cuda
