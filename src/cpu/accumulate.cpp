// SPDX-License-Identifier: Apache-2.0
#include "cpu/accumulate.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cpu/rows.hpp"

namespace fastkmeans::cpu {
namespace {

// Sums up to this size are kept once for each thread and added at the end; larger ones are shared under locks: then
// there are many clusters, and two threads seldom want the same one.
constexpr std::int64_t kPrivateBytes = 1 << 20;
constexpr std::size_t kLocks = 1024;  // many times the threads there are

struct Worker {
  std::optional<RowTile> tile;
  std::optional<Sums> sums;  // its own
};

}  // namespace

void accumulate(const Source& rows, const Metric& metric, const std::int32_t* from, const std::int32_t* to,
                const FixedPoint& scale, const Kernels& kernels, Workers& workers, Sums& sums) {
  const MatrixView x = rows.batch(0, rows.rows());
  const bool is_private = static_cast<std::int64_t>((sums.hi.size() + sums.lo.size()) * 8) <= kPrivateBytes;
  std::vector<Worker> parts(static_cast<std::size_t>(workers.count()));
  std::unique_ptr<std::array<std::mutex, kLocks>> locks;
  if (!is_private) locks = std::make_unique<std::array<std::mutex, kLocks>>();

  const auto move = [&](Sums& into, const float* row, std::int32_t c, std::int64_t times) {
    std::unique_lock<std::mutex> lock;
    if (locks) lock = std::unique_lock((*locks)[static_cast<std::size_t>(c) % kLocks]);
    if (times == 1 || times == -1)
      kernels.add_row(row, x.cols, times, scale.inverse.data(), scale.grain.data(),
                      scale.two_limbs() ? scale.lo_inverse.data() : nullptr, into.hi_row(c), into.lo_row(c));
    else
      add_row(scale, row, times, into.hi_row(c), into.lo_row(c));
    into.count(c, times);
  };
  // mutant: summed_rows
  const auto changed = [&](std::int64_t i) { return (!from || from[i] != to[i]) && rows.weight(i) > 0; };
  const std::int64_t most = tile_rows(x.cols);
  const auto add_tile = [&](std::int64_t first, std::int64_t count, int worker) {
    Worker& mine = parts[static_cast<std::size_t>(worker)];
    if (!mine.tile) {
      mine.tile.emplace(x, metric, kernels, most, x.cols);
      if (is_private) mine.sums.emplace(sums.k, sums.d, scale.two_limbs(), rows.weights() != nullptr);
    }
    Sums& into = is_private ? *mine.sums : sums;
    const std::int64_t end = first + count;
    for (std::int64_t i = first; i < end;) {
      std::int64_t run = i;  // rows that changed and stand together are read together
      while (run < end && changed(run)) ++run;
      if (run > i) mine.tile->load(i, run - i);
      for (std::int64_t r = 0; i < run; ++i, ++r) {
        if (from) move(into, mine.tile->row(r), from[i], -rows.weight(i));  // mutant: moved_out
        move(into, mine.tile->row(r), to[i], rows.weight(i));
      }
      while (i < end && !changed(i)) ++i;
    }
  };
  const double operations = 4.0 * static_cast<double>(x.rows) * static_cast<double>(x.cols);
  workers.for_blocks(x.rows, most, operations, add_tile, most * padded(x.cols) * 4);
  for (const Worker& part : parts)
    if (part.sums) sums.add(*part.sums);  // mutant: sums_of_all_workers
}

}  // namespace fastkmeans::cpu
