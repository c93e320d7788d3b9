// SPDX-License-Identifier: Apache-2.0
#include "source/source.hpp"

#include <algorithm>
#include <utility>

#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {
namespace {

// Rows read by a thread at a time: each may be far away, a cache miss or a page of a file.
constexpr std::int64_t kRowsPerTask = 64;

// The same where rows are known by their numbers alone.
constexpr std::int64_t kKeysPerTask = 1 << 16;
constexpr double kOperationsPerKey = 100;  // ten Philox rounds

// Some rows of another source, copied in their dtype.
class CopiedRows final : public Source {
 public:
  CopiedRows(const Source& from, std::vector<std::int64_t> rows, Workers& workers) : numbers_(std::move(rows)) {
    const MatrixView x = from.batch(0, from.rows());
    const std::size_t row_bytes = static_cast<std::size_t>(x.cols) * item_size(x.dtype);
    const auto count = static_cast<std::int64_t>(numbers_.size());
    copy_.resize(numbers_.size() * row_bytes);
    array_ = HostArray(MatrixView(copy_.data(), count, x.cols, x.dtype));
    if (from.weights()) weights_.resize(numbers_.size());
    const auto copy_some = [&](std::int64_t first, std::int64_t some, int) {
      for (std::int64_t i = first; i < first + some; ++i) {
        const auto place = static_cast<std::size_t>(i);
        const std::int64_t row = numbers_[place];
        copy_row(x, row, copy_.data() + place * row_bytes);
        if (from.weights()) weights_[place] = from.weight(row);  // mutant: sampled_weights
        numbers_[place] = from.number(row);
      }
    };
    workers.for_blocks(count, kRowsPerTask, static_cast<double>(copy_.size()), copy_some);
  }

  std::int64_t rows() const override { return array_.rows(); }
  std::int64_t cols() const override { return array_.cols(); }
  DType dtype() const override { return array_.dtype(); }
  Place place() const override { return Place::host; }
  MatrixView batch(std::int64_t first, std::int64_t count) const override { return array_.batch(first, count); }
  void gather(const std::int64_t* rows, std::int64_t count, float* out, Workers& workers) const override {
    array_.gather(rows, count, out, workers);
  }
  std::unique_ptr<Source> subset(std::vector<std::int64_t> rows, Workers& workers) const override {
    return std::make_unique<CopiedRows>(*this, std::move(rows), workers);
  }
  std::int64_t number(std::int64_t i) const override { return numbers_[static_cast<std::size_t>(i)]; }
  std::int64_t index(std::int64_t number) const override {
    const auto found = std::lower_bound(numbers_.begin(), numbers_.end(), number);
    return found != numbers_.end() && *found == number ? found - numbers_.begin() : -1;
  }
  const std::int64_t* weights() const override { return weights_.empty() ? nullptr : weights_.data(); }

 private:
  std::vector<std::int64_t> numbers_, weights_;  // (rows) each; no weights: each counts once
  std::vector<char> copy_;
  HostArray array_{MatrixView()};
};

}  // namespace

KeyedRows Source::keyed_rows(const KeyRange& range, Workers& workers) const {
  KeyedRows parts(static_cast<std::size_t>((rows() + kKeysPerTask - 1) / kKeysPerTask));
  const auto look = [&](std::int64_t first, std::int64_t count, int) {
    std::vector<KeyedRow> part;
    for (std::int64_t i = first; i < first + count; ++i)
      // mutant: candidates_of_weight
      if (const std::uint64_t key = range.key(number(i)); range.holds(key) && weight(i) > 0) part.push_back({key, i});
    parts[static_cast<std::size_t>(first / kKeysPerTask)] = std::move(part);
  };
  workers.for_blocks(rows(), kKeysPerTask, kOperationsPerKey * static_cast<double>(rows()), look);
  return parts;
}

MatrixView HostArray::batch(std::int64_t first, std::int64_t count) const { return part_of(x_, first, count); }

void HostArray::gather(const std::int64_t* rows, std::int64_t count, float* out, Workers& workers) const {
  const auto read_some = [&](std::int64_t first, std::int64_t some, int) {
    for (std::int64_t i = first; i < first + some; ++i) read_row(x_, rows[i], out + i * x_.cols);
  };
  const double operations = 4.0 * static_cast<double>(count) * static_cast<double>(x_.cols);
  workers.for_blocks(count, kRowsPerTask, operations, read_some);
}

std::unique_ptr<Source> HostArray::subset(std::vector<std::int64_t> rows, Workers& workers) const {
  return std::make_unique<CopiedRows>(*this, std::move(rows), workers);
}

}  // namespace fastkmeans
