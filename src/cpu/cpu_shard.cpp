// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_shard.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "cpu/accumulate.hpp"
#include "cpu/assignments.hpp"
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
        execution_(execution),
        assignments_(std::in_place, kernels_, execution, workers) {}

  Statistics statistics() override {
    const std::int64_t ld = padded(x_.cols);
    struct Found {
      std::vector<float> rows;
      std::vector<std::uint32_t> column_bits;
      std::uint32_t least_row_bits = ~0u;
      RowCheck check;
    };
    std::vector<Found> parts(static_cast<std::size_t>(workers_.count()));
    const double operations = 2.0 * static_cast<double>(x_.rows) * static_cast<double>(x_.cols);
    const std::int64_t rows = tile_rows(x_.cols);
    const auto read_tile = [&](std::int64_t first, std::int64_t count, int worker) {
      Found& found = parts[static_cast<std::size_t>(worker)];
      found.rows.resize(static_cast<std::size_t>(rows * ld));
      found.column_bits.resize(static_cast<std::size_t>(x_.cols));
      const bool in_place = row_in_place(x_, first) != nullptr;
      if (!in_place) kernels_.load_rows(x_, first, count, found.rows.data(), ld);
      for (std::int64_t i = 0; i < count; ++i) {
        const float* row = in_place ? row_in_place(x_, first + i) : &found.rows[static_cast<std::size_t>(i * ld)];
        const std::uint32_t largest = kernels_.largest_bits(row, x_.cols);
        if (largest >= magnitude_limit_bits(x_.cols)) {
          found.check.note(first + i);
          continue;
        }
        if (largest > 0) found.least_row_bits = std::min(found.least_row_bits, largest);
        kernels_.raise_bits(row, x_.cols, found.column_bits.data());
      }
    };
    workers_.for_blocks(x_.rows, rows, operations, read_tile, (rows + 1) * ld * 4);
    Statistics result;
    std::vector<std::uint32_t> column_bits(static_cast<std::size_t>(x_.cols));
    std::uint32_t least = ~0u;
    for (const Found& found : parts) {
      result.check.merge(found.check);
      least = std::min(least, found.least_row_bits);
      for (std::size_t j = 0; j < found.column_bits.size(); ++j)
        column_bits[j] = std::max(column_bits[j], found.column_bits[j]);
    }
    result.least_row_max = least == ~0u ? 0.0f : std::bit_cast<float>(least);
    result.column_max.resize(column_bits.size());
    std::transform(column_bits.begin(), column_bits.end(), result.column_max.begin(),
                   [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
    return result;
  }

 protected:
  void forget() override { assignments_.emplace(kernels_, execution_, workers_); }

  Assigned assign_rows(CentroidsView centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                       float* distances) override {
    if (x_.rows == 0) return {};
    Assigned assigned = assignments_->assign(x_, centroids, previous, more, labels, distances);
    assigned.filter.isa = isa_.name;
    for (std::int64_t i = 0; i < x_.rows; ++i) {
      assigned.changed += !previous || previous[i] != labels[i];
      assigned.inertia.add(distances[i]);
    }
    return assigned;
  }

  void accumulate_rows(const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale, Sums& sums) override {
    cpu::accumulate(rows_, x_, from, to, scale, kernels_, workers_, sums);
  }

  void center_shifts(CentroidsView a, CentroidsView b, float* distances) override {
    const std::int64_t ld = padded(a.d);
    const bool tiny = is_tiny(b);
    const double operations = 8.0 * static_cast<double>(a.k) * static_cast<double>(a.d);
    workers_.for_blocks(a.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
      std::vector<float> pair(static_cast<std::size_t>(2 * ld));
      for (std::int64_t c = first; c < first + count; ++c) {
        const bool scaled = tiny && kernels_.largest_bits(a.row(c), a.d) < magnitude_bits(kTinyBelow);
        const auto times = [factor = scaled ? kTinyScale : 1.0f](float v) { return v * factor; };
        std::transform(a.row(c), a.row(c) + a.d, pair.begin(), times);
        std::transform(b.row(c), b.row(c) + b.d, pair.begin() + ld, times);
        distances[c] = store_distance(kernels_.distance(pair.data(), pair.data() + ld, ld), scaled);
      }
    });
  }

  void lower_rows(CentroidsView, bool, float*) override {}

 private:
  bool is_tiny(CentroidsView centroids) const {
    return kernels_.largest_bits(centroids.values, centroids.k * centroids.d) < magnitude_bits(kTinyBelow);
  }

  const Isa& isa_;
  const Kernels& kernels_;
  const Execution& execution_;
  std::optional<Assignments> assignments_;
};

}  // namespace

std::unique_ptr<Shard> make_shard(const Isa& isa, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  return std::make_unique<CpuShard>(isa, rows, metric, execution, workers);
}

}  // namespace fastkmeans::cpu
