// SPDX-License-Identifier: Apache-2.0
// Whether the rows of a shard have narrow sketches: looked for when a filter is made, given up if they disappoint. A
// decision of the host, which needs no device.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/narrow_costs.hpp"

namespace fastkmeans::cuda {

class NarrowPlan {
 public:
  // forced: as tune() takes it.
  explicit NarrowPlan(std::string forced) : forced_(std::move(forced)) {}

  const NarrowWidth* width() const { return width_ ? &*width_ : nullptr; }  // null: none
  std::int64_t size() const { return width_ ? width_->size : 0; }

  // Takes those that pay with the centroids there are now, if any do. survey: what each width would leave over; called
  // where that may be worth knowing. means: the centroids are, and not rows.
  void look(const Problem& problem, const DeviceLimits& limits, bool means,
            const std::function<std::vector<NarrowWidth>()>& survey);
  // Whether to look once more before an assignment. Initial centroids are rows, and far from their neighbours: if
  // nothing was won there, the first means are tried too; and tiny ones have none until they grow.
  bool looks_again() const { return looks_again_; }

  // After an assignment with labels to begin with, and so many distances a row: whether that were too many, and there
  // are no narrow sketches any more.
  bool gives_up(const Problem& problem, const DeviceLimits& limits, double refined);
  // There are none for the rest of the fit: they take memory that full sketches do without.
  void rest();

 private:
  std::string forced_;
  std::optional<NarrowWidth> width_;
  bool looks_again_ = false, rests_ = false;
};

}  // namespace fastkmeans::cuda
