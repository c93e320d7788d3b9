// SPDX-License-Identifier: Apache-2.0
#include "sketch/groups.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "numeric/distance.hpp"

namespace fastkmeans {
namespace {

class Bisection {
 public:
  Bisection(const float* centroids, std::int64_t d, std::int64_t panel_width, std::vector<std::int32_t>& order)
      : centroids_(centroids),
        d_(d),
        panel_width_(panel_width),
        order_(order),
        to_a_(order.size()),
        to_b_(order.size()) {}

  // Splits the order into halves, and these again, until each part fits a panel. The first levels have few parts, whose
  // distances all threads share; then a thread takes one part to the end, as its cache holds it.
  void split(Workers& workers) {
    const auto levels = static_cast<double>(std::bit_width(order_.size()));
    const std::vector<Part> parts =
        split({{.first = 0, .count = std::ssize(order_)}}, std::max(panel_width_, piece()), workers);
    workers.for_each(std::ssize(parts), levels * operations(9.0 * static_cast<double>(d_) + kSorting),
                     [&](std::int64_t i, int worker) {
                       Workers alone(workers, worker);
                       split({parts[static_cast<std::size_t>(i)]}, panel_width_, alone);
                     });
  }

 private:
  static constexpr double kSorting = 50;  // operations, about, that find a member its half

  struct Part {
    std::int64_t first, count;  // places in the order
    std::int32_t from = 0;      // the centroid that distances are taken from
  };

  // Members whose distances a thread takes at a time: half a megabyte of centroids, or 4096 to be sorted.
  std::int64_t piece() const { return std::clamp<std::int64_t>((1 << 17) / d_, 1, 4096); }
  double operations(double of_a_member) const { return of_a_member * static_cast<double>(order_.size()); }

  // Returns the parts that it comes to, of at most `most` members.
  std::vector<Part> split(std::vector<Part> parts, std::int64_t most, Workers& workers) {
    std::vector<Part> done, next;
    while (true) {
      std::erase_if(parts, [&](const Part& part) {
        if (part.count <= most) done.push_back(part);
        return part.count <= most;
      });
      if (parts.empty()) return done;
      for (Part& part : parts) part.from = member(part.first);
      // The direction of a part leads from a, the member farthest from its first, to b, the one farthest from a.
      for (int end = 0; end < 2; ++end) {
        measure(parts, to_a_, workers);
        for (Part& part : parts) part.from = farthest(part, to_a_);
      }
      measure(parts, to_b_, workers);
      next.resize(2 * parts.size());
      workers.for_each(std::ssize(parts), operations(kSorting), [&](std::int64_t i, int) {
        const Part& part = parts[static_cast<std::size_t>(i)];
        const std::int64_t half = halve(part);
        next[static_cast<std::size_t>(2 * i)] = {.first = part.first, .count = half};
        next[static_cast<std::size_t>(2 * i + 1)] = {.first = part.first + half, .count = part.count - half};
      });
      std::swap(parts, next);
    }
  }

  // out[i] = |member(i) - from|^2 for all places of the parts.
  void measure(const std::vector<Part>& parts, std::vector<double>& out, Workers& workers) {
    std::vector<Part> pieces;
    for (const auto& [first, count, from] : parts)
      for (std::int64_t at = 0; at < count; at += piece())
        // mutant: groups_in_pieces
        pieces.push_back({.first = first + at, .count = std::min(piece(), count - at), .from = from});
    workers.for_each(std::ssize(pieces), operations(3.0 * static_cast<double>(d_)), [&](std::int64_t p, int) {
      const auto& [first, count, from] = pieces[static_cast<std::size_t>(p)];
      for (std::int64_t i = first; i < first + count; ++i)
        out[static_cast<std::size_t>(i)] = sq_distance(row(from), row(member(i)), d_);
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
  std::vector<double> to_a_, to_b_;  // (places) squared distances
};

}  // namespace

Groups::Groups(const float* centroids, std::int64_t k, std::int64_t d, std::int64_t panel_width, std::int64_t members_,
               Workers& workers)
    : order(static_cast<std::size_t>(k)), members(members_) {
  std::iota(order.begin(), order.end(), 0);
  Bisection(centroids, d, panel_width, order).split(workers);  // mutant: groups_in_order
}

}  // namespace fastkmeans
