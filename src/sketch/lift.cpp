// SPDX-License-Identifier: Apache-2.0
#include "sketch/lift.hpp"

#include <algorithm>
#include <cmath>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

// When M changes all centroids move, and near height 0 a small change of length is a large one of height: M^2 begins
// this much above the largest |c|^2, and stays while it is not below that and at most kMostRoom above.
constexpr double kRoom = 17.0 / 16, kMostRoom = 5.0 / 4;

}  // namespace

void Lift::raise(CentroidsView centroids, Workers& workers) {
  sq_heights_.resize(static_cast<std::size_t>(centroids.k));
  const std::vector<float> origin(static_cast<std::size_t>(centroids.d));
  const double operations = 4.0 * static_cast<double>(centroids.k) * static_cast<double>(centroids.d);
  workers.for_blocks(centroids.k, kCentroidsPerTask, operations, [&](std::int64_t first, std::int64_t count, int) {
    for (std::int64_t c = first; c < first + count; ++c)
      sq_heights_[static_cast<std::size_t>(c)] = sq_distance(centroids.row(c), origin.data(), centroids.d);
  });
  const double most = *std::max_element(sq_heights_.begin(), sq_heights_.end());
  // mutant: lift_ceiling
  if (sq_ceiling_ < most || sq_ceiling_ > kMostRoom * most) sq_ceiling_ = kRoom * most;
  for (double& square : sq_heights_) square = sq_ceiling_ - square;
}

double sq_between_heights(double sq_a, double sq_b) {
  if (sq_a == sq_b) return 0;
  const double apart = (sq_a - sq_b) / (std::sqrt(sq_a) + std::sqrt(sq_b));
  return apart * apart;
}

}  // namespace fastkmeans
