// SPDX-License-Identifier: Apache-2.0
// Whether the rows of a shard have narrow sketches: looked for when a filter is made, given up if they disappoint.
#pragma once

#include <optional>
#include <string>

#include "cuda/narrow.hpp"

namespace fastkmeans::cuda {

class NarrowPlan {
 public:
  // forced: as tune() takes it.
  explicit NarrowPlan(std::string forced) : forced_(std::move(forced)) {}

  const Narrow* narrow() const { return narrow_ ? &*narrow_ : nullptr; }  // null: none
  std::int64_t size() const { return narrow_ ? narrow_->width.size : 0; }

  // Looks for some that pay with these centroids. means: they are, and not rows.
  void look(Device& device, Rows& store, const Problem& problem, const DeviceLimits& limits, const Centroids& centroids,
            bool means);
  // Initial centroids are rows, and far from their neighbours: if nothing was won there, the first means are tried too.
  bool looks_again() const { return looks_again_; }

  // After an assignment with labels to begin with, and so many distances a row: whether that were too many, and there
  // are no narrow sketches any more.
  bool gives_up(const Problem& problem, const DeviceLimits& limits, double refined);
  // There are none for the rest of the fit: they take memory that full sketches do without.
  void rest();

 private:
  std::string forced_;
  std::optional<NarrowSearch> search_;
  std::optional<Narrow> narrow_;
  bool looks_again_ = false, rests_ = false;
};

}  // namespace fastkmeans::cuda
