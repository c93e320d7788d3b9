// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cuda/row_store.hpp"

namespace fastkmeans::cuda {
namespace {

// Of rows on their way from the host, twice in pinned memory: a few milliseconds of the bus.
constexpr std::int64_t kPinnedBytes = 64 << 20;

}  // namespace

RowStore::RowStore(Device& device, const Source& source, const Metric& metric)
    : device_(device), source_(source), metric_(metric) {}

void RowStore::hold(bool resident) {
  rows_.reset();
  resident_ = resident;
  try {
    rows_ = make_rows(device_, source_, metric_, resident, passing_bytes());
  } catch (const OutOfMemory&) {
    if (!resident) throw;
    hold(false);
  }
}

std::int64_t RowStore::row_bytes() const {
  return source_.place() == Place::device ? 0 : resident_row_bytes(source_.dtype(), source_.cols());
}

std::int64_t RowStore::at_a_time() const { return std::max<std::int64_t>(passing_bytes() / 4 / source_.cols(), 1); }

void RowStore::fetch(const std::int64_t* rows, std::int64_t count, float* out) const {
  if (count > 0) rows_->fetch(rows, count, out);
}

// Twice on the device too, and some may have to be converted.
std::int64_t RowStore::passing_bytes() const { return std::min(kPinnedBytes, device_.available() / 16); }

}  // namespace fastkmeans::cuda
