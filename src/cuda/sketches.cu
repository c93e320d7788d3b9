// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cuda/lift.hpp"
#include "cuda/projection.hpp"
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
constexpr int kBlock = 128;
constexpr int kLongestForWarps = 1024;  // a row in the shared memory of a warp; longer ones have a block

// What a sketch says of its row, by its first digit and by both.
struct Quantised {
  RowSketch first, both;
  int low_sq_sum;  // of the second digits' squares
};

// The threads that make one sketch: a warp, or a block. work: what they share.
template <int kThreads>
struct Group {
  float* y;         // (size)
  double* partial;  // (kThreads / kWarp), for blocks
  int thread;

  __device__ void sync() const {
    if constexpr (kThreads == kWarp)
      __syncwarp();
    else
      __syncthreads();
  }
  template <class T, class Join>
  __device__ T join(T value, const Join& join_two) const {
    for (int half = kWarp / 2; half >= 1; half /= 2) value = join_two(value, __shfl_xor_sync(kAll, value, half));
    if constexpr (kThreads > kWarp) {
      T* const all = reinterpret_cast<T*>(partial);
      sync();
      if (lane_id() == 0) all[thread / kWarp] = value;
      sync();
      value = all[0];
      for (int w = 1; w < kThreads / kWarp; ++w) value = join_two(value, all[w]);
    }
    return value;
  }
  template <class T>
  __device__ T sum(T value) const {
    return join(value, [](T a, T b) { return a + b; });
  }
  __device__ float largest(float value) const {
    return join(value, [](float a, float b) { return fmaxf(a, b); });
  }

  // y becomes the rotated row less the centre. Returns its squared length, and the largest magnitude.
  __device__ float2 rotate(const float* row, const float* centre, int d, const RotationView& rotation) const {
    const int size = static_cast<int>(rotation.size);
    float squares = 0;
    for (int j = thread; j < size; j += kThreads) {
      const float a = j < d ? row[j] - centre[j] : 0.0f;
      squares = fmaf(a, a, squares);
      y[j] = a;
    }
#pragma unroll  // or the pointers of the rounds would be indexed in local memory
    for (int round = 0; round < 2; ++round) {
      if (round == rotation.rounds) break;
      sync();
      for (int j = thread; j < size; j += kThreads) y[j] *= rotation.factors[round][j];
      for (int block = 0, begin = 0; block < rotation.block_count; ++block) {
        const int length = static_cast<int>(rotation.blocks[round][block]);
        for (int h = 1; h < length; h *= 2) {
          sync();
          for (int b = thread; b < length / 2; b += kThreads) {
            float* const first = y + begin + 2 * (b & ~(h - 1)) + (b & (h - 1));
            const float u = first[0], v = first[h];
            first[0] = u + v;
            first[h] = u - v;
          }
        }
        begin += length;
      }
    }
    sync();
    float most = 0;
    for (int j = thread; j < size; j += kThreads) most = fmaxf(most, fabsf(y[j]));
    return {sum(squares), largest(most)};
  }

  // y in whole steps of `scale`, in both digits if kDigits is 2; place(digit, j): where element j goes, and the three
  // after it, j a multiple of 4.
  template <int kDigits, class Place>
  __device__ Quantised quantise(float scale, float sq_length, int size, const Place& place) const {
    const int levels = second_levels(size);
    const float inverse = scale > 0 ? __fdiv_rn(1.0f, scale) : 0.0f;
    const float fine = __fdiv_rn(scale, static_cast<float>(levels));
    const float fine_inverse = scale > 0 ? __fdiv_rn(1.0f, fine) : 0.0f;
    float lost = 0, fine_lost = 0;
    int squares = 0, low_squares = 0;
    double fine_squares = 0;  // exact
    for (int j = 4 * thread; j < size; j += 4 * kThreads) {
      char4 digits[kDigits];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float value = y[j + e];
        const int steps = static_cast<int>(fminf(fmaxf(rintf(value * inverse), -kLevels), kLevels));
        const float z = value - scale * static_cast<float>(steps);
        lost = fmaf(z, z, lost);
        squares += steps * steps;
        reinterpret_cast<signed char*>(&digits[0])[e] = static_cast<signed char>(steps);
        if constexpr (kDigits == 2) {
          const int all = static_cast<int>(rintf(value * fine_inverse));
          const int low = min(max(all - levels * steps, -kLevels), kLevels);
          const float both = static_cast<float>(levels * steps + low), rest = value - fine * both;
          fine_lost = fmaf(rest, rest, fine_lost);
          fine_squares += static_cast<double>(both) * both;
          low_squares += low * low;
          reinterpret_cast<signed char*>(&digits[1])[e] = static_cast<signed char>(low);
        }
      }
#pragma unroll
      for (int digit = 0; digit < kDigits; ++digit) *reinterpret_cast<char4*>(place(digit, j)) = digits[digit];
    }
    Quantised out = {};
    out.first.scale = scale;
    out.first.sq_sum = sum(squares);
    out.first.sq_error = sum(lost);
    out.first.sq_length = sq_length;
    if constexpr (kDigits == 2) {
      out.both.scale = fine;
      out.both.sq_sum = sum(fine_squares);
      out.both.sq_error = sum(fine_lost);
      out.both.sq_length = sq_length;
      out.low_sq_sum = sum(low_squares);
    }
    return out;
  }
};

template <int kThreads>
__device__ Group<kThreads> group_of_thread(float* shared, int size) {
  constexpr int kGroups = kBlock / kThreads;
  const int group = static_cast<int>(threadIdx.x) / kThreads;
  return {shared + group * size, reinterpret_cast<double*>(shared + kGroups * size),
          static_cast<int>(threadIdx.x) % kThreads};
}

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
__global__ void sketch_rows_kernel(RowsView rows, std::int64_t count, int d, const std::uint8_t* states,
                                   const float* centre, RotationView rotation, double rounding, const float* lost,
                                   RowSketches out) {
  extern __shared__ float shared[];
  const int size = static_cast<int>(rotation.size);
  const auto group = group_of_thread<kThreads>(shared, size);
  constexpr int kGroups = kBlock / kThreads;
  for (std::int64_t i = blockIdx.x * kGroups + threadIdx.x / kThreads; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * kGroups) {
    if (states[i] & kBadRow) {
      for (int j = 4 * group.thread; j < size; j += 4 * kThreads)
        *reinterpret_cast<char4*>(out.q + i * size + j) = char4{};
      if (group.thread == 0) {
        out.half_inverse[i] = __int_as_float(0x7f800000);
        out.sq_norms[i] = kFarAway;
        out.errors[i] = 0;
      }
      continue;
    }
    const float2 found = group.rotate(rows.row(i), centre, d, rotation);
    const RowSketch sketch = group
                                 .template quantise<1>(usable_scale(found.y), found.x, size,
                                                       [&](int, int j) { return out.q + i * size + j; })
                                 .first;
    if (group.thread == 0) {
      SketchSize own_size = size_of(sketch, size, rounding);
      if (lost) own_size.error += lost[i];
      const OwnSize own = describe(own_size);
      out.half_inverse[i] = __fdiv_rn(0.5f, sketch.scale);
      out.sq_norms[i] = own.sq_norm;
      out.errors[i] = own.error;
    }
    group.sync();
  }
}

template <int kThreads>
__global__ void sketch_again_kernel(RowsView rows, RowsAgain again, int d, const float* centre, RotationView rotation,
                                    double rounding, RowSketches out) {
  extern __shared__ float shared[];
  const int size = static_cast<int>(rotation.size);
  const auto group = group_of_thread<kThreads>(shared, size);
  constexpr int kGroups = kBlock / kThreads;
  const int count = min(*again.count - again.skipped, again.most);
  for (int place = static_cast<int>(blockIdx.x * kGroups + threadIdx.x / kThreads); place < count;
       place += static_cast<int>(gridDim.x) * kGroups) {
    const float2 found = group.rotate(rows.row(again.rows[again.skipped + place]), centre, d, rotation);
    std::int8_t* const q = out.q + std::int64_t{2} * place * size;
    const Quantised sketch = group.template quantise<2>(usable_scale(found.y), found.x, size,
                                                        [&](int digit, int j) { return q + digit * size + j; });
    if (group.thread == 0) {
      const OwnSize own = describe_both(size_of(sketch.both, size, rounding), sketch);
      out.half_inverse[place] = __fdiv_rn(0.5f, sketch.both.scale);
      out.sq_norms[place] = own.sq_norm;
      out.errors[place] = own.error;
    }
    group.sync();
  }
}

// Squared lengths and largest magnitudes of the centroids.
template <int kThreads>
__global__ void measure(const float* centroids, int k, int d, const float* centre, RotationView rotation,
                        float* sq_lengths, float* largest) {
  extern __shared__ float shared[];
  const auto group = group_of_thread<kThreads>(shared, static_cast<int>(rotation.size));
  constexpr int kGroups = kBlock / kThreads;
  for (std::int64_t c = blockIdx.x * kGroups + threadIdx.x / kThreads; c < k;
       c += static_cast<std::int64_t>(gridDim.x) * kGroups) {
    const float2 found = group.rotate(centroids + c * d, centre, d, rotation);
    if (group.thread == 0) {
      sq_lengths[c] = found.x;
      largest[c] = found.y;
    }
    group.sync();
  }
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

template <int kThreads, class More>
__global__ void sketch_centroids(const float* centroids, int places, int d, const float* centre, RotationView rotation,
                                 double rounding, const std::int32_t* order, More more, CentroidsOut out) {
  extern __shared__ float shared[];
  const int size = static_cast<int>(rotation.size);
  const auto group = group_of_thread<kThreads>(shared, size);
  constexpr int kGroups = kBlock / kThreads;
  const int place = blockIdx.x * kGroups + static_cast<int>(threadIdx.x) / kThreads, tile = place / kTile;
  if (place >= places) return;  // whole groups
  const std::int32_t c = order[place];
  const auto element = [&](int digit, int j) {
    return out.q + (std::int64_t{2} * tile + digit) * kTile * size + j / kGranule * kStepBytes +
           place_in_step(place % kTile, j % kGranule / 16) + j % 16;
  };
  if (c < 0) {
    for (int j = 4 * group.thread; j < size; j += 4 * kThreads)
#pragma unroll
      for (int digit = 0; digit < 2; ++digit) *reinterpret_cast<char4*>(element(digit, j)) = char4{};
    if (group.thread == 0) out.sizes[place] = out.finer_sizes[place] = {kFarAway, 0.0f};
    return;
  }
  if (group.thread == 0) out.places[c] = place;
  const float inverse = out.tiles[tile].inverse_scale;
  // The scan multiplies by the inverse, which is that of this scale to within a rounding.
  const float scale = isinf(inverse) ? 0.0f : __fdiv_rn(1.0f, inverse);
  const float2 found = group.rotate(centroids + static_cast<std::int64_t>(c) * d, centre, d, rotation);
  const Quantised sketch = group.template quantise<2>(scale, found.x, size, element);
  if (group.thread != 0) return;
  SketchSize first = size_of(sketch.first, size, rounding), both = size_of(sketch.both, size, rounding);
  more.add_to(first, c);
  more.add_to(both, c);
  out.sizes[place] = describe(first);
  out.finer_sizes[place] = describe_both(both, sketch);
  take_into(out.tiles[tile], out.sizes[place]);
  take_into(out.finer_tiles[tile], out.finer_sizes[place]);
}

// Calls one of them with (sketches of a block at a time, bytes of shared memory).
template <class Warps, class Blocks>
void by_length(std::int64_t size, const Warps& warps, const Blocks& blocks) {
  const auto bytes = [&](int groups) { return static_cast<int>((groups * size + 2 * kBlock / kWarp) * sizeof(float)); };
  if (size <= kLongestForWarps)
    warps(kBlock / kWarp, bytes(kBlock / kWarp));
  else
    blocks(1, bytes(1));
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

void Sketcher::sketch_rows(RowsView rows, std::int64_t count, const std::uint8_t* states, const RowSketches& out,
                           const float* lost) const {
  const auto launch = [&](auto kernel, int groups, int bytes) {
    allow_shared_memory(device_, kernel, bytes);
    kernel<<<grid_stride_blocks(device_, count, groups, 64), kBlock, bytes, device_.stream()>>>(
        rows, count, static_cast<int>(d_), states, centre_.data(), view(), rounding_, lost, out);
    launched("sketch_rows");
  };
  by_length(
      size(), [&](int groups, int bytes) { launch(sketch_rows_kernel<kWarp>, groups, bytes); },
      [&](int groups, int bytes) { launch(sketch_rows_kernel<kBlock>, groups, bytes); });
}

void Sketcher::sketch_again(RowsView rows, const RowsAgain& again, const RowSketches& out) const {
  const auto launch = [&](auto kernel, int groups, int bytes) {
    allow_shared_memory(device_, kernel, bytes);
    kernel<<<grid_stride_blocks(device_, again.most, groups, 32), kBlock, bytes, device_.stream()>>>(
        rows, again, static_cast<int>(d_), centre_.data(), view(), rounding_, out);
    launched("sketch_again");
  };
  by_length(
      size(), [&](int groups, int bytes) { launch(sketch_again_kernel<kWarp>, groups, bytes); },
      [&](int groups, int bytes) { launch(sketch_again_kernel<kBlock>, groups, bytes); });
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
  const int d = static_cast<int>(sketcher.d_), places = tiles_ * kTile;
  const RotationView rotation = sketcher.view();
  const cudaStream_t stream = device_.stream();
  const auto launch = [&](auto measure_kernel, auto sketch_kernel, int groups, int bytes) {
    allow_shared_memory(device_, measure_kernel, bytes);
    allow_shared_memory(device_, sketch_kernel, bytes);
    measure_kernel<<<blocks_for(k_, groups), kBlock, bytes, stream>>>(centroids, k_, d, sketcher.centre_.data(),
                                                                      rotation, sq_lengths_.data(), largest_.data());
    launched("measure");
    const auto order = [&](const Chosen& chosen, int number, int from, int to) {  // tiles
      order_by_length<<<1, kSorters, 0, stream>>>(sq_lengths_.data(), largest_.data(), k_, chosen, number,
                                                  (to - from) * kTile, order_.data() + from * kTile,
                                                  info_.data() + from, finer_info_.data() + from);
      launched("order_by_length");
    };
    if (count > 0) order({shifts, limit, true}, count, 0, mover_tiles_);
    order({count > 0 ? shifts : nullptr, limit, false}, others, mover_tiles_, tiles_);
    sketch_kernel<<<blocks_for(places, groups), kBlock, bytes, stream>>>(
        centroids, places, d, sketcher.centre_.data(), rotation, sketcher.rounding_, order_.data(), more,
        {q_.data(), sizes_.data(), finer_sizes_.data(), info_.data(), finer_info_.data(), places_.data()});
    launched("sketch_centroids");
  };
  by_length(
      sketcher.size(),
      [&](int groups, int bytes) { launch(measure<kWarp>, sketch_centroids<kWarp, More>, groups, bytes); },
      [&](int groups, int bytes) { launch(measure<kBlock>, sketch_centroids<kBlock, More>, groups, bytes); });
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
