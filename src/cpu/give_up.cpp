// SPDX-License-Identifier: Apache-2.0
#include "cpu/give_up.hpp"

#include <algorithm>

namespace fastkmeans::cpu {

void GiveUp::note(std::int64_t first, std::int64_t rows, std::int64_t refined, bool finished) {
  if (finished) done_[tile(first)] = 1;  // mutant: tile_done
  const auto all = static_cast<double>(refined_ += refined), begun = static_cast<double>(rows_ += rows);
  if (most_refined_ > 0 && all > most_refined_ * begun) given_up_ = true;  // mutant: given_up
}

TileSet GiveUp::undone() const {
  TileSet undone;
  if (std::find(done_.begin(), done_.end(), 0) == done_.end()) return undone;  // mutant: all_done
  for (const std::uint8_t done : done_) undone.push_back(!done);
  return undone;
}

}  // namespace fastkmeans::cpu
