// SPDX-License-Identifier: Apache-2.0
// The nearest centroid of each row of a shard: what the ways to find it have in common.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/give_up.hpp"
#include "cpu/rows.hpp"
#include "numeric/exact_sum.hpp"
#include "shard.hpp"
#include "source/statistics.hpp"

namespace fastkmeans::cpu {

// What came of an assignment, or of a part of it.
struct AssignCounts {
  RowCheck check;
  Effort effort;             // of tiles that were finished
  Effort abandoned;          // of others
  std::int64_t changed = 0;  // rows whose label differs from the previous one
  ExactSum inertia;
  std::chrono::nanoseconds spent{0};  // by all threads on tiles
  TileSet undone;                     // tiles left to others

  // Another part of the same assignment; undone is the whole's.
  void add(const AssignCounts& part) {
    check.merge(part.check);
    effort += part.effort;
    abandoned += part.abandoned;
    changed += part.changed;
    inertia.add(part.inertia);
    spent += part.spent;
  }
};

struct AssignTask {
  const Context& context;
  std::int64_t tile_rows = 0;         // rows a thread works on at a time
  std::int64_t panels_at_a_time = 0;  // between two checkpoints
  double most_refined = 0;            // give up where more distances a row than this must be computed; 0: never
  const TileSet* only = nullptr;      // the tiles to do; null: all
  const std::int32_t* previous;       // labels that were good before, or null
  std::int32_t* labels;
  float* distances;

  // The answer for a row.
  void answer(std::int64_t row, std::int32_t label, float stored, AssignCounts& counts) const {
    // mutant: changed_rows
    counts.changed += !previous || previous[row] != label;  // before labels, which may be the same array
    counts.inertia.add(stored);
    labels[row] = label;
    distances[row] = stored;
  }
};

// Hands out the tiles of a task. A thread has a Tile(task, args...) of its own, whose assign(first, count, worker,
// counts) is called for one block of rows after the other: false if it gave up. scratch_bytes: of a Tile.
template <class Tile, class... Args>
AssignCounts assign_tiles(const AssignTask& task, std::int64_t k, std::int64_t scratch_bytes, Args&... args) {
  const MatrixView& x = task.context.x;
  Workers& workers = task.context.workers;
  std::vector<std::unique_ptr<Tile>> tiles(static_cast<std::size_t>(workers.count()));
  std::vector<AssignCounts> counts(tiles.size());
  GiveUp give_up(x.rows, task.tile_rows, task.most_refined, task.only);
  const auto assign_tile = [&](std::int64_t first, std::int64_t count, int worker) {
    if (give_up.refuses(first)) return;
    auto& mine = tiles[static_cast<std::size_t>(worker)];
    if (!mine) mine = std::make_unique<Tile>(task, args...);
    AssignCounts tile;
    const auto start = std::chrono::steady_clock::now();
    const bool finished = mine->assign(first, count, worker, tile);
    tile.spent = std::chrono::steady_clock::now() - start;
    give_up.note(first, count, tile.effort.refined, finished);
    AssignCounts& my_counts = counts[static_cast<std::size_t>(worker)];
    if (finished)  // mutant: counted_if_finished
      my_counts.add(tile);
    else
      my_counts.abandoned += tile.effort;
  };
  // What else is done for a row costs about as much as a few centroids more.
  const double operations =
      2.0 * static_cast<double>(x.rows) * static_cast<double>(k + 8) * static_cast<double>(x.cols);
  workers.for_blocks(x.rows, task.tile_rows, operations, assign_tile, scratch_bytes);
  AssignCounts total;
  for (const AssignCounts& part : counts) total.add(part);
  total.undone = give_up.undone();
  return total;
}

}  // namespace fastkmeans::cpu
