// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cuda/directions.hpp"
#include "cuda/distances.hpp"
#include "cuda/narrow.hpp"
#include "cuda/statistics.hpp"
#include "cuda/warp.cuh"
#include "plan/survey.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
// Rows that directions are learned from, and what three copies of them may take. Tokens of 768 elements leave 255
// directions 2.6 centroids when these are learned from 1,024 rows, 2.1 from 4,096, 2.05 from 8,192, and 1.8 are left by
// the best directions there are (a simulation of 30,000 rows, k = 500).
constexpr std::int64_t kLearned = 8192, kLearnedBytes = 128 << 20;
// Wider sketches of these tokens leave 1.3 centroids where full ones leave 1.1.
constexpr std::int64_t kWidest = 384;
// Centroids looked at for survivors; the nearest is looked for among all.
constexpr std::int64_t kCounted = 4096;
constexpr auto kQuantisation = static_cast<float>(typical_quantisation(kLevels));

// RowState of rows that come from anywhere.
__global__ void find_bad(const float* rows, int count, int d, std::uint32_t limit, std::uint8_t* states) {
  const std::int64_t i = warp_id();
  if (i >= count) return;
  const std::uint32_t most = largest_bits(rows + i * d, d);
  if (lane_id() == 0) states[i] = most >= limit ? kBadRow : 0;
}

// Projections, (count, size), and their errors.
struct Projected {
  const float *z, *errors;
};

// A warp for a row and a part of the centroids: how many of these the bound would leave.
__global__ void count_survivors(const Projected rows, int count, const Projected centroids, int k, int size,
                                float typical_tail, const float* distances, unsigned* survivors) {
  const int i = static_cast<int>(warp_id());
  if (i >= count) return;
  // Element j of a projection as its sketch has it.
  const auto element = [&](const float* z, std::int64_t at, int j) {
    return z[at * size + j] - (j == size - 1 ? typical_tail : 0.0f);
  };
  const auto error = [&](const Projected& of, std::int64_t at, float sq_length) {
    return of.errors[at] + kQuantisation * sqrtf(sq_length);
  };
  float squares = 0;
  for (int j = lane_id(); j < size; j += kWarp) squares += element(rows.z, i, j) * element(rows.z, i, j);
  const float own = sqrtf(fabsf(distances[i])) + error(rows, i, add_lanes(squares));
  unsigned found = 0;
  for (int c = static_cast<int>(blockIdx.y); c < k; c += static_cast<int>(gridDim.y)) {
    float length = 0, apart = 0;
    for (int j = lane_id(); j < size; j += kWarp) {
      const float v = element(centroids.z, c, j), t = v - element(rows.z, i, j);
      length += v * v;
      apart += t * t;
    }
    const float reach = own + error(centroids, c, add_lanes(length));
    found += add_lanes(apart) <= reach * reach;
  }
  if (lane_id() == 0) atomicAdd(survivors + i, found);
}

// What is taken from a projection before it becomes a sketch.
DeviceBuffer<float> offsets(Device& device, const NarrowWidth& width) {
  std::vector<float> values(static_cast<std::size_t>(width.size));
  values.back() = width.typical_tail;
  return uploaded(device, values.data(), width.size);
}

}  // namespace

void NarrowSearch::learn(Rows& store, std::int64_t n, std::int64_t d) {
  centre_ = central_row(device_, store, n, d);
  const std::int64_t learned = survey_rows(n, d, kLearned, std::min(kLearnedBytes, device_.available() / 8));
  sizes_ = narrow_sizes(std::min(kWidest, 2 * d / 3), learned, kGranule);
  const DeviceBuffer<float> sample = spread_rows(device_, store, n, d, learned, 0);
  const std::int64_t most = std::min(sizes_.back() - 1, d);
  basis_ = principal_directions(device_, sample.data(), learned, d, centre_.data(), most);
  const std::int64_t tried = survey_rows(n, d, kTriedOn, kSurveyBytes);
  tried_ = spread_rows(device_, store, n, d, tried, kTriedShift);
  tried_count_ = tried;
}

std::vector<NarrowWidth> NarrowSearch::survey(Rows& store, std::int64_t n, std::int64_t d, const Centroids& centroids) {
  if (tried_count_ == 0) learn(store, n, d);
  const std::int64_t count = tried_count_, stride = (centroids.k + kCounted - 1) / kCounted;
  const std::int64_t counted = (centroids.k + stride - 1) / stride;
  const RowsView rows = {tried_.data(), d}, some = {centroids.values, stride * d};
  const auto rows_int = static_cast<int>(count);
  const unsigned blocks = blocks_for(count, kThreads / kWarp);
  DeviceBuffer<std::uint8_t> states(device_, count);
  find_bad<<<blocks, kThreads, 0, device_.stream()>>>(rows.x, rows_int, static_cast<int>(d), magnitude_limit_bits(d),
                                                      states.data());
  launched("find_bad");
  DeviceBuffer<std::int32_t> labels(device_, count);
  DeviceBuffer<float> distances(device_, count);
  DeviceBuffer<Notes> notes(device_, 1);
  device_.clear(notes.data(), notes.bytes());
  const auto exact = all_pairs(device_, count, Loss::distance);
  exact->prepare(centroids);
  exact->assign({.rows = rows,
                 .first = 0,
                 .count = rows_int,
                 .states = states.data(),
                 .own_losses = nullptr,
                 .previous = nullptr,
                 .labels = labels.data(),
                 .distances = distances.data()},
                notes.data());
  const std::vector<std::uint8_t> bad = downloaded(device_, states.data(), count);

  const std::int64_t widest = sizes_.back();
  DeviceBuffer<float> z(device_, count * widest), errors(device_, count);
  DeviceBuffer<float> centroid_z(device_, counted * widest), centroid_errors(device_, counted);
  DeviceBuffer<unsigned> survivors(device_, count);
  std::vector<NarrowWidth> found;
  for (const std::int64_t size : sizes_) {
    const Projection projection(device_, basis_, size, centre_.data());
    projection.project(rows, count, z.data(), errors.data());
    projection.project(some, counted, centroid_z.data(), centroid_errors.data());
    const std::vector<float> projected = downloaded(device_, z.data(), count * size);
    std::vector<float> tails;
    for (std::int64_t i = 0; i < count; ++i)
      if (!bad[static_cast<std::size_t>(i)]) tails.push_back(projected[static_cast<std::size_t>((i + 1) * size - 1)]);
    if (tails.empty()) return {};  // every row looked at was a bad one
    std::nth_element(tails.begin(), tails.begin() + std::ssize(tails) / 2, tails.end());
    const float typical_tail = tails[tails.size() / 2];

    device_.clear(survivors.data(), survivors.bytes());
    count_survivors<<<dim3(blocks, static_cast<unsigned>(std::min<std::int64_t>(counted, 128))), kThreads, 0,
                      device_.stream()>>>({z.data(), errors.data()}, rows_int,
                                          {centroid_z.data(), centroid_errors.data()}, static_cast<int>(counted),
                                          static_cast<int>(size), typical_tail, distances.data(), survivors.data());
    launched("count_survivors");
    NarrowWidth width = {.size = size, .typical_tail = typical_tail};
    const std::vector<unsigned> counts = downloaded(device_, survivors.data(), count);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (bad[i]) continue;
      const double all = static_cast<double>(counts[i]) * static_cast<double>(stride);
      width.survivors += all / static_cast<double>(tails.size());
      width.run_over += (all > kListed ? 1.0 : 0.0) / static_cast<double>(tails.size());
    }
    found.push_back(width);
  }
  return found;
}

NarrowSketcher::NarrowSketcher(Device& device, const Basis& basis, const NarrowWidth& width, const float* centre,
                               std::int64_t k, std::int64_t most)
    : most_(most),
      projection_(device, basis, width.size, centre),
      sketcher_(device, size(), offsets(device, width)),
      z_(device, std::max(most, k) * size()),
      errors_(device, std::max(most, k)) {}

void NarrowSketcher::sketch_rows(RowsView rows, std::int64_t count, const std::uint8_t* states,
                                 const RowSketches& out) {
  for (std::int64_t first = 0; first < count; first += most_) {
    const std::int64_t some = std::min(most_, count - first);
    projection_.project({rows.row(first), rows.ld}, some, z_.data(), errors_.data());
    sketcher_.sketch_rows(RowsView{z_.data(), size()}, some, states + first,
                          {out.q + first * size(), out.half_inverse + first, out.sq_norms + first, out.errors + first},
                          errors_.data());
  }
}

void NarrowSketcher::prepare(CentroidTiles& tiles, const Centroids& centroids) {
  projection_.project({centroids.values, centroids.d}, centroids.k, z_.data(), errors_.data());
  tiles.prepare(sketcher_, z_.data(), ProjectionErrors{errors_.data()});
}

}  // namespace fastkmeans::cuda
