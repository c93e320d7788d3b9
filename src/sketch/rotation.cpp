// SPDX-License-Identifier: Apache-2.0
#include "sketch/rotation.hpp"

#include <algorithm>
#include <cmath>

#include "numeric/distance.hpp"
#include "numeric/random.hpp"

namespace fastkmeans {

Rotation::Rotation(std::int64_t d, std::int64_t granule) : size((d + granule - 1) / granule * granule) {
  std::vector<std::int64_t> blocks;
  for (std::int64_t bit = std::int64_t{1} << 40; bit > 0; bit >>= 1)
    if (size & bit) blocks.push_back(bit);
  for (std::uint32_t round = 0; round < (blocks.size() > 1 ? 2u : 1u); ++round) {  // mutant: rotation_rounds
    std::vector<float> factors;
    for (const std::int64_t block : blocks) {
      const float factor = 1.0f / std::sqrt(static_cast<float>(block));
      for (std::int64_t j = 0; j < block; ++j) {
        // The signs are the same for everybody: they need not be secret, only unlike any data's.
        // mutant: rotation_signs
        factors.push_back(row_key(0, factors.size(), Purpose::rotation, round) & 1 ? factor : -factor);
      }
    }
    rounds.push_back({std::move(factors), blocks});
    std::reverse(blocks.begin(), blocks.end());
  }
}

double Rotation::rounding() const {
  // A factor is off by two roundings (root, quotient) and its product by one more; each level of a transform is
  // orthogonal but for its scale and rounds each element once, so the relative errors of the norm add up.
  double roundings = 0;
  for (const Round& round : rounds)
    roundings += 3 + std::log2(static_cast<double>(*std::max_element(round.blocks.begin(), round.blocks.end())));
  return 1.02 * roundings * kUnitRoundoff;  // mutant: rotation_rounding
}

}  // namespace fastkmeans
