// SPDX-License-Identifier: Apache-2.0
#include "finalize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "distance.hpp"
#include "element.hpp"
#include "workers.hpp"

namespace fastkmeans {

std::int64_t count_empty(const Sums& sums) { return std::count(sums.counts.begin(), sums.counts.end(), 0); }

std::int64_t fill_empty_clusters(const MatrixView& x, const std::vector<float>& distances, const FixedPoint& scale,
                                 std::vector<std::int32_t>& labels, Sums& sums) {
  struct Donor {
    double farthest = -1;       // largest D of its rows
    std::size_t row = 0;        // the lowest row that has it
    std::uint64_t inertia = 0;  // sum of floor(D 2^s)
  };
  double largest = 0;
  for (const float distance : distances) largest = std::max(largest, true_distance(distance));
  if (largest == 0) return 0;
  int exponent = 0;  // least with largest < 2^exponent
  std::frexp(largest, &exponent);
  // n terms below 2^(exponent + s) stay below 2^63.
  const int s = 63 - static_cast<int>(std::bit_width(distances.size())) - exponent;

  std::vector<Donor> donors(static_cast<std::size_t>(sums.k));
  for (std::size_t i = 0; i < distances.size(); ++i) {
    const double distance = true_distance(distances[i]);
    Donor& donor = donors[static_cast<std::size_t>(labels[i])];
    donor.inertia += static_cast<std::uint64_t>(std::ldexp(distance, s));
    if (distance > donor.farthest) {
      donor.farthest = distance;
      donor.row = i;
    }
  }
  std::vector<std::int64_t> order, empty;
  for (std::int64_t c = 0; c < sums.k; ++c) {
    const auto count = sums.counts[static_cast<std::size_t>(c)];
    if (count == 0) empty.push_back(c);
    if (count >= 2 && donors[static_cast<std::size_t>(c)].farthest > 0) order.push_back(c);
  }
  const std::size_t filled = std::min(order.size(), empty.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(filled), order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      const auto ia = donors[static_cast<std::size_t>(a)].inertia;
                      const auto ib = donors[static_cast<std::size_t>(b)].inertia;
                      return ia != ib ? ia > ib : a < b;
                    });
  std::vector<float> row(static_cast<std::size_t>(x.cols));
  for (std::size_t i = 0; i < filled; ++i) {
    const std::int64_t from = order[i], to = empty[i];
    const std::size_t moved = donors[static_cast<std::size_t>(from)].row;
    read_row(x, static_cast<std::int64_t>(moved), row.data());
    add_row(scale, row.data(), -1, sums.hi_row(from), sums.lo_row(from));
    add_row(scale, row.data(), 1, sums.hi_row(to), sums.lo_row(to));
    --sums.counts[static_cast<std::size_t>(from)];
    ++sums.counts[static_cast<std::size_t>(to)];
    labels[moved] = static_cast<std::int32_t>(to);
  }
  return static_cast<std::int64_t>(filled);
}

void update_centroids(const FixedPoint& scale, const Sums& sums, const std::vector<float>& centroids,
                      std::vector<float>& next, Workers& workers) {
  constexpr std::int64_t kRows = 256;
  const std::int64_t d = sums.d;
  const double operations = 8.0 * static_cast<double>(sums.k) * static_cast<double>(d);
  workers.for_each((sums.k + kRows - 1) / kRows, operations, [&](std::int64_t task, int) {
    for (std::int64_t c = task * kRows; c < std::min(sums.k, (task + 1) * kRows); ++c) {
      const std::int64_t count = sums.counts[static_cast<std::size_t>(c)];
      float* out = next.data() + c * d;
      if (count > 0) {
        mean_of(scale, sums.hi.data() + c * d, sums.lo.empty() ? nullptr : sums.lo.data() + c * d, count, out);
      } else {
        std::copy_n(centroids.data() + c * d, d, out);
      }
    }
  });
}

double total_shift(const std::vector<float>& moved) {
  std::vector<double> level(std::bit_ceil(moved.size()), 0.0);
  std::transform(moved.begin(), moved.end(), level.begin(),
                 [](float distance) { return std::sqrt(true_distance(distance)); });
  for (std::size_t size = level.size() / 2; size >= 1; size /= 2)
    for (std::size_t i = 0; i < size; ++i) level[i] = level[2 * i] + level[2 * i + 1];
  return level[0];
}

}  // namespace fastkmeans
