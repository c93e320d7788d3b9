// SPDX-License-Identifier: Apache-2.0
#include "sketch/groups.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "numeric/distance.hpp"

namespace fastkmeans {
namespace {

class Bisection {
 public:
  Bisection(const float* centroids, std::int64_t d, std::int64_t panel_width, Workers& workers)
      : centroids_(centroids), d_(d), panel_width_(panel_width), workers_(workers) {}

  // Splits order[0, count) into halves, and these again, until each part fits a panel.
  void split(std::int32_t* order, std::int64_t count) {
    std::vector<Part> parts = {{order, count}}, next;
    while (true) {
      std::erase_if(parts, [&](const Part& part) { return part.count <= panel_width_; });
      if (parts.empty()) return;
      next.resize(2 * parts.size());
      // Two searches for the farthest and a product, 3 operations an element each.
      const double operations = 9.0 * static_cast<double>(count) * static_cast<double>(d_);
      workers_.for_each(std::ssize(parts), operations, [&](std::int64_t i, int worker) {
        const Part part = parts[static_cast<std::size_t>(i)];
        const std::int64_t half = halve(part, worker);
        next[static_cast<std::size_t>(2 * i)] = {part.order, half};
        next[static_cast<std::size_t>(2 * i + 1)] = {part.order + half, part.count - half};
      });
      std::swap(parts, next);
    }
  }

 private:
  struct Part {
    std::int32_t* order;
    std::int64_t count;
  };

  // Orders a part by one direction, as far as its halves go; returns the size of the first. The direction leads from
  // the member farthest from the first to the one farthest from that.
  std::int64_t halve(const Part& part, int worker) {
    const auto& [order, count] = part;
    const std::int32_t a = farthest(order[0], part, worker), b = farthest(a, part, worker);
    std::vector<std::pair<double, std::int32_t>> keyed;
    keyed.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      if (i % at_a_time() == 0) workers_.checkpoint(worker);
      keyed.emplace_back(along(a, b, order[i]), order[i]);
    }
    const std::int64_t half = (count / panel_width_ + 1) / 2 * panel_width_;
    std::nth_element(keyed.begin(), keyed.begin() + std::min(half, count - 1), keyed.end());
    for (std::int64_t i = 0; i < count; ++i) order[i] = keyed[static_cast<std::size_t>(i)].second;
    return half;
  }

  const float* row(std::int32_t c) const { return centroids_ + c * d_; }

  std::int32_t farthest(std::int32_t from, const Part& part, int worker) const {
    double most = -1;
    std::int32_t found = from;
    for (std::int64_t i = 0; i < part.count; ++i) {
      if (i % at_a_time() == 0) workers_.checkpoint(worker);
      if (const double distance = sq_distance(row(from), row(part.order[i]), d_); distance > most)
        most = distance, found = part.order[i];
    }
    return found;
  }

  // Where c stands between a and b: |c - a|^2 - |c - b|^2 is 2 <b - a, c> and a number that is the same for all.
  double along(std::int32_t a, std::int32_t b, std::int32_t c) const {
    return sq_distance(row(a), row(c), d_) - sq_distance(row(b), row(c), d_);
  }

  // Centroids between two checkpoints: about a millisecond.
  std::int64_t at_a_time() const { return std::max<std::int64_t>(1, (1 << 20) / d_); }

  const float* centroids_;
  std::int64_t d_, panel_width_;
  Workers& workers_;
};

}  // namespace

Groups::Groups(const float* centroids, std::int64_t k, std::int64_t d, std::int64_t panel_width, std::int64_t members_,
               Workers& workers)
    : order(static_cast<std::size_t>(k)), members(members_) {
  std::iota(order.begin(), order.end(), 0);
  Bisection(centroids, d, panel_width, workers).split(order.data(), k);  // mutant: groups_in_order
}

}  // namespace fastkmeans
