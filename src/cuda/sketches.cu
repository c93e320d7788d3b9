// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cuda/lift.hpp"
#include "cuda/projection.hpp"
#include "cuda/sketch_group.cuh"
#include "cuda/sketches.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {
namespace {

// Steps smaller or larger than this are not used: all is error then. So inverse scales and their products are normal
// numbers, and scores finite.
constexpr float kLeastScale = 0x1p-60f, kLargestScale = 0x1p48f;
// Taken off squared norms: what the scan's fp32 needs (filter.cu, least_product), and the rounding of the norm itself.
constexpr double kNormSlack = 0x1p-20 + kFp64Slack;

__device__ float usable_scale(float largest) {
  const float scale = largest / kLevels;
  return scale >= kLeastScale && scale <= kLargestScale ? scale : 0.0f;
}

__device__ OwnSize describe(const SketchSize& bound) {
  return {round_down((1 - kNormSlack) * bound.sq_norm), round_up((1 + kFp64Slack) * bound.error)};
}
// The scan leaves out the product of the second digits, at most f |q2| f' |q2'|: twice that is at most the sum of the
// two squares, and each side takes its own off its squared norm.
__device__ OwnSize describe_both(const SketchSize& bound, const Quantised& sketch) {
  const double scale = sketch.both.scale, low = scale * scale * sketch.low_sq_sum;
  return {round_down((1 - kNormSlack) * bound.sq_norm - (1 + kFp64Slack) * low),
          round_up((1 + kFp64Slack) * bound.error)};
}

template <int kThreads>
__global__ void sketch_rows_kernel(Centred rows, std::int64_t count, const std::uint8_t* states, RotationView rotation,
                                   double rounding, const float* lost, RowSketches out) {
  const int size = static_cast<int>(rotation.size);
  const Group<kThreads> group(size);
  group.each(count, [&](std::int64_t i) {
    const bool good = !(states[i] & kBadRow);
    const float2 found = group.rotate(rows, i, good, rotation);
    std::int8_t* const q = out.q + i * size;
    const RowSketch sketch =
        group.template quantise<1>(usable_scale(found.y), found.x, [&](int, int j) { return q + j; }).first;
    if (!group.leads()) return;
    SketchSize own_size = size_of(sketch, size, rounding);
    if (lost) own_size.error += lost[i];
    const OwnSize own = good ? describe(own_size) : OwnSize{kFarAway, 0.0f};
    out.half_inverse[i] = __fdiv_rn(0.5f, sketch.scale);
    out.sq_norms[i] = own.sq_norm;
    out.errors[i] = own.error;
  });
}

template <int kThreads>
__global__ void sketch_again_kernel(Centred rows, RowsAgain again, RotationView rotation, double rounding,
                                    RowSketches out) {
  const int size = static_cast<int>(rotation.size);
  const Group<kThreads> group(size);
  group.each(min(*again.count - again.skipped, again.most), [&](std::int64_t place) {
    const float2 found = group.rotate(rows, again.rows[again.skipped + place], true, rotation);
    std::int8_t* const q = out.q + std::int64_t{2} * place * size;
    const Quantised sketch = group.template quantise<2>(usable_scale(found.y), found.x,
                                                        [&](int digit, int j) { return q + digit * size + j; });
    if (!group.leads()) return;
    const OwnSize own = describe_both(size_of(sketch.both, size, rounding), sketch);
    out.half_inverse[place] = __fdiv_rn(0.5f, sketch.both.scale);
    out.sq_norms[place] = own.sq_norm;
    out.errors[place] = own.error;
  });
}

// Squared lengths and largest magnitudes of the centroids.
template <int kThreads>
__global__ void measure(Centred centroids, int k, RotationView rotation, float* sq_lengths, float* largest) {
  const Group<kThreads> group(static_cast<int>(rotation.size));
  group.each(k, [&](std::int64_t c) {
    const float2 found = group.rotate(centroids, c, true, rotation);
    if (!group.leads()) return;
    sq_lengths[c] = found.x;
    largest[c] = found.y;
  });
}

// The movers, or the others; without shifts there are no movers.
struct Chosen {
  const float* shifts;
  float limit;
  bool movers;
  __device__ bool has(int c) const { return (shifts && shifts[c] > limit) == movers; }
};

// By their lengths, nearly: one block sorts the chosen centroids into kSortBuckets. The order decides how tight the
// bounds of a tile are, and nothing else. Then, for each tile, one scale: that of the largest magnitude among its
// centroids.
constexpr int kSorters = 1024, kSortBuckets = 4096;
static_assert(kSorters == kWarp * kWarp, "one warp adds up what all warps have");
__global__ void order_by_length(const float* sq_lengths, const float* largest, int k, const Chosen chosen, int number,
                                int places, std::int32_t* order, TileInfo* tiles, TileInfo* finer) {
  __shared__ std::uint32_t least, most;
  __shared__ int starts[kSortBuckets], of_warps[kWarp];
  const int t = static_cast<int>(threadIdx.x);
  if (t == 0) {
    least = 0xffffffffu;
    most = 0;
  }
  for (int b = t; b < kSortBuckets; b += kSorters) starts[b] = 0;
  __syncthreads();
  std::uint32_t low = 0xffffffffu, high = 0;
  for (int c = t; c < k; c += kSorters) {
    if (!chosen.has(c)) continue;
    low = min(low, __float_as_uint(sq_lengths[c]));
    high = max(high, __float_as_uint(sq_lengths[c]));
  }
  atomicMin(&least, low);
  atomicMax(&most, high);
  __syncthreads();
  const std::uint64_t range = most - least + std::uint64_t{1};
  const auto bucket = [&](int c) {
    return static_cast<int>((__float_as_uint(sq_lengths[c]) - least) * std::uint64_t{kSortBuckets} / range);
  };
  for (int c = t; c < k; c += kSorters)
    if (chosen.has(c)) atomicAdd(&starts[bucket(c)], 1);
  __syncthreads();
  // Sums of what comes before, a stretch for each thread.
  constexpr int kStretch = kSortBuckets / kSorters;
  int* const mine = starts + t * kStretch;
  int own = 0;
  for (int b = 0; b < kStretch; ++b) own += mine[b];
  int before = add_lanes_before(own);
  if (lane_id() == kWarp - 1) of_warps[t / kWarp] = before;
  __syncthreads();
  if (t < kWarp) of_warps[t] = add_lanes_before(of_warps[t]);
  __syncthreads();
  before += (t < kWarp ? 0 : of_warps[t / kWarp - 1]) - own;
  for (int b = 0; b < kStretch; ++b) {
    const int count = mine[b];
    mine[b] = before;
    before += count;
  }
  __syncthreads();
  for (int c = t; c < k; c += kSorters)
    if (chosen.has(c)) order[atomicAdd(&starts[bucket(c)], 1)] = c;
  for (int place = number + t; place < places; place += kSorters) order[place] = -1;
  __syncthreads();
  for (int tile = t / kWarp; tile < places / kTile; tile += kSorters / kWarp) {
    std::uint32_t bits = 0;
    for (int place = lane_id(); place < kTile; place += kWarp) {
      const std::int32_t c = order[tile * kTile + place];
      if (c >= 0) bits = max(bits, __float_as_uint(largest[c]));
    }
    const float scale = usable_scale(__uint_as_float(largest_of_lanes(bits)));
    if (lane_id() == 0) tiles[tile] = finer[tile] = {__fdiv_rn(1.0f, scale), kFarAway, 0.0f};
  }
}

// Of a tile: its least squared norm and its largest error, which is not negative.
__device__ void take_into(TileInfo& tile, const OwnSize& own) {
  if (own.sq_norm >= 0)  // bits of such floats are ordered as they are; of negative ones the other way round
    atomicMin(reinterpret_cast<int*>(&tile.least_sq_norm), __float_as_int(own.sq_norm));
  else
    atomicMax(reinterpret_cast<std::uint32_t*>(&tile.least_sq_norm), __float_as_uint(own.sq_norm));
  atomicMax(reinterpret_cast<std::uint32_t*>(&tile.largest_error), __float_as_uint(own.error));
}

// What is written of the centroids; as CentroidSketches has it.
struct CentroidsOut {
  std::int8_t* q;
  OwnSize *sizes, *finer_sizes;
  TileInfo *tiles, *finer_tiles;
  std::int32_t* places;
};

// places: whole tiles, so that every group has one.
template <int kThreads, class More>
__global__ void sketch_centroids(Centred centroids, RotationView rotation, double rounding, const std::int32_t* order,
                                 More more, CentroidsOut out) {
  const int size = static_cast<int>(rotation.size);
  const Group<kThreads> group(size);
  const int place = static_cast<int>(blockIdx.x * group.kGroups + threadIdx.x / kThreads), tile = place / kTile;
  const std::int32_t c = order[place];
  const float inverse = out.tiles[tile].inverse_scale;
  // The scan multiplies by the inverse, which is that of this scale to within a rounding.
  const float scale = isinf(inverse) ? 0.0f : __fdiv_rn(1.0f, inverse);
  const float2 found = group.rotate(centroids, max(c, 0), c >= 0, rotation);
  const Quantised sketch = group.template quantise<2>(scale, found.x, [&](int digit, int j) {
    return out.q + (std::int64_t{2} * tile + digit) * kTile * size + j / kGranule * kStepBytes +
           place_in_step(place % kTile, j % kGranule / 16) + j % 16;
  });
  if (!group.leads()) return;
  if (c < 0) {
    out.sizes[place] = out.finer_sizes[place] = {kFarAway, 0.0f};
    return;
  }
  out.places[c] = place;
  SketchSize first = size_of(sketch.first, size, rounding), both = size_of(sketch.both, size, rounding);
  more.add_to(first, c);
  more.add_to(both, c);
  out.sizes[place] = describe(first);
  out.finer_sizes[place] = describe_both(both, sketch);
  take_into(out.tiles[tile], out.sizes[place]);
  take_into(out.finer_tiles[tile], out.finer_sizes[place]);
}

template <int kThreads, class Kernel, class... Args>
void launch(Device& device, std::int64_t size, Kernel* kernel, const char* name, unsigned blocks, const Args&... args) {
  const int bytes = Group<kThreads>::shared_bytes(static_cast<int>(size));
  allow_shared_memory(device, kernel, bytes);
  kernel<<<blocks, Group<kThreads>::kThreadsOfBlock, bytes, device.stream()>>>(args...);
  launched(name);
}

}  // namespace

Sketcher::Sketcher(Device& device, std::int64_t d, DeviceBuffer<float> centre)
    : device_(device),
      d_(d),
      rotation_(d, kGranule),
      rounding_(rotation_.rounding() + kSketchRounding),
      centre_(std::move(centre)) {
  std::vector<float> factors;
  std::vector<std::int64_t> blocks;
  for (const Rotation::Round& round : rotation_.rounds) {
    factors.insert(factors.end(), round.factors.begin(), round.factors.end());
    blocks.insert(blocks.end(), round.blocks.begin(), round.blocks.end());
  }
  factors_ = uploaded(device, factors.data(), std::ssize(factors));
  blocks_ = uploaded(device, blocks.data(), std::ssize(blocks));
}

RotationView Sketcher::view() const {
  const std::size_t count = rotation_.rounds[0].blocks.size();
  return {.size = rotation_.size,
          .rounds = static_cast<int>(rotation_.rounds.size()),
          .block_count = static_cast<int>(count),
          .factors = {factors_.data(), factors_.data() + rotation_.size},
          .blocks = {blocks_.data(), blocks_.data() + count}};
}

Centred Sketcher::centred(const StoredRows& rows) const { return {rows, centre_.data(), static_cast<int>(d_)}; }

void Sketcher::sketch_rows(const StoredRows& rows, std::int64_t count, const std::uint8_t* states,
                           const RowSketches& out, const float* lost) const {
  by_length<OfRows>(size(), [&](auto threads) {
    launch<threads()>(device_, size(), sketch_rows_kernel<threads()>, "sketch_rows",
                      grid_stride_blocks(device_, count, Group<threads()>::kGroups, 64), centred(rows), count, states,
                      view(), rounding_, lost, out);
  });
}

void Sketcher::sketch_again(const StoredRows& rows, const RowsAgain& again, const RowSketches& out) const {
  by_length<OfRows>(size(), [&](auto threads) {
    launch<threads()>(device_, size(), sketch_again_kernel<threads()>, "sketch_again",
                      grid_stride_blocks(device_, again.most, Group<threads()>::kGroups, 32), centred(rows), again,
                      view(), rounding_, out);
  });
}

CentroidTiles::CentroidTiles(Device& device, std::int64_t k, std::int64_t size)
    : device_(device),
      k_(static_cast<int>(k)),
      tiles_(static_cast<int>((k + kTile - 1) / kTile) + 1),  // at most: movers have their own
      q_(device, std::int64_t{2} * tiles_ * kTile * size),
      order_(device, std::int64_t{tiles_} * kTile),
      places_(device, k),
      sq_lengths_(device, k),
      largest_(device, k),
      sizes_(device, std::int64_t{tiles_} * kTile),
      finer_sizes_(device, std::int64_t{tiles_} * kTile),
      info_(device, tiles_),
      finer_info_(device, tiles_) {}

template <class More>
void CentroidTiles::prepare(const Sketcher& sketcher, const float* centroids, const More& more, const float* shifts,
                            float limit, std::int64_t movers) {
  const int count = static_cast<int>(movers), others = k_ - count;
  mover_tiles_ = (count + kTile - 1) / kTile;
  tiles_ = mover_tiles_ + (others + kTile - 1) / kTile;
  const int places = tiles_ * kTile;
  const std::int64_t size = sketcher.size();
  const RotationView rotation = sketcher.view();
  const Centred centred = sketcher.centred(RowsView{centroids, sketcher.d_});
  by_length<OfCentroids>(size, [&](auto threads) {
    launch<threads()>(device_, size, measure<threads()>, "measure", blocks_for(k_, Group<threads()>::kGroups), centred,
                      k_, rotation, sq_lengths_.data(), largest_.data());
  });
  const auto order = [&](const Chosen& chosen, int number, int from, int to) {  // tiles
    order_by_length<<<1, kSorters, 0, device_.stream()>>>(sq_lengths_.data(), largest_.data(), k_, chosen, number,
                                                          (to - from) * kTile, order_.data() + from * kTile,
                                                          info_.data() + from, finer_info_.data() + from);
    launched("order_by_length");
  };
  if (count > 0) order({shifts, limit, true}, count, 0, mover_tiles_);
  order({count > 0 ? shifts : nullptr, limit, false}, others, mover_tiles_, tiles_);
  by_length<OfCentroids>(size, [&](auto threads) {
    launch<threads()>(
        device_, size, sketch_centroids<threads(), More>, "sketch_centroids",
        blocks_for(places, Group<threads()>::kGroups), centred, rotation, sketcher.rounding_, order_.data(), more,
        CentroidsOut{q_.data(), sizes_.data(), finer_sizes_.data(), info_.data(), finer_info_.data(), places_.data()});
  });
}

template void CentroidTiles::prepare(const Sketcher&, const float*, const NoHeights&, const float*, float,
                                     std::int64_t);
template void CentroidTiles::prepare(const Sketcher&, const float*, const Heights&, const float*, float, std::int64_t);
template void CentroidTiles::prepare(const Sketcher&, const float*, const ProjectionErrors&, const float*, float,
                                     std::int64_t);

CentroidSketches CentroidTiles::view() const { return {q_.data(), order_.data(), sizes_.data(), info_.data(), tiles_}; }

CentroidSketches CentroidTiles::finer() const {
  return {q_.data(), order_.data(), finer_sizes_.data(), finer_info_.data(), tiles_};
}

}  // namespace fastkmeans::cuda
