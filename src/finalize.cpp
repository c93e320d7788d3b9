// SPDX-License-Identifier: Apache-2.0
#include "finalize.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "backend.hpp"
#include "numeric/distance.hpp"
#include "numeric/exact_sum.hpp"
#include "numeric/metric.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {

double inertia_of(const std::vector<float>& distances, Workers& workers) {
  const auto n = static_cast<std::int64_t>(distances.size());
  std::vector<ExactSum> parts(static_cast<std::size_t>(workers.count()));
  workers.for_blocks(n, kRowsPerPass, 10.0 * static_cast<double>(n),
                     [&](std::int64_t first, std::int64_t count, int seat) {
                       ExactSum sum;
                       for (std::int64_t i = first; i < first + count; ++i)
                         sum.add(distances[static_cast<std::size_t>(i)]);
                       parts[static_cast<std::size_t>(seat)].add(sum);
                     });
  for (std::size_t seat = 1; seat < parts.size(); ++seat) parts[0].add(parts[seat]);
  return parts[0].value();
}

std::int64_t count_changed(const std::vector<std::int32_t>& before, const std::vector<std::int32_t>& after,
                           Workers& workers) {
  const auto n = static_cast<std::int64_t>(after.size());
  std::atomic<std::int64_t> changed{0};
  workers.for_blocks(n, kRowsPerPass, static_cast<double>(n), [&](std::int64_t first, std::int64_t count, int) {
    std::int64_t mine = 0;
    for (std::int64_t i = first; i < first + count; ++i)
      mine += before[static_cast<std::size_t>(i)] != after[static_cast<std::size_t>(i)];
    changed += mine;
  });
  return changed;
}

std::int64_t count_empty(const Sums& sums) { return std::count(sums.counts.begin(), sums.counts.end(), 0); }

std::int64_t fill_empty_clusters(const MatrixView& x, const std::vector<float>& distances, const FixedPoint& scale,
                                 std::vector<std::int32_t>& labels, Sums& sums, Workers& workers) {
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
    if (i % kRowsPerPass == 0) workers.checkpoint(0);
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
  const std::int64_t d = sums.d;
  const double operations = 8.0 * static_cast<double>(sums.k) * static_cast<double>(d);
  workers.for_blocks(sums.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c) {
      const std::int64_t rows = sums.counts[static_cast<std::size_t>(c)];
      float* out = next.data() + c * d;
      if (rows > 0) {
        euclidean().update(scale, sums.hi.data() + c * d, sums.lo.empty() ? nullptr : sums.lo.data() + c * d, rows,
                           nullptr, out);
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
