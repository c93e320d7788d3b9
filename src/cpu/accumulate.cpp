// SPDX-License-Identifier: Apache-2.0
#include "cpu/accumulate.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

namespace fastkmeans::cpu {
namespace {

// Sums up to this size are kept once for each thread and added at the end, unless there is one thread; larger ones are
// shared under locks: then there are many clusters, and two threads seldom want the same one.
constexpr std::int64_t kPrivateBytes = 1 << 20;
constexpr std::size_t kLocks = 1024;  // many times the threads there are

}  // namespace

void accumulate(const Context& context, const Source& rows, const std::int32_t* from, const std::int32_t* to,
                const FixedPoint& scale, Sums& sums) {
  const std::int64_t n = context.x.rows, d = context.x.cols, most = tile_rows(d);
  const bool is_alone = context.workers.count() == 1;
  const bool is_private =
      !is_alone && static_cast<std::int64_t>((sums.hi.size() + sums.lo.size()) * 8) <= kPrivateBytes;
  std::vector<RowTile> tiles(static_cast<std::size_t>(context.workers.count()), RowTile(context, most, d));
  std::vector<std::optional<Sums>> parts(tiles.size());  // a worker's own
  std::vector<std::mutex> locks(is_alone || is_private ? 0 : kLocks);

  const auto move = [&](Sums& into, const float* row, std::int32_t c, std::int64_t times) {
    std::unique_lock<std::mutex> lock;
    if (!locks.empty()) lock = std::unique_lock(locks[static_cast<std::size_t>(c) % kLocks]);
    if (times == 1 || times == -1)
      context.kernels.add_row(row, d, times, scale.inverse.data(), scale.grain.data(),
                              scale.two_limbs() ? scale.lo_inverse.data() : nullptr, into.hi_row(c), into.lo_row(c));
    else
      add_row(scale, row, times, into.hi_row(c), into.lo_row(c));
    into.count(c, times);
  };
  // mutant: summed_rows
  const auto changed = [&](std::int64_t i) { return (!from || from[i] != to[i]) && rows.weight(i) > 0; };
  const auto add_tile = [&](std::int64_t first, std::int64_t count, int worker) {
    RowTile& tile = tiles[static_cast<std::size_t>(worker)];
    std::optional<Sums>& part = parts[static_cast<std::size_t>(worker)];
    if (is_private && !part) part.emplace(sums.k, sums.d, scale.two_limbs(), rows.weights() != nullptr);
    Sums& into = is_private ? *part : sums;
    const std::int64_t end = first + count;
    for (std::int64_t i = first; i < end;) {
      std::int64_t run = i;  // rows that changed and stand together are read together
      while (run < end && changed(run)) ++run;
      if (run > i) tile.load(i, run - i);
      for (std::int64_t r = 0; i < run; ++i, ++r) {
        if (from) move(into, tile.row(r), from[i], -rows.weight(i));  // mutant: moved_out
        move(into, tile.row(r), to[i], rows.weight(i));
      }
      while (i < end && !changed(i)) ++i;
    }
  };
  const double operations = 4.0 * static_cast<double>(n) * static_cast<double>(d);
  context.workers.for_blocks(n, most, operations, add_tile, most * padded(d) * 4);
  for (const auto& part : parts)
    if (part) sums.add(*part);  // mutant: sums_of_all_workers
}

}  // namespace fastkmeans::cpu
