// SPDX-License-Identifier: Apache-2.0
#include "cpu/lower.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "cpu/centroids.hpp"
#include "cpu/kernels.hpp"
#include "host/masses.hpp"
#include "numeric/distance.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans::cpu {
namespace {

// Centroids as the kernel reads them: padded, and once more times kTinyScale where rows may need it.
class Added {
 public:
  Added(const Context& context, CentroidsView centroids)
      : context_(context), k_(centroids.k), ld_(padded(centroids.d)), plain_(static_cast<std::size_t>(k_ * ld_)) {
    if (cpu::is_tiny(centroids, context.kernels)) scaled_.resize(plain_.size());
    for (std::int64_t c = 0; c < k_; ++c) {
      write_padded(centroids.row(c), centroids.d, 1.0f, plain_.data() + c * ld_);
      if (is_tiny()) write_padded(centroids.row(c), centroids.d, kTinyScale, scaled_.data() + c * ld_);
    }
  }

  bool is_tiny() const { return !scaled_.empty(); }

  // D to the nearest, as stored. row: padded; tiny_row: the same times kTinyScale if it is tiny, else null.
  float least(const float* row, const float* tiny_row, int worker) const {
    const bool scale = is_tiny() && tiny_row;
    const float* centroid = scale ? scaled_.data() : plain_.data();
    float least = std::numeric_limits<float>::infinity();
    for (std::int64_t c = 0; c < k_; ++c, centroid += ld_) {
      // Not for one centroid: it asks for the time, which takes as long as a distance.
      if ((c + 1) % kCentroidsPerTask == 0) context_.workers.checkpoint(worker);
      least = std::min(least, context_.kernels.distance(scale ? tiny_row : row, centroid, ld_));
    }
    return store_distance(least, scale);
  }

 private:
  const Context& context_;
  std::int64_t k_, ld_;
  std::vector<float> plain_, scaled_;  // (k, ld) each; scaled_ may be empty
};

// visit(first, count, tile, worker) for tiles of all rows. centroids: to how many of them visit takes distances.
template <class Visit>
void for_tiles(const Context& context, std::int64_t centroids, const Visit& visit) {
  const MatrixView& x = context.x;
  const std::int64_t ld = padded(x.cols), most = tile_rows(x.cols);
  std::vector<RowTile> tiles(static_cast<std::size_t>(context.workers.count()), RowTile(context, most, ld));
  const double operations = 3.0 * static_cast<double>(x.rows) * static_cast<double>(centroids * x.cols);
  const auto load = [&](std::int64_t first, std::int64_t count, int worker) {
    RowTile& tile = tiles[static_cast<std::size_t>(worker)];
    tile.load(first, count);
    visit(first, count, tile, worker);
  };
  context.workers.for_blocks(x.rows, most, operations, load, most * ld * 4);
}

// Row by row: the same times kTinyScale, where it is tiny and somebody may need it.
class TinyRow {
 public:
  TinyRow(const Context& context, bool needed)
      : context_(context), scaled_(needed ? static_cast<std::size_t>(padded(context.x.cols)) : 0) {}

  // Null if the row is not tiny; row: padded.
  const float* of(const float* row) {
    if (scaled_.empty() || !is_tiny({row, 1, context_.x.cols}, context_.kernels)) return nullptr;
    write_padded(row, context_.x.cols, kTinyScale, scaled_.data());
    return scaled_.data();
  }

 private:
  const Context& context_;
  std::vector<float> scaled_;
};

}  // namespace

void Lowering::lower(CentroidsView added, bool first_of_all, float* distances) {
  if (first_of_all) forget();
  const auto offer = [&](std::int64_t i, float distance) {
    // mutant: lowered_distance
    if (!first_of_all && true_distance(distance) >= true_distance(distances[i])) return;
    distances[i] = distance;
    if (candidates_) candidates_->lowered(i);
  };
  const std::int64_t known = candidates_ && added.k == 1 ? candidates_->find(added.row(0)) : -1;
  if (known >= 0) {
    for (const auto& part : candidates_->nearer())
      for (const auto& [row, candidate, distance] : part)
        if (candidate == known) offer(row, distance);  // mutant: known_candidate
    return;
  }
  const Added centroids(context_, added);
  for_tiles(context_, added.k, [&](std::int64_t first, std::int64_t count, const RowTile& tile, int worker) {
    TinyRow tiny(context_, centroids.is_tiny());
    for (std::int64_t i = 0; i < count; ++i)
      offer(first + i, centroids.least(tile.row(i), tiny.of(tile.row(i)), worker));
  });
}

std::vector<Mass> Lowering::masses_with(CentroidsView candidates, int exponent, Mass total, const float* distances) {
  std::vector<Added> alone;
  for (std::int64_t c = 0; c < candidates.k; ++c)
    alone.emplace_back(context_, CentroidsView{candidates.row(c), 1, candidates.d});
  const bool any_tiny = std::any_of(alone.begin(), alone.end(), [](const Added& added) { return added.is_tiny(); });
  const double factor = std::ldexp(1.0, exponent);
  // What a row takes away from the total if it is at this distance.
  const auto taken = [&](std::int64_t i, float distance) {
    const double before = true_distance(distances[i]), after = true_distance(distance);
    const std::int64_t weight = rows_.weight(i);
    // mutant: lowered_mass
    return after < before ? Masses::mass(before, factor, weight) - Masses::mass(after, factor, weight) : Mass{0};
  };
  if (++asked_ > kWithoutSketches && !candidates_ && Candidates::possible(context_))
    candidates_.emplace(context_, distances);
  std::vector<Mass> masses(alone.size(), total);
  const bool filtered = candidates_ && !any_tiny;
  filter_ = filtered ? "int8" : "none";
  if (filtered) {
    for (const auto& part : candidates_->look_at(candidates))
      for (const auto& [row, candidate, distance] : part)
        masses[static_cast<std::size_t>(candidate)] -= taken(row, distance);
    return masses;
  }
  std::mutex mutex;
  for_tiles(context_, candidates.k, [&](std::int64_t first, std::int64_t count, const RowTile& tile, int worker) {
    TinyRow tiny(context_, any_tiny);
    std::vector<Mass> own(alone.size());
    for (std::int64_t i = 0; i < count; ++i) {
      const float* const tiny_row = tiny.of(tile.row(i));
      for (std::size_t c = 0; c < alone.size(); ++c)
        own[c] += taken(first + i, alone[c].least(tile.row(i), tiny_row, worker));
    }
    const std::lock_guard lock(mutex);
    for (std::size_t c = 0; c < alone.size(); ++c) masses[c] -= own[c];
  });
  return masses;
}

}  // namespace fastkmeans::cpu
