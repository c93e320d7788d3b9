// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cuda/accumulate.hpp"
#include "cuda/move_rows.cuh"
#include "cuda/tuning.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

// The sums of a block in shared memory, in halves, since hardware adds 32 bits there: the upper half of each lies
// `size` behind the lower one, so neighbours are in different banks.
struct SharedSums {
  std::uint32_t *hi, *lo, *weights, *members;  // as in a SumsView
  int k, d, size;

  // All are zero, once the threads of the block have met.
  __device__ SharedSums(std::uint32_t* memory, const SumsView& sums)
      : k(sums.k), d(sums.d), size(static_cast<int>(sums_of_block(sums.k, sums.d, sums.lo, sums.members))) {
    for (int half = static_cast<int>(threadIdx.x); half < 2 * size; half += static_cast<int>(blockDim.x))
      memory[half] = 0;
    hi = memory;
    lo = sums.lo ? hi + k * d : nullptr;
    weights = hi + (sums.lo ? 2 : 1) * k * d;
    members = sums.members ? weights + k : nullptr;
  }

  __device__ void add_all_to(const SumsView& sums) const {
    const auto add_all = [&](const std::uint32_t* from, Integer* to, int count) {
      for (int i = static_cast<int>(threadIdx.x); from && i < count; i += static_cast<int>(blockDim.x))
        if (const Integer sum = Integer{from[i + size]} << 32 | from[i]) atomicAdd(to + i, sum);
    };
    add_all(hi, sums.hi, k * d);
    add_all(lo, sums.lo, k * d);
    add_all(weights, sums.weights, k);
    add_all(members, sums.members, k);
  }
};

__device__ void add_to(const SharedSums& sums, std::uint32_t* lower, Integer amount) {
  const auto low = static_cast<std::uint32_t>(amount);
  const bool carry = atomicAdd(lower, low) + low < low;
  const std::uint32_t high = static_cast<std::uint32_t>(amount >> 32) + carry;
  if (high) atomicAdd(lower + sums.size, high);
}

// Rows that a warp looks at, a lane each, before it moves those that changed. Of long ones fewer: in a first assignment
// all of them are moved, one after the other.
FASTKMEANS_BOTH int rows_of_warp(int d) { return d <= kWarp ? kWarp : kWarp / 4; }

// Rows and their labels, before and now.
struct Changes {
  StoredRows rows;
  std::int64_t count;
  const std::int32_t *from, *to;  // from null: there were none
  const std::int64_t* weights;    // or null

  // Of the rows that a warp looks at, from `first` on; kTogether: as of move_rows().
  template <int kTogether, class Sums>
  __device__ void move(std::int64_t first, const Lanes& lanes, const ScaleView& scale, const Sums& sums) const {
    const int looked_at = rows_of_warp(sums.d);
    const std::int64_t mine = first + lane_id();
    Move own = {0, -1, -1};
    if (mine < count && lane_id() < looked_at) {
      own.to = to[mine];
      if (from) own.from = from[mine];
      if (own.from != own.to) own.times = weights ? weights[mine] : 1;
    }
    move_rows<kTogether>(StoredRows(rows.row(first).at, rows.ld, rows.dtype), looked_at, own, scale, sums, lanes);
  }
};

__global__ void move_changed(const Changes changes, ScaleView scale, SumsView sums, Lanes lanes) {
  changes.move<1>(warp_id() * rows_of_warp(sums.d), lanes, scale, sums);
}

// Blocks have sums of their own, and add them up when all rows are done: where many rows move, sums in device memory
// are what everybody waits for.
__global__ __launch_bounds__(kSumsThreads, 2) void move_changed_in_blocks(const Changes changes, ScaleView scale,
                                                                          SumsView sums, Lanes lanes) {
  extern __shared__ std::uint32_t memory[];
  const SharedSums own(memory, sums);
  __syncthreads();
  const int looked_at = rows_of_warp(sums.d);
  for (std::int64_t first = warp_id() * looked_at; first < changes.count; first += warp_count() * looked_at)
    changes.move<4>(first, lanes, scale, own);
  __syncthreads();
  own.add_all_to(sums);
}

__global__ void move_relocated(RowsView rows, std::int64_t count, const std::int64_t* numbers, const std::int32_t* from,
                               const std::int32_t* to, const std::int64_t* weights, ScaleView scale, SumsView sums,
                               std::int32_t* labels) {
  const std::int64_t i = warp_id();
  if (i >= count) return;
  const Move move = {weights ? weights[numbers[i]] : 1, from[i], to[i]};
  for (int j = lane_id(); j < sums.d; j += kWarp) move.add(rows.row(i)[j], j, scale, sums);
  if (lane_id() != 0) return;
  move.count(sums);
  labels[numbers[i]] = to[i];
}

}  // namespace

Scale::Scale(Device& device, const FixedPoint& scale)
    : grain_(uploaded(device, scale.grain.data(), std::ssize(scale.grain))),
      inverse_(uploaded(device, scale.inverse.data(), std::ssize(scale.inverse))),
      lo_inverse_(uploaded(device, scale.lo_inverse.data(), std::ssize(scale.lo_inverse))),
      fine_(scale.fine) {}

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

void accumulate(Device& device, const StoredRows& rows, std::int64_t count, const std::int32_t* from,
                const std::int32_t* to, const std::int64_t* weights, std::int64_t moving, const ScaleView& scale,
                const SumsView& sums) {
  if (count == 0) return;
  const Changes changes = {rows, count, from, to, weights};
  const Lanes lanes(sums.d);
  const std::int64_t size = sums_of_block(sums.k, sums.d, sums.lo, sums.members);
  if (const int blocks = blocks_with_sums(size, sums.k, moving, device.processors(), device.shared_memory())) {
    const std::int64_t bytes = size * static_cast<std::int64_t>(sizeof(Integer));
    allow_shared_memory(device, move_changed_in_blocks, bytes);
    move_changed_in_blocks<<<blocks, kSumsThreads, static_cast<std::size_t>(bytes), device.stream()>>>(changes, scale,
                                                                                                       sums, lanes);
    launched("move_changed_in_blocks");
    return;
  }
  move_changed<<<blocks_for(count, kThreads / kWarp * rows_of_warp(sums.d)), kThreads, 0, device.stream()>>>(
      changes, scale, sums, lanes);
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
