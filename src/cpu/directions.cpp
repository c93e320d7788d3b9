// SPDX-License-Identifier: Apache-2.0
#include "cpu/directions.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "cpu/products.hpp"
#include "numeric/random.hpp"
#include "runtime/buffer.hpp"

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

// Some rows of the sample at a time, and the same by columns.
struct Part {
  explicit Part(const LearnedRows& sample)
      : rows(std::min(sample.together, sample.count), sample.d), columns(sample.d, rows.count) {}

  // Those from row `first` on; false if all are zeros.
  bool load(const LearnedRows& sample, std::int64_t first, const Kernels& kernels, Workers& workers) {
    rows.count = std::min(sample.together, sample.count - first);
    const double operations = 2.0 * static_cast<double>(rows.count * sample.d);
    workers.for_blocks(rows.count, Rows::kBlock, operations, [&](std::int64_t begin, std::int64_t count, int worker) {
      workers.checkpoint(worker);
      sample.read(first + begin, count, rows.row(begin));
    });
    const auto largest = std::bit_cast<float>(kernels.largest_bits(rows.values.data(), rows.count * rows.ld));
    if (!(largest > 0x1p-100f)) return false;
    // The power of two that brings the largest element below 1, so that no product of three such matrices overflows.
    const float scale = std::ldexp(1.0f, -std::ilogb(largest) - 1);
    constexpr std::int64_t kTogether = 16;  // columns: a cache line of each row
    workers.for_blocks(sample.d, kTogether, operations, [&](std::int64_t begin, std::int64_t count, int worker) {
      workers.checkpoint(worker);
      for (std::int64_t i = 0; i < rows.count; ++i)
        for (std::int64_t j = begin; j < begin + count; ++j)
          columns.row(j)[i] = rows.row(i)[j] = rows.row(i)[j] * scale;
    });
    return true;
  }

  Rows rows, columns;
};

}  // namespace

Basis principal_directions(const LearnedRows& sample, std::int64_t directions, const Kernels& kernels,
                           Workers& workers) {
  const std::int64_t n = sample.count, d = sample.d;
  const auto pack = [&](std::int64_t inner, const auto& element) {
    return PackedMatrix(inner, directions, kernels.panel_width, element);
  };
  const auto pack_rows = [&](Rows& b) {
    return pack(b.count, [&](std::int64_t i, std::int64_t j) { return b.row(i)[j]; });
  };
  Part part(sample);
  // The sum over parts of each one's columns times what `combine` makes of it, (d, directions).
  const auto sum = [&](const auto& combine) {
    Rows all(d, directions), out(d, directions);
    for (std::int64_t first = 0; first < n; first += sample.together) {
      if (!part.load(sample, first, kernels, workers)) continue;
      multiply(part.columns, combine(first), kernels, workers, out);
      std::transform(out.values.data(), out.values.data() + out.count * out.ld, all.values.data(), all.values.data(),
                     std::plus());
    }
    return all;
  };
  // Random signs, 64 at a time.
  std::vector<std::uint64_t> signs(static_cast<std::size_t>(n * ((directions + 63) / 64)));
  for (std::size_t i = 0; i < signs.size(); ++i) signs[i] = row_key(0, i, Purpose::rotation, 2);
  const PackedMatrix combinations = [&] {
    Rows all = sum([&](std::int64_t first) {
      return pack(part.rows.count, [&](std::int64_t i, std::int64_t j) {
        return signs[static_cast<std::size_t>(j / 64 * n + first + i)] >> (j % 64) & 1 ? 1.0f : -1.0f;
      });
    });
    return pack_rows(all);
  }();
  Rows found = sum([&](std::int64_t) {
    Rows products(part.rows.count, directions);
    multiply(part.rows, combinations, kernels, workers, products);
    return pack_rows(products);
  });
  std::vector<float> w(static_cast<std::size_t>(d * directions));
  for (std::int64_t i = 0; i < d; ++i) std::copy_n(found.row(i), directions, w.begin() + i * directions);
  return orthonormal(std::move(w), d, directions, workers);
}

}  // namespace fastkmeans::cpu
