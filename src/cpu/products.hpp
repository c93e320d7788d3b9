// SPDX-License-Identifier: Apache-2.0
// Products of fp32 matrices by the kernel of the fp32 filter: its scores, without start values and thresholds.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.hpp"
#include "runtime/buffer.hpp"

namespace fastkmeans::cpu {

// A matrix (inner, columns) as the kernel reads panels: (panels, inner, width), zeros from column `columns` on.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // element(i, j) of the matrix.
  template <class Element>
  PackedMatrix(std::int64_t inner, std::int64_t columns, std::int64_t width, const Element& element)
      : inner_(inner), columns_(columns), width_(width), values_((columns + width - 1) / width * width * inner) {
    for (std::int64_t first = 0; first < columns; first += width)
      for (std::int64_t i = 0; i < inner; ++i)
        for (std::int64_t j = first; j < first + width; ++j)
          values_[first * inner + i * width + (j - first)] = j < columns ? element(i, j) : 0.0f;
  }
  std::int64_t inner() const { return inner_; }
  std::int64_t columns() const { return columns_; }
  // Rows of the panel that begins with column `first`, from row i on.
  const float* panel(std::int64_t first, std::int64_t i) const { return &values_[first * inner_ + i * width_]; }

 private:
  std::int64_t inner_ = 0, columns_ = 0, width_ = 0;
  Buffer<float> values_;
};

// One thread's own.
class Products {
 public:
  // Products are summed by kChunk, and then these sums: no term passes more roundings than `roundings`.
  static constexpr std::int64_t kChunk = 64;
  static double roundings(std::int64_t inner) {
    const std::int64_t chunks = (inner + kChunk - 1) / kChunk;
    return static_cast<double>(kChunk + 2 + chunks);  // mutant: projection_chain
  }

  // most_rows: of a product, whole groups of kernels.row_group.
  Products(const Kernels& kernels, std::int64_t most_rows);

  // out (rows, ld_out) = points (rows, ld) times the first `columns` columns of b. rows: whole groups. All finite.
  void multiply(const float* points, std::int64_t ld, std::int64_t rows, const PackedMatrix& b, std::int64_t columns,
                float* out, std::int64_t ld_out);

 private:
  const Kernels& kernels_;
  std::vector<float> starts_, thresholds_, scores_;
  std::vector<Hit> hits_;
};

}  // namespace fastkmeans::cpu
