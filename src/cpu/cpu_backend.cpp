// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "cpu/accumulate.hpp"
#include "cpu/assigner.hpp"
#include "numeric/distance.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans::cpu {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Kernels& kernels, const Execution& execution, Workers& workers)
      : kernels_(kernels), execution_(execution), workers_(workers) {}

  Statistics statistics(const MatrixView& x) override {
    const std::int64_t ld = padded(x.cols);
    struct Part {
      std::vector<float> rows;
      std::vector<std::uint32_t> column_bits;
      std::uint32_t least_row_bits = ~0u;
      RowCheck check;
    };
    std::vector<Part> parts(static_cast<std::size_t>(workers_.count()));
    const double operations = 2.0 * static_cast<double>(x.rows) * static_cast<double>(x.cols);
    const std::int64_t rows = tile_rows(x.cols);
    const auto read_tile = [&](std::int64_t first, std::int64_t count, int worker) {
      Part& part = parts[static_cast<std::size_t>(worker)];
      part.rows.resize(static_cast<std::size_t>(rows * ld));
      part.column_bits.resize(static_cast<std::size_t>(x.cols));
      const bool in_place = row_in_place(x, first) != nullptr;
      if (!in_place) kernels_.load_rows(x, first, count, part.rows.data(), ld);
      for (std::int64_t i = 0; i < count; ++i) {
        const float* row = in_place ? row_in_place(x, first + i) : &part.rows[static_cast<std::size_t>(i * ld)];
        const std::uint32_t largest = kernels_.largest_bits(row, x.cols);
        if (largest >= magnitude_limit_bits(x.cols)) {
          part.check.note(first + i);
          continue;
        }
        if (largest > 0) part.least_row_bits = std::min(part.least_row_bits, largest);
        kernels_.raise_bits(row, x.cols, part.column_bits.data());
      }
    };
    workers_.for_blocks(x.rows, rows, operations, read_tile, (rows + 1) * ld * 4);
    Statistics result;
    std::vector<std::uint32_t> column_bits(static_cast<std::size_t>(x.cols));
    std::uint32_t least = ~0u;
    for (const Part& part : parts) {
      result.check.merge(part.check);
      least = std::min(least, part.least_row_bits);
      for (std::size_t j = 0; j < part.column_bits.size(); ++j)
        column_bits[j] = std::max(column_bits[j], part.column_bits[j]);
    }
    result.least_row_max = least == ~0u ? 0.0f : std::bit_cast<float>(least);
    result.column_max.resize(column_bits.size());
    std::transform(column_bits.begin(), column_bits.end(), result.column_max.begin(),
                   [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
    return result;
  }

  Assigned assign(const MatrixView& x, CentroidsView centroids, const std::int32_t* previous, bool more,
                  std::int32_t* labels, float* distances) override {
    if (!assigner_ || !is_known(x)) {
      known_ = x;
      assigner_.emplace(x, euclidean(), kernels_, execution_, workers_);
    }
    return assigner_->assign(centroids, previous, more, labels, distances);
  }

  void accumulate(const MatrixView& x, const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale,
                  Sums& sums) override {
    cpu::accumulate(x, from, to, scale, kernels_, workers_, sums);
  }

  void moved(CentroidsView a, CentroidsView b, float* distances) override {
    const std::int64_t ld = padded(a.d);
    const bool tiny = is_tiny(b);
    const double operations = 4.0 * static_cast<double>(a.k) * static_cast<double>(a.d);
    workers_.for_blocks(a.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
      std::vector<float> rows(static_cast<std::size_t>(2 * ld));
      for (std::int64_t c = first; c < first + count; ++c) {
        const bool scaled = tiny && kernels_.largest_bits(a.row(c), a.d) < magnitude_bits(kTinyBelow);
        const auto times = [factor = scaled ? kTinyScale : 1.0f](float v) { return v * factor; };
        std::transform(a.row(c), a.row(c) + a.d, rows.begin(), times);
        std::transform(b.row(c), b.row(c) + b.d, rows.begin() + ld, times);
        distances[c] = store_distance(kernels_.distance(rows.data(), rows.data() + ld, ld), scaled);
      }
    });
  }

 private:
  bool is_tiny(CentroidsView centroids) const {
    return kernels_.largest_bits(centroids.values, centroids.k * centroids.d) < magnitude_bits(kTinyBelow);
  }

  bool is_known(const MatrixView& x) const {
    return known_ && known_->data == x.data && known_->rows == x.rows && known_->cols == x.cols &&
           known_->dtype == x.dtype && known_->row_stride == x.row_stride && known_->col_stride == x.col_stride;
  }

  const Kernels& kernels_;
  const Execution& execution_;
  Workers& workers_;
  std::optional<MatrixView> known_;  // the assigner's rows
  std::optional<Assigner> assigner_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(const Kernels& kernels, const Execution& execution, Workers& workers) {
  return std::make_unique<CpuBackend>(kernels, execution, workers);
}

}  // namespace fastkmeans::cpu
