// SPDX-License-Identifier: Apache-2.0
#include "cuda/movers.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace fastkmeans::cuda {

Movers choose_movers(const std::vector<float>& shifts, const std::uint32_t* slack, const FilterBound& bound) {
  std::vector<std::int64_t> moved(kBuckets);
  for (const float shift : shifts) ++moved[static_cast<std::size_t>(bucket_of(shift))];
  const auto rows = std::accumulate(slack, slack + kBuckets, std::int64_t{0});
  const auto k = static_cast<std::int64_t>(shifts.size());
  // Down from "none is a mover": a share of the rows is scanned whole, and all of them against the movers.
  std::int64_t movers = 0, open = rows;
  const int last = bucket_of(std::numeric_limits<float>::max());
  int chosen = last;
  int slack_bucket = kBuckets - 1;
  double least = 2;
  for (int b = last; b >= 0; movers += moved[static_cast<std::size_t>(b--)]) {
    const double drift = bound.radius(std::bit_cast<float>(((b + 1) << 21) - 1));
    const auto fall = static_cast<float>(std::min(drift * drift, 3e38));
    for (; slack_bucket > bucket_of(fall); --slack_bucket) open -= slack[slack_bucket];
    const double cost = static_cast<double>(open) / static_cast<double>(std::max<std::int64_t>(rows, 1)) +
                        static_cast<double>(movers) / static_cast<double>(k);
    if (cost >= least) continue;
    least = cost;
    chosen = b;
  }
  Movers out = {0, 0, 0};
  for (const float shift : shifts)
    if (bucket_of(shift) <= chosen)
      out.limit = std::max(out.limit, shift);
    else
      ++out.count;
  out.drift = round_up(bound.radius(out.limit));  // mutant: movers_drift
  return out;
}

}  // namespace fastkmeans::cuda
