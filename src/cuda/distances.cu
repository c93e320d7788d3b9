// SPDX-License-Identifier: Apache-2.0
#include "cuda/distances.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 4;    // centroids whose elements are on their way at once
constexpr int kPart = 1 << 10;  // centroids that a warp takes: few rows must not leave the device idle
// A warp asks whether to stop in every turn of so many terms of D, which take all warps together some milliseconds, or
// once in so many turns.
constexpr std::int64_t kManyTerms = 1 << 19;
constexpr int kLooks = 16;
__device__ bool looks(int turn, std::int64_t terms) { return terms > kManyTerms || turn % kLooks == 0; }

// The best of the centroids [begin, end), by a warp.
template <class Row, class Minimised>
__device__ Best search(const Row& row, const Centroids& centroids, int begin, int end, const Minimised& loss) {
  Best best = {__int_as_float(0x7f800000), 0};
  for (int c = begin; c < end; c += kTogether) {
    const float* some[kTogether];
#pragma unroll
    for (int u = 0; u < kTogether; ++u) some[u] = centroids.row(min(c + u, end - 1));
    const float found = warp_losses(row, some, centroids.d, loss);
    best.take(found, min(c + lane_group<kTogether>(), end - 1));
  }
  Best nearest = best;
#pragma unroll
  for (int u = 0; u < kTogether; ++u)
    nearest.take(of_group<kTogether>(best.distance, u), of_group<kTogether>(best.label, u));
  return nearest;
}

// A warp for each row and part of the centroids; those that work together share their part.
template <class Minimised>
__global__ void search_kernel(const Centroids centroids, const Batch batch, const ChosenRows chosen,
                              const volatile int* stop, Integer* nearest, Integer* refined) {
  const int count = chosen.count ? *chosen.count : batch.count, parts = (centroids.k + kPart - 1) / kPart;
  Integer pairs = 0;
  int turn = 0;
  for (std::int64_t item = warp_id(); item < static_cast<std::int64_t>(count) * parts; item += warp_count()) {
    const int part = static_cast<int>(item / count), place = static_cast<int>(item - std::int64_t{part} * count);
    if (looks(++turn, std::int64_t{kPart} * centroids.d) && *stop) return;
    const int i = chosen.rows ? chosen.rows[place] : place;
    const std::uint8_t state = batch.states[i];
    if (state & kBadRow) continue;
    const int begin = part * kPart, end = min(begin + kPart, centroids.k);
    const Best best = search(batch.rows.row(i), centroids, begin, end, Minimised::of_row(state, centroids.tiny));
    if (lane_id() == 0) atomicMin(nearest + i, Minimised::packed(best));
    pairs += static_cast<Integer>(end - begin);
  }
  if (lane_id() == 0 && pairs) atomicAdd(refined, pairs);
}

template <class Minimised>
__global__ void unpack_kernel(const Integer* nearest, const Batch batch, const ChosenRows chosen, bool tiny) {
  const int count = chosen.count ? *chosen.count : batch.count, step = static_cast<int>(gridDim.x) * kThreads;
  for (int place = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); place < count;
       place += step) {
    const int i = chosen.rows ? chosen.rows[place] : place;
    const std::uint8_t state = batch.states[i];
    const bool bad = state & kBadRow;
    const Best best = Minimised::unpacked(nearest[i]);
    batch.labels[i] = bad ? 0 : best.label;
    batch.distances[i] = bad ? 0.0f : Minimised::of_row(state, tiny).stored(best.distance);
  }
}

__global__ void measure_move_kernel(const float* to, const Centroids from, float* shifts, std::uint32_t* largest) {
  std::uint32_t most = 0;
  for (std::int64_t c = warp_id(); c < from.k; c += warp_count()) {
    const float* const now = to + c * from.d;
    const std::uint32_t bits = largest_bits(now, from.d);
    most = max(most, bits);
    Distance loss;
    if (from.tiny && bits < magnitude_bits(kTinyBelow)) loss.factor = kTinyScale;
    const float distance = warp_loss(now, from.row(c), from.d, loss);
    if (lane_id() == 0) shifts[c] = loss.stored(distance);
  }
  if (lane_id() == 0) atomicMax(largest, most);
}

__global__ void lower_kernel(const Centroids added, RowsView rows, std::int64_t count, const std::uint8_t* states,
                             bool first, const volatile int* stop, float* distances) {
  int turn = 0;
  for (std::int64_t i = warp_id(); i < count; i += warp_count()) {
    const Distance loss = Distance::of_row(states[i], added.tiny);
    if (looks(++turn, std::int64_t{added.k} * added.d) && *stop) return;
    const float distance = loss.stored(search(rows.row(i), added, 0, added.k, loss).distance);
    if (lane_id() == 0 && (first || true_distance(distance) < true_distance(distances[i]))) distances[i] = distance;
  }
}

__global__ void largest_kernel(const float* values, std::int64_t count, std::uint32_t* out) {
  std::uint32_t bits = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    bits = max(bits, magnitude_bits(values[i]));
  bits = largest_of_lanes(bits);
  if (lane_id() == 0) atomicMax(out, bits);
}

template <class Minimised>
class AllPairs final : public Filter {
 public:
  AllPairs(Device& device, std::int64_t most) : device_(device), nearest_(device, most) {}
  std::string_view name() const override { return "none"; }
  bool takes_stored() const override { return true; }
  void prepare(const Centroids& centroids) override { centroids_ = centroids; }
  void assign(const Batch& batch, Notes* notes) override {
    unset_nearest(device_, nearest_.data(), batch.count);
    search_chosen<Minimised>(device_, centroids_, batch, {}, nearest_.data(), &notes->refined);
    unpack_nearest<Minimised>(device_, nearest_.data(), batch, {}, centroids_.tiny);
  }

 private:
  Device& device_;
  DeviceBuffer<Integer> nearest_;
  Centroids centroids_ = {};
};

unsigned blocks_of_warps(Device& device, std::int64_t rows, int of_processor = 16) {
  return grid_stride_blocks(device, rows, kThreads / kWarp, of_processor);
}

}  // namespace

void unset_nearest(Device& device, Integer* nearest, std::int64_t count) {
  check(cudaMemsetAsync(nearest, 0xff, static_cast<std::size_t>(count) * sizeof(Integer), device.stream()),
        "cudaMemset");
}

template <class Minimised>
void search_chosen(Device& device, const Centroids& centroids, const Batch& batch, const ChosenRows& chosen,
                   Integer* nearest, Integer* refined) {
  const std::int64_t parts = (centroids.k + kPart - 1) / kPart;
  // Of chosen rows there often are none, and blocks for nothing take their time too.
  const unsigned blocks = blocks_of_warps(device, batch.count * parts, chosen.rows ? 4 : 16);
  search_kernel<Minimised>
      <<<blocks, kThreads, 0, device.stream()>>>(centroids, batch, chosen, device.stop(), nearest, refined);
  launched("search");
}

template <class Minimised>
void unpack_nearest(Device& device, const Integer* nearest, const Batch& batch, const ChosenRows& chosen, bool tiny) {
  unpack_kernel<Minimised><<<grid_stride_blocks(device, batch.count, kThreads, 16), kThreads, 0, device.stream()>>>(
      nearest, batch, chosen, tiny);
  launched("unpack_nearest");
}

template void search_chosen<Distance>(Device&, const Centroids&, const Batch&, const ChosenRows&, Integer*, Integer*);
template void search_chosen<NegatedProduct>(Device&, const Centroids&, const Batch&, const ChosenRows&, Integer*,
                                            Integer*);
template void unpack_nearest<Distance>(Device&, const Integer*, const Batch&, const ChosenRows&, bool);
template void unpack_nearest<NegatedProduct>(Device&, const Integer*, const Batch&, const ChosenRows&, bool);

std::unique_ptr<Filter> all_pairs(Device& device, std::int64_t most, Loss loss) {
  if (loss == Loss::distance) return std::make_unique<AllPairs<Distance>>(device, most);
  return std::make_unique<AllPairs<NegatedProduct>>(device, most);
}

void measure_move(Device& device, const float* to, const Centroids& from, float* shifts, std::uint32_t* largest) {
  measure_move_kernel<<<blocks_of_warps(device, from.k), kThreads, 0, device.stream()>>>(to, from, shifts, largest);
  launched("measure_move");
}

void lower_distances(Device& device, const Centroids& added, RowsView rows, std::int64_t count,
                     const std::uint8_t* states, bool first, float* distances) {
  lower_kernel<<<blocks_of_warps(device, count), kThreads, 0, device.stream()>>>(added, rows, count, states, first,
                                                                                 device.stop(), distances);
  launched("lower_distances");
}

bool are_tiny(Device& device, const float* values, std::int64_t count) {
  DeviceBuffer<std::uint32_t> largest(device, 1);
  device.clear(largest.data(), largest.bytes());
  largest_kernel<<<grid_stride_blocks(device, count, kThreads, 8), kThreads, 0, device.stream()>>>(values, count,
                                                                                                   largest.data());
  launched("largest_magnitude");
  std::uint32_t bits = 0;
  device.download(&bits, largest.data(), sizeof bits);
  return bits < magnitude_bits(kTinyBelow);
}

}  // namespace fastkmeans::cuda
