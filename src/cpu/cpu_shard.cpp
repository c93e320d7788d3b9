// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_shard.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/accumulate.hpp"
#include "cpu/assigner.hpp"
#include "cpu/rows.hpp"
#include "cpu/statistics.hpp"
#include "host/host_shard.hpp"
#include "numeric/distance.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans::cpu {
namespace {

class CpuShard final : public HostShard {
 public:
  CpuShard(const Isa& isa, const Source& rows, const Metric& metric, const Execution& execution, Workers& workers)
      : HostShard(rows, metric, workers),
        isa_(isa),
        kernels_(*isa.kernels),
        context_{x_, metric, kernels_, workers},
        assigner_(context_, execution) {}

  Statistics statistics() override { return statistics_of(context_, rows_); }

 protected:
  void forget() override { assigner_.forget(); }

  Assigned assign_rows(CentroidsView centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                       float* distances) override {
    Assigned assigned = assigner_.assign(centroids, previous, more, labels, distances);
    assigned.filter.isa = isa_.name;
    return assigned;
  }

  void accumulate_rows(const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale, Sums& sums) override {
    cpu::accumulate(context_, rows_, from, to, scale, sums);
  }

  void center_shifts(CentroidsView a, CentroidsView b, float* distances) override {
    const std::int64_t ld = padded(a.d);
    const bool tiny = is_tiny(b, kernels_);
    const double operations = 8.0 * static_cast<double>(a.k) * static_cast<double>(a.d);
    workers_.for_blocks(a.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
      std::vector<float> pair(static_cast<std::size_t>(2 * ld));
      for (std::int64_t c = first; c < first + count; ++c) {
        const bool scaled = tiny && is_tiny({a.row(c), 1, a.d}, kernels_);
        write_padded(a.row(c), a.d, scaled ? kTinyScale : 1.0f, pair.data());
        write_padded(b.row(c), b.d, scaled ? kTinyScale : 1.0f, pair.data() + ld);
        distances[c] = store_distance(kernels_.distance(pair.data(), pair.data() + ld, ld), scaled);
      }
    });
  }

  void lower_rows(CentroidsView added, bool first_of_all, float* distances) override {
    const std::int64_t ld = padded(added.d), most = tile_rows(added.d);
    // The centroids, padded; then the same times kTinyScale, where rows may need it.
    const bool tiny = is_tiny(added, kernels_);
    std::vector<float> plain(static_cast<std::size_t>(added.k * ld)), scaled(tiny ? plain.size() : 0);
    for (std::int64_t c = 0; c < added.k; ++c) {
      write_padded(added.row(c), added.d, 1.0f, plain.data() + c * ld);
      if (tiny) write_padded(added.row(c), added.d, kTinyScale, scaled.data() + c * ld);
    }
    std::vector<RowTile> tiles(static_cast<std::size_t>(workers_.count()), RowTile(context_, most, ld));
    const auto lower_tile = [&](std::int64_t first, std::int64_t count, int worker) {
      RowTile& tile = tiles[static_cast<std::size_t>(worker)];
      tile.load_copy(first, count);
      for (std::int64_t i = 0; i < count; ++i) {
        const bool scale = tiny && is_tiny({tile.row(i), 1, added.d}, kernels_);
        if (scale) tile.scale(i);
        const float* centroid = scale ? scaled.data() : plain.data();
        float least = std::numeric_limits<float>::infinity();
        for (std::int64_t c = 0; c < added.k; ++c, centroid += ld) {
          if (c % kCentroidsPerTask == 0) workers_.checkpoint(worker);
          least = std::min(least, kernels_.distance(tile.row(i), centroid, ld));
        }
        float& kept = distances[first + i];
        const float distance = store_distance(least, scale);
        // mutant: lowered_distance
        if (first_of_all || true_distance(distance) < true_distance(kept)) kept = distance;
      }
    };
    const double operations = 3.0 * static_cast<double>(x_.rows) * static_cast<double>(added.k * added.d);
    workers_.for_blocks(x_.rows, most, operations, lower_tile, most * ld * 4);
  }

 private:
  const Isa& isa_;
  const Kernels& kernels_;
  Context context_;
  Assigner assigner_;
};

}  // namespace

std::unique_ptr<Shard> make_shard(const Isa& isa, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  return std::make_unique<CpuShard>(isa, rows, metric, execution, workers);
}

}  // namespace fastkmeans::cpu
