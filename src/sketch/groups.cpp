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

  // Splits order[0, count) into halves, as far apart as one direction can tell, until a part fits a panel. The
  // direction leads from the member farthest from the first to the one farthest from that.
  void split(std::int32_t* order, std::int64_t count) {
    if (count <= panel_width_) return;
    workers_.checkpoint(0);
    const std::int32_t a = farthest(order[0], order, count), b = farthest(a, order, count);
    keyed_.clear();
    for (std::int64_t i = 0; i < count; ++i) keyed_.emplace_back(along(a, b, order[i]), order[i]);
    const std::int64_t half = (count / panel_width_ + 1) / 2 * panel_width_;
    std::nth_element(keyed_.begin(), keyed_.begin() + std::min(half, count - 1), keyed_.end());
    for (std::int64_t i = 0; i < count; ++i) order[i] = keyed_[static_cast<std::size_t>(i)].second;
    split(order, half);
    split(order + half, count - half);
  }

 private:
  const float* row(std::int32_t c) const { return centroids_ + c * d_; }

  std::int32_t farthest(std::int32_t from, const std::int32_t* order, std::int64_t count) const {
    double most = -1;
    std::int32_t found = from;
    for (std::int64_t i = 0; i < count; ++i)
      if (const double distance = sq_distance(row(from), row(order[i]), d_); distance > most)
        most = distance, found = order[i];
    return found;
  }

  // Where c stands in the direction from a to b.
  double along(std::int32_t a, std::int32_t b, std::int32_t c) const {
    const float *start = row(a), *end = row(b), *at = row(c);
    double sum = 0;
    for (std::int64_t j = 0; j < d_; ++j)
      sum += (static_cast<double>(end[j]) - static_cast<double>(start[j])) * static_cast<double>(at[j]);
    return sum;
  }

  const float* centroids_;
  std::int64_t d_, panel_width_;
  Workers& workers_;
  std::vector<std::pair<double, std::int32_t>> keyed_;
};

}  // namespace

Groups::Groups(const float* centroids, std::int64_t k, std::int64_t d, std::int64_t panel_width, std::int64_t members_,
               Workers& workers)
    : order(static_cast<std::size_t>(k)), members(members_) {
  std::iota(order.begin(), order.end(), 0);
  Bisection(centroids, d, panel_width, workers).split(order.data(), k);  // mutant: groups_in_order
}

}  // namespace fastkmeans
