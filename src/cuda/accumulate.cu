// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cuda/accumulate.hpp"
#include "cuda/move_rows.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// Rows that a warp looks at, a lane each, before it moves those that changed. Of long ones fewer: in a first assignment
// all of them are moved, one after the other.
FASTKMEANS_BOTH int rows_of_warp(int d) { return d <= kWarp ? kWarp : kWarp / 4; }

__global__ void move_changed(RowsView rows, std::int64_t count, const std::int32_t* from, const std::int32_t* to,
                             const std::int64_t* weights, ScaleView scale, SumsView sums, Lanes lanes) {
  const int looked_at = rows_of_warp(sums.d);
  const std::int64_t first = warp_id() * looked_at, mine = first + lane_id();
  std::int64_t times = 0;
  std::int32_t before = -1, now = -1;
  if (mine < count && lane_id() < looked_at) {
    now = to[mine];
    if (from) before = from[mine];
    if (before != now) times = weights ? weights[mine] : 1;
  }
  move_rows({rows.row(first), rows.ld}, times, before, now, scale, sums, lanes);
}

__global__ void move_relocated(RowsView rows, std::int64_t count, const std::int64_t* numbers, const std::int32_t* from,
                               const std::int32_t* to, const std::int64_t* weights, ScaleView scale, SumsView sums,
                               std::int32_t* labels) {
  const std::int64_t i = warp_id();
  if (i >= count) return;
  move_row(rows.row(i), weights ? weights[numbers[i]] : 1, from[i], to[i], scale, sums, Lanes(kWarp));
  if (lane_id() == 0) labels[numbers[i]] = to[i];
}

void upload_all(Device& device, const std::vector<double>& from, DeviceBuffer<double>& to) {
  if (from.empty()) return;
  to.resize(device, static_cast<std::int64_t>(from.size()));
  device.upload(to.data(), from.data(), to.bytes());
}

}  // namespace

Scale::Scale(Device& device, const FixedPoint& scale) : fine_(scale.fine) {
  upload_all(device, scale.grain, grain_);
  upload_all(device, scale.inverse, inverse_);
  upload_all(device, scale.lo_inverse, lo_inverse_);
}

ScaleView Scale::view() const { return {grain_.data(), inverse_.data(), lo_inverse_.data(), fine_}; }

Sums::Sums(Device& device, std::int64_t k, std::int64_t d, bool two_limbs, bool weighted)
    : k_(static_cast<int>(k)), d_(static_cast<int>(d)), hi_(device, k * d), weights_(device, k) {
  if (two_limbs) lo_.resize(device, k * d);
  if (weighted) members_.resize(device, k);
  clear(device);
}

SumsView Sums::view() const { return {hi_.data(), lo_.data(), weights_.data(), members_.data(), k_, d_}; }

void Sums::clear(Device& device) {
  for (auto* values : {&hi_, &lo_, &weights_, &members_})
    if (values->data()) device.clear(values->data(), values->bytes());
}

void join_sums(Device& device, const SumsView& own, const SumsView& all, Reducer& reducer) {
  const std::int64_t k = own.k, d = own.d;
  std::vector<std::uint64_t> values(static_cast<std::size_t>(k * d));
  const auto join = [&](const Integer* from, Integer* to, std::int64_t count) {
    if (!from) return;
    const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(Integer));
    device.download(values.data(), from, bytes);
    reducer.sum(values.data(), count);
    device.upload(to, values.data(), bytes);
  };
  join(own.hi, all.hi, k * d);
  join(own.lo, all.lo, k * d);
  join(own.weights, all.weights, k);
}

void accumulate(Device& device, RowsView rows, std::int64_t count, const std::int32_t* from, const std::int32_t* to,
                const std::int64_t* weights, const ScaleView& scale, const SumsView& sums) {
  if (count == 0) return;
  move_changed<<<blocks_for(count, kThreads / kWarp * rows_of_warp(sums.d)), kThreads, 0, device.stream()>>>(
      rows, count, from, to, weights, scale, sums, Lanes(sums.d));
  launched("move_changed");
}

void relocate(Device& device, RowsView rows, std::int64_t count, const std::int64_t* numbers, const std::int32_t* from,
              const std::int32_t* to, const std::int64_t* weights, const ScaleView& scale, const SumsView& sums,
              std::int32_t* labels) {
  if (count == 0) return;
  move_relocated<<<blocks_for(count, kThreads / kWarp), kThreads, 0, device.stream()>>>(rows, count, numbers, from, to,
                                                                                        weights, scale, sums, labels);
  launched("move_relocated");
}

}  // namespace fastkmeans::cuda
