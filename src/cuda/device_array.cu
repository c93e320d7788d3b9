// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/device_array.hpp"
#include "cuda/keyed_rows.hpp"
#include "cuda/rows.hpp"
#include "source/element.hpp"

namespace fastkmeans::cuda {
namespace {

class DeviceArray final : public Source {
 public:
  DeviceArray(std::shared_ptr<Device> device, const MatrixView& x, const std::int64_t* weights)
      : device_(std::move(device)), x_(x), weights_(weights) {}
  // A copy of some rows, whose numbers were these, and their weights, if they have any.
  DeviceArray(std::shared_ptr<Device> device, const MatrixView& x, DeviceBuffer<char> owned,
              std::vector<std::int64_t> numbers, std::vector<std::int64_t> own_weights)
      : device_(std::move(device)),
        x_(x),
        owned_(std::move(owned)),
        numbers_(std::move(numbers)),
        own_weights_(std::move(own_weights)),
        weights_(own_weights_.empty() ? nullptr : own_weights_.data()) {}
  ~DeviceArray() override {
    const OnDevice on(device_->number());
    owned_.reset();
  }

  std::int64_t rows() const override { return x_.rows; }
  std::int64_t cols() const override { return x_.cols; }
  DType dtype() const override { return x_.dtype; }
  Place place() const override { return Place::device; }

  MatrixView batch(std::int64_t first, std::int64_t count) const override { return part_of(x_, first, count); }

  void gather(const std::int64_t* rows, std::int64_t count, float* out, Workers&) const override {
    if (count == 0) return;
    const OnDevice on(device_->number());
    const auto chosen = uploaded(*device_, rows, count);
    DeviceBuffer<float> values(*device_, count * x_.cols);
    gather_float(*device_, x_, chosen.data(), count, values.data());
    device_->download(out, values.data(), values.bytes());
  }

  std::unique_ptr<Source> subset(std::vector<std::int64_t> rows, Workers&) const override {
    const OnDevice on(device_->number());
    const auto count = static_cast<std::int64_t>(rows.size());
    DeviceBuffer<char> copy(*device_, count * x_.cols * static_cast<std::int64_t>(item_size(x_.dtype)));
    {
      const auto chosen = uploaded(*device_, rows.data(), count);
      gather_rows(*device_, x_, chosen.data(), count, copy.data());
    }
    device_->wait();  // others read it in streams of their own
    MatrixView view(copy.data(), count, x_.cols, x_.dtype);
    view.cuda_device = x_.cuda_device;
    std::vector<std::int64_t> weights;
    if (weights_) {
      weights.resize(rows.size());
      std::transform(rows.begin(), rows.end(), weights.begin(), [this](std::int64_t row) { return weight(row); });
    }
    std::transform(rows.begin(), rows.end(), rows.begin(), [this](std::int64_t row) { return number(row); });
    return std::make_unique<DeviceArray>(device_, view, std::move(copy), std::move(rows), std::move(weights));
  }

  std::int64_t number(std::int64_t i) const override {
    return numbers_.empty() ? i : numbers_[static_cast<std::size_t>(i)];
  }
  std::int64_t index(std::int64_t number) const override {
    if (numbers_.empty()) return 0 <= number && number < x_.rows ? number : -1;
    const auto found = std::lower_bound(numbers_.begin(), numbers_.end(), number);
    return found != numbers_.end() && *found == number ? found - numbers_.begin() : -1;
  }
  const std::int64_t* weights() const override { return weights_; }

  // By a kernel where it knows numbers and weights, unless there is too little memory for what it finds.
  KeyedRows keyed_rows(const KeyRange& range, Workers& workers) const override {
    if (!numbers_.empty() || weights_) return Source::keyed_rows(range, workers);
    try {
      const OnDevice on(device_->number());
      return find_keyed_rows(*device_, range, x_.rows, workers);
    } catch (const OutOfMemory&) {
      return Source::keyed_rows(range, workers);
    }
  }

 private:
  std::shared_ptr<Device> device_;
  MatrixView x_;
  DeviceBuffer<char> owned_;
  std::vector<std::int64_t> numbers_;  // (rows); empty: row i is number i
  std::vector<std::int64_t> own_weights_;
  const std::int64_t* weights_;  // (rows), or null
};

}  // namespace

std::unique_ptr<Source> device_array(const MatrixView& x, const std::int64_t* weights, const Execution& execution,
                                     Workers& workers) {
  const OnDevice on(x.cuda_device);
  return std::make_unique<DeviceArray>(std::make_shared<Device>(x.cuda_device, execution, workers), x, weights);
}

}  // namespace fastkmeans::cuda
