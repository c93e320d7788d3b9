// SPDX-License-Identifier: Apache-2.0
#include "sketch/groups.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "numeric/distance.hpp"

namespace fastkmeans {
namespace {

// Halves all parts of a level at a time. Distances are taken in pieces of a part: the first levels have few parts, and
// cost as much as any other.
class Bisection {
 public:
  Bisection(const float* centroids, std::int64_t d, std::int64_t panel_width, std::vector<std::int32_t>& order,
            Workers& workers)
      : centroids_(centroids),
        d_(d),
        panel_width_(panel_width),
        order_(order),
        workers_(workers),
        to_a_(order.size()),
        to_b_(order.size()) {}

  // Splits the order into halves, and these again, until each part fits a panel.
  void split() {
    std::vector<Part> parts = {{.first = 0, .count = std::ssize(order_)}}, next;
    while (true) {
      std::erase_if(parts, [&](const Part& part) { return part.count <= panel_width_; });
      if (parts.empty()) return;
      for (Part& part : parts) part.from = member(part.first);
      // The direction of a part leads from a, the member farthest from its first, to b, the one farthest from a.
      for (int end = 0; end < 2; ++end) {
        measure(parts, to_a_);
        for_each(parts, 1, [&](Part& part, std::int64_t) { part.from = farthest(part, to_a_); });
      }
      measure(parts, to_b_);
      next.resize(2 * parts.size());
      for_each(parts, kSorting, [&](const Part& part, std::int64_t i) {
        const std::int64_t half = halve(part);
        next[static_cast<std::size_t>(2 * i)] = {.first = part.first, .count = half};
        next[static_cast<std::size_t>(2 * i + 1)] = {.first = part.first + half, .count = part.count - half};
      });
      std::swap(parts, next);
    }
  }

 private:
  // Operations a member, about: to find it a half.
  static constexpr double kSorting = 50;

  struct Part {
    std::int64_t first, count;  // places in the order
    std::int32_t from = 0;      // the centroid that distances are taken from
  };

  template <class Call>
  void for_each(std::vector<Part>& parts, double operations, const Call& call) {
    workers_.for_each(std::ssize(parts), operations * static_cast<double>(order_.size()),
                      [&](std::int64_t i, int) { call(parts[static_cast<std::size_t>(i)], i); });
  }

  // out[i] = |member(i) - from|^2 for all places of the parts.
  void measure(const std::vector<Part>& parts, std::vector<double>& out) {
    const std::int64_t most = std::max<std::int64_t>(1, (1 << 17) / d_);  // a tenth of a millisecond
    std::vector<Part> pieces;
    for (const auto& [first, count, from] : parts)
      for (std::int64_t at = 0; at < count; at += most)
        // mutant: groups_in_pieces
        pieces.push_back({.first = first + at, .count = std::min(most, count - at), .from = from});
    for_each(pieces, 3.0 * static_cast<double>(d_), [&](const Part& piece, std::int64_t) {
      for (std::int64_t i = piece.first; i < piece.first + piece.count; ++i)
        out[static_cast<std::size_t>(i)] = sq_distance(row(piece.from), row(member(i)), d_);
    });
  }

  std::int32_t farthest(const Part& part, const std::vector<double>& distances) const {
    const auto begin = distances.begin() + part.first;
    return member(std::max_element(begin, begin + part.count) - distances.begin());
  }

  // Orders a part by its direction, as far as its halves go; returns the size of the first.
  std::int64_t halve(const Part& part) {
    std::vector<std::pair<double, std::int32_t>> keyed;
    keyed.reserve(static_cast<std::size_t>(part.count));
    // Where c stands between a and b: |c - a|^2 - |c - b|^2 is 2 <b - a, c> and a number that is the same for all.
    for (std::int64_t i = part.first; i < part.first + part.count; ++i)
      keyed.emplace_back(to_a_[static_cast<std::size_t>(i)] - to_b_[static_cast<std::size_t>(i)], member(i));
    const std::int64_t half = (part.count / panel_width_ + 1) / 2 * panel_width_;
    std::nth_element(keyed.begin(), keyed.begin() + std::min(half, part.count - 1), keyed.end());
    std::transform(keyed.begin(), keyed.end(), order_.begin() + part.first, [](const auto& key) { return key.second; });
    return half;
  }

  std::int32_t member(std::int64_t place) const { return order_[static_cast<std::size_t>(place)]; }
  const float* row(std::int32_t c) const { return centroids_ + c * d_; }

  const float* centroids_;
  std::int64_t d_, panel_width_;
  std::vector<std::int32_t>& order_;
  Workers& workers_;
  std::vector<double> to_a_, to_b_;  // (places) squared distances
};

}  // namespace

Groups::Groups(const float* centroids, std::int64_t k, std::int64_t d, std::int64_t panel_width, std::int64_t members_,
               Workers& workers)
    : order(static_cast<std::size_t>(k)), members(members_) {
  std::iota(order.begin(), order.end(), 0);
  Bisection(centroids, d, panel_width, order, workers).split();  // mutant: groups_in_order
}

}  // namespace fastkmeans
