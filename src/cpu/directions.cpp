// SPDX-License-Identifier: Apache-2.0
#include "cpu/directions.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "cpu/products.hpp"
#include "numeric/random.hpp"

namespace fastkmeans::cpu {
namespace {

// Rows with a stride between them, zero-filled to whole groups of the kernel.
struct Rows {
  std::int64_t count, ld;
  Buffer<float> values;
  Rows(std::int64_t count_, std::int64_t columns) : count(count_), ld(padded(columns)), values(padded_rows() * ld) {
    std::fill_n(values.data(), padded_rows() * ld, 0.0f);
  }
  // A multiple of every kernel's group: 4, 6, 8, 12.
  static constexpr std::int64_t kBlock = 24;
  std::int64_t padded_rows() const { return whole_groups(count, kBlock); }
  float* row(std::int64_t i) { return values.data() + i * ld; }
};

// out = a b, b (a's columns, out's columns).
void multiply(const Rows& a, const PackedMatrix& b, const Kernels& kernels, Workers& workers, Rows& out) {
  const double operations = 2.0 * static_cast<double>(a.count * b.inner()) * static_cast<double>(b.columns());
  workers.for_blocks(a.padded_rows(), Rows::kBlock, operations,
                     [&](std::int64_t first, std::int64_t count, int worker) {
                       workers.checkpoint(worker);
                       Products(kernels, Rows::kBlock)
                           .multiply(&a.values[first * a.ld], a.ld, count, b, b.columns(), out.row(first), out.ld);
                     });
}

// The power of two that brings the largest element below 1, so that no product of three such matrices overflows.
float scale_of(const CentredSample& sample, const Kernels& kernels) {
  const auto largest = std::bit_cast<float>(kernels.largest_bits(sample.rows.data(), sample.count * sample.ld));
  if (!(largest > 0x1p-100f)) return 0;
  return std::ldexp(1.0f, -std::ilogb(largest) - 1);
}

Basis zeros(std::int64_t d, std::int64_t directions) {
  return {.d = d, .directions = directions, .w = std::vector<float>(static_cast<std::size_t>(d * directions))};
}

}  // namespace

Basis principal_directions(const CentredSample& sample, std::int64_t directions, const Kernels& kernels,
                           Workers& workers) {
  const float scale = scale_of(sample, kernels);
  const std::int64_t n = sample.count, d = sample.d;
  if (scale == 0) return zeros(d, directions);
  Rows x(n, d), transposed(d, n);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < d; ++j) transposed.row(j)[i] = x.row(i)[j] = sample.row(i)[j] * scale;
  const auto pack = [&](std::int64_t inner, const auto& element) {
    return PackedMatrix(inner, directions, kernels.panel_width, element);
  };
  // Random signs, 64 at a time.
  std::vector<std::uint64_t> signs(static_cast<std::size_t>(n * ((directions + 63) / 64)));
  for (std::size_t i = 0; i < signs.size(); ++i) signs[i] = row_key(0, i, Purpose::rotation, 2);
  const auto sign = [&](std::int64_t i, std::int64_t j) {
    return signs[static_cast<std::size_t>(j / 64 * n + i)] >> (j % 64) & 1 ? 1.0f : -1.0f;
  };
  Rows in_d(d, directions), in_n(n, directions);
  multiply(transposed, pack(n, sign), kernels, workers, in_d);
  multiply(x, pack(d, [&](std::int64_t i, std::int64_t j) { return in_d.row(i)[j]; }), kernels, workers, in_n);
  multiply(transposed, pack(n, [&](std::int64_t i, std::int64_t j) { return in_n.row(i)[j]; }), kernels, workers, in_d);
  std::vector<float> w(static_cast<std::size_t>(d * directions));
  for (std::int64_t i = 0; i < d; ++i) std::copy_n(in_d.row(i), directions, w.begin() + i * directions);
  return orthonormal(std::move(w), d, directions, workers);
}

}  // namespace fastkmeans::cpu
