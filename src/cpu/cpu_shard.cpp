// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_shard.hpp"

#include <algorithm>
#include <vector>

#include "cpu/accumulate.hpp"
#include "cpu/assigner.hpp"
#include "cpu/lower.hpp"
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
        assigner_(context_, execution),
        lowering_(context_, rows) {}

  Statistics statistics() override { return statistics_of(context_, rows_); }
  std::string_view filter_of_masses() const override { return lowering_.filter(); }

 protected:
  void forget() override {
    assigner_.forget();
    lowering_.forget();
  }

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

  void own_losses(float* losses) override {
    const std::int64_t ld = padded(x_.cols), most = tile_rows(x_.cols);
    const double operations = 2.0 * static_cast<double>(x_.rows) * static_cast<double>(x_.cols);
    workers_.for_blocks(x_.rows, most, operations, [&](std::int64_t first, std::int64_t count, int) {
      RowTile tile(context_, count, ld);
      tile.load(first, count);
      for (std::int64_t i = 0; i < count; ++i)
        losses[first + i] = kernels_.negated_product(tile.row(i), tile.row(i), ld);
    });
  }

  void lower_rows(CentroidsView added, bool first, float* distances) override {
    lowering_.lower(added, first, distances);
  }

  std::vector<Mass> masses_of(CentroidsView candidates, int exponent, const float* distances) override {
    return lowering_.masses_with(candidates, exponent, total_mass(exponent), distances);
  }

 private:
  const Isa& isa_;
  const Kernels& kernels_;
  Context context_;
  Assigner assigner_;
  Lowering lowering_;
};

}  // namespace

std::unique_ptr<Shard> make_shard(const Isa& isa, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  return std::make_unique<CpuShard>(isa, rows, metric, execution, workers);
}

}  // namespace fastkmeans::cpu
