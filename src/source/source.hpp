// SPDX-License-Identifier: Apache-2.0
// Where rows come from. They are read several times (the scale of the sums comes before the sums), and must be the same
// each time. A shard has a source of its own: its part of the rows of a fit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fastkmeans/matrix_view.hpp"
#include "source/keyed_rows.hpp"

namespace fastkmeans {

class Workers;

enum class Place { host, device };

class Source {
 public:
  virtual ~Source() = default;

  virtual std::int64_t rows() const = 0;
  virtual std::int64_t cols() const = 0;
  virtual DType dtype() const = 0;
  // Where the memory of batch() lies: the host must not read what lies on a device.
  virtual Place place() const = 0;

  // Rows [first, first + count) where they lie, for as long as the source lives.
  virtual MatrixView batch(std::int64_t first, std::int64_t count) const = 0;
  // These rows (numbers in [0, rows())) as fp32 in host memory, (count, cols()), C order, without gaps.
  virtual void gather(const std::int64_t* rows, std::int64_t count, float* out, Workers& workers) const = 0;
  // A source of these rows alone, ascending: a copy in their own dtype, at the same place.
  virtual std::unique_ptr<Source> subset(std::vector<std::int64_t> rows, Workers& workers) const = 0;

  // The number of row i among the rows of all shards, as random choices and error messages have it: ascending in i. And
  // the other way around, -1 if the row is not here.
  virtual std::int64_t number(std::int64_t i) const = 0;
  virtual std::int64_t index(std::int64_t number) const = 0;

  // (rows()) how often each row counts, in host memory: from 0 on, 2^40 in all. Null: each once.
  virtual const std::int64_t* weights() const = 0;
  std::int64_t weight(std::int64_t i) const { return weights() ? weights()[i] : 1; }

  // The rows of weight whose keys are in the range, ascending. Row by row, unless a source knows better.
  virtual KeyedRows keyed_rows(const KeyRange& range, Workers& workers) const;
};

// An array in host memory, or a memory-mapped file. All is read where it lies.
class HostArray final : public Source {
 public:
  // first: the number of row 0 among the rows of all shards.
  explicit HostArray(const MatrixView& x, std::int64_t first = 0, const std::int64_t* weights = nullptr)
      : x_(x), first_(first), weights_(weights) {}

  std::int64_t rows() const override { return x_.rows; }
  std::int64_t cols() const override { return x_.cols; }
  DType dtype() const override { return x_.dtype; }
  Place place() const override { return Place::host; }
  MatrixView batch(std::int64_t first, std::int64_t count) const override;
  void gather(const std::int64_t* rows, std::int64_t count, float* out, Workers& workers) const override;
  std::unique_ptr<Source> subset(std::vector<std::int64_t> rows, Workers& workers) const override;
  std::int64_t number(std::int64_t i) const override { return first_ + i; }
  std::int64_t index(std::int64_t number) const override {
    return first_ <= number && number < first_ + x_.rows ? number - first_ : -1;
  }
  const std::int64_t* weights() const override { return weights_; }

 private:
  MatrixView x_;
  std::int64_t first_;
  const std::int64_t* weights_;
};

}  // namespace fastkmeans
