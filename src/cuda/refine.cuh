// SPDX-License-Identifier: Apache-2.0
// What a scan has left over is decided by D, or L.
#pragma once

#include "cuda/found.cuh"

namespace fastkmeans::cuda {

// D or L to all candidates. A warp takes up to eight rows at once: what it must know of them, and then the pairs,
// whosever they are, are on their way together. Rows that have more candidates than their lists hold are left over.
template <Reads kReads, class Minimised>
__global__ __launch_bounds__(kThreads, 3) void refine(const ScanTask task, const Batch batch, const Centroids centroids,
                                                      const Lists lists, const Found found, const FilterBound bound,
                                                      const LeftOver left_over, Integer* refined) {
  const int rows = rows_of(task), lane = lane_id();
  // Few rows are shared out among all warps, then the lanes of a warp among its rows, and those of a row among parts.
  int at_once = 1, parts = 1;
  while (at_once < kRowsAtOnce && at_once * warp_count() < rows) at_once *= 2;
  const int lanes = kWarp / at_once, group = lane / lanes, mine = lane % lanes;
  while (parts < lanes && parts < lists.parts) parts *= 2;
  const unsigned of_row = (lanes < kWarp ? (1u << lanes) - 1 : kAll) << group * lanes;
  Integer pairs = 0;
  for (std::int64_t first = at_once * warp_id(); first < rows; first += at_once * warp_count()) {
    const bool valid = first + group < rows;
    const std::int64_t place = valid ? first + group : first;
    const int i = row_at(task, static_cast<int>(place));
    Best best = Minimised::unpacked(found.nearest[i]);
    const std::int32_t label = best.label;
    bool over = false;
    for (int part = mine % parts; __any_sync(kAll, part < lists.parts); part += parts) {
      const std::int64_t list = lists.at(part, place);
      const bool there = valid && part < lists.parts;
      const int count = there ? lists.count(list) : 0;
      over |= there && lists.ran_over(list);
      for (int at = mine / parts; __any_sync(kAll, at < count); at += lanes / parts) {
        const std::int32_t candidate = at < count ? task.centroids.order[lists.lists[list * lists.listed + at]] : label;
        unsigned others = __ballot_sync(kAll, candidate != label && candidate >= 0);
        pairs += static_cast<Integer>(__popc(others));
        while (others) {
          const int chosen = min(__popc(others), kPairs), from = take_pairs(others);
          const std::int32_t id = __shfl_sync(kAll, candidate, from);
          const float losses = losses_of_pairs<kReads>(batch.rows.row(__shfl_sync(kAll, i, from)), centroids.row(id),
                                                       centroids.d, Minimised{});
          for (int u = 0; u < chosen; ++u) {
            const float loss = of_group<kPairs>(losses, u);
            const std::int32_t its_id = of_group<kPairs>(id, u);
            if (of_group<kPairs>(from, u) / lanes == group) best.take(loss, its_id);
          }
        }
      }
    }
    const bool leads = valid && mine == 0;
    if (leads && best.label != label) found.nearest[i] = Minimised::packed(best);
    const unsigned ran_over = __ballot_sync(kAll, over);
    if (!ran_over) continue;
    const bool appends = leads && (ran_over & of_row);
    const int to = places_in_list(left_over.count, appends);
    if (!appends) continue;
    left_over.rows[to] = i;
    left_over.seeds[i] = 0;
    found.set_reach<Minimised>(i, best.distance, found.errors[i], bound);
  }
  if (lane == 0 && pairs) atomicAdd(refined, pairs);
}

}  // namespace fastkmeans::cuda
