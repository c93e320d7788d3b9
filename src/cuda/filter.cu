// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cuda/distances.hpp"
#include "cuda/epilogues.cuh"
#include "cuda/filter.hpp"
#include "cuda/scan.cuh"
#include "cuda/scan_wgmma.cuh"
#include "cuda/statistics.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 4;  // candidates whose elements are on their way at once
// One tile of centroids in so many is scanned for a first guess. Of 131,072 blobs 17 % of the rows' lists ran over with
// one in 16, 3 % with one in 8, none with one in 4, which takes longer.
constexpr int kSeedTiles = 8;

// The nearest centroid of each row so far (distances.hpp); errors, reach: of the row.
struct Found {
  Integer* nearest;
  const float* errors;
  float* reach;

  __device__ void set_reach(int i, float distance, float error, const FilterBound& bound) const {
    reach[i] = round_up(bound.radius(distance) + static_cast<double>(error));
  }
};

__device__ std::int32_t seed_of(const Integer* seeds, const std::int32_t* order, std::int64_t i) {
  return max(0, order[static_cast<std::uint32_t>(seeds[i])]);
}

// D to the label that is known, or to the seed: the distance to beat.
__global__ void upper_bounds(const Batch batch, const Centroids centroids, const Integer* seeds,
                             const std::int32_t* order, const Found found, const FilterBound bound) {
  for (std::int64_t i = warp_id(); i < batch.count; i += warp_count()) {
    Best best = {0, 0};
    const bool bad = batch.states[i] & kBadRow;
    if (!bad) {
      best.label = batch.previous ? batch.previous[i] : seed_of(seeds, order, i);
      best.distance = warp_distance(batch.rows.row(i), centroids.row(best.label), centroids.d, 1.0f);
    }
    if (lane_id() != 0) continue;
    found.nearest[i] = packed(best);
    if (bad)
      found.reach[i] = 0;
    else
      found.set_reach(static_cast<int>(i), best.distance, found.errors[i], bound);
  }
}

// The same for rows that are scanned again: D to the seed, if that is nearer; errors: of their finer sketches.
__global__ void improve_by_seeds(const ScanTask task, const Batch batch, const Centroids centroids,
                                 const Integer* seeds, const Found found, const float* errors,
                                 const FilterBound bound) {
  const int rows = rows_of(task);
  for (std::int64_t place = warp_id(); place < rows; place += warp_count()) {
    const int i = row_at(task, static_cast<int>(place));
    Best best = unpacked(found.nearest[i]);
    const std::int32_t label = seed_of(seeds, task.centroids.order, i);
    best.take(warp_distance(batch.rows.row(i), centroids.row(label), centroids.d, 1.0f), label);
    if (lane_id() != 0) continue;
    found.nearest[i] = packed(best);
    found.set_reach(i, best.distance, errors[place], bound);
  }
}

// D to all candidates: a warp for each list.
__global__ __launch_bounds__(kThreads, 4) void refine(const ScanTask task, const Batch batch, const Centroids centroids,
                                                      const Lists lists, const Found found, Integer* refined) {
  const int rows = rows_of(task), lane = lane_id();
  Integer pairs = 0;
  for (std::int64_t item = warp_id(); item < static_cast<std::int64_t>(rows) * lists.parts; item += warp_count()) {
    const int part = static_cast<int>(item / rows), place = static_cast<int>(item - std::int64_t{part} * rows);
    const std::int64_t list = static_cast<std::int64_t>(part) * lists.list_rows + place;
    const int count = min(lists.counts[list], lists.listed);
    if (count == 0) continue;
    const int i = row_at(task, place);
    const float* row = batch.rows.row(i);
    const Best known = unpacked(found.nearest[i]);
    Best best = known;
    for (int begin = 0; begin < count; begin += kWarp) {
      std::int32_t mine = known.label;
      if (begin + lane < count) {
        const std::int32_t c = task.centroids.order[lists.lists[list * lists.listed + begin + lane]];
        if (c >= 0) mine = c;
      }
      unsigned others = __ballot_sync(kAll, mine != known.label);
      pairs += static_cast<Integer>(__popc(others));
      while (others) {
        const float* some[kTogether];
        std::int32_t who[kTogether];
        float distance[kTogether];
#pragma unroll
        for (int u = 0; u < kTogether; ++u) {
          const int from = others ? __ffs(static_cast<int>(others)) - 1 : -1;
          others &= others - 1;
          who[u] = from < 0 ? known.label : __shfl_sync(kAll, mine, from);
          some[u] = centroids.row(who[u]);
        }
        warp_distances(row, some, centroids.d, 1.0f, distance);
#pragma unroll
        for (int u = 0; u < kTogether; ++u) best.take(distance[u], who[u]);
      }
    }
    if (lane == 0 && best.label != known.label) atomicMin(found.nearest + i, packed(best));
  }
  if (lane == 0 && pairs) atomicAdd(refined, pairs);
}

// Rows whose lists ran over.
__global__ void find_left_over(const ScanTask task, const Lists lists, std::int32_t* left_over,
                               std::int32_t* left_over_count) {
  const int place = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (place >= rows_of(task)) return;
  bool ran_over = false;
  for (int part = 0; part < lists.parts; ++part)
    ran_over |= lists.counts[static_cast<std::int64_t>(part) * lists.list_rows + place] > lists.listed;
  if (ran_over) left_over[atomicAdd(left_over_count, 1)] = row_at(task, place);
}

class Int8Filter final : public Filter {
 public:
  Int8Filter(Device& device, std::int64_t n, std::int64_t k, std::int64_t d, const Tuning& tuning,
             DeviceBuffer<float> centre)
      : device_(device),
        tuning_(tuning),
        sketcher_(device, d, std::move(centre)),
        bound_(FilterBound::of_sketches(d, 1)),
        kept_(tuning.keep_sketches ? n : tuning.batch),
        q_(device, kept_ * sketcher_.size()),
        half_inverse_(device, kept_),
        sq_norms_(device, kept_),
        errors_(device, kept_),
        tiles_(device, k, sketcher_.size()),
        reach_(device, tuning.batch),
        nearest_(device, tuning.batch),
        seeds_(device, tuning.batch),
        lists_(device, tuning.parts * tuning.batch * tuning.listed),
        counts_(device, tuning.parts * tuning.batch),
        finer_q_(device, 2 * tuning.second_batch * sketcher_.size()),
        finer_(device, 3 * tuning.second_batch),
        second_lists_(device, tuning.second_parts * tuning.second_batch * tuning.second_listed),
        second_counts_(device, tuning.second_parts * tuning.second_batch),
        left_over_(device, 2 * tuning.batch),
        left_over_counts_(device, 2) {
    for (const auto kernel : {scan<First, true, 1>, scan<First, false, 1>}) allow_shared_memory(device, kernel);
    for (const auto kernel : {scan<Seed, true, 1>, scan<Seed, false, 1>}) allow_shared_memory(device, kernel);
    allow_shared_memory(device, scan<Second, false, 2>);
    if (tuning.wgmma) allow_shared_memory(device, scan_wgmma<OnHopper>);
  }

  std::string_view name() const override { return "int8"; }

  void prepare(const Centroids& centroids) override {
    centroids_ = centroids;
    tiles_.prepare(sketcher_, centroids.values);
  }

  void assign(const Batch& batch, Integer* refined) override {
    const RowSketches rows = sketches_of(batch);
    ScanTask task = {.rows = rows.q,
                     .chosen = nullptr,
                     .count = nullptr,
                     .skipped = 0,
                     .most = batch.count,
                     .centroids = tiles_.view(),
                     .size = static_cast<int>(sketcher_.size()),
                     .levels = second_levels(sketcher_.size()),
                     .together = tuning_.together,
                     .first_tile = 0,
                     .tile_step = 1,
                     .tiles = tiles_.view().count};
    if (!batch.previous) {
      device_.clear(seeds_.data(), seeds_.bytes());
      seed(task, rows, kSeedTiles);
    }
    const Found found = {nearest_.data(), rows.errors, reach_.data()};
    upper_bounds<<<blocks_of_warps(batch.count), kThreads, 0, device_.stream()>>>(batch, centroids_, seeds_.data(),
                                                                                  task.centroids.order, found, bound_);
    launched("upper_bounds");
    device_.clear(left_over_counts_.data(), left_over_counts_.bytes());
    const Lists lists = {lists_.data(), counts_.data(), tuning_.parts, static_cast<int>(tuning_.batch), tuning_.listed};
    if (tuning_.wgmma)
      launch<kWgmmaRows, kWgmmaThreads>(scan_wgmma<OnHopper>, task, OnHopper::Output{rows, found.reach, lists},
                                        lists.parts, wgmma_shared_bytes(task.size));
    else
      launch_scan<First>(task, {rows, found.reach, lists}, lists.parts);
    std::int32_t* const counts = left_over_counts_.data();
    take(task, batch, lists, found, left_over_.data(), counts, refined);
    // Rows whose lists ran over: again, with both digits, against the best score of all centroids. How many there are
    // the host never learns: launches that find none end at once.
    task.chosen = left_over_.data();
    task.count = counts;
    std::int32_t* const last = left_over_.data() + tuning_.batch;
    task.most = static_cast<int>(std::min<std::int64_t>(tuning_.second_batch, batch.count));
    device_.clear(seeds_.data(), seeds_.bytes());
    for (task.skipped = 0; task.skipped < batch.count; task.skipped += task.most)
      scan_again(task, rows, batch, found, last, counts + 1, refined);
    search_chosen(device_, centroids_, batch, {last, counts + 1}, nearest_.data(), refined);
    unpack_nearest(device_, nearest_.data(), batch);
  }

 private:
  using First = Collect<ThreadPlace, 1>;
  using Second = Collect<ThreadPlace, 2>;
  using OnHopper = Collect<WgmmaPlace, 1>;

  // The sketches of the batch's rows, made now if they are not there yet.
  RowSketches sketches_of(const Batch& batch) {
    const std::int64_t at = tuning_.keep_sketches ? batch.first : 0;
    const RowSketches rows = {q_.data() + at * sketcher_.size(), half_inverse_.data() + at, sq_norms_.data() + at,
                              errors_.data() + at};
    if (!tuning_.keep_sketches || batch.first + batch.count > sketched_) {
      sketcher_.sketch_rows(batch.rows, batch.count, batch.states, rows);
      sketched_ = batch.first + batch.count;
    }
    return rows;
  }

  template <class Epilogue>
  void launch_scan(const ScanTask& task, const typename Epilogue::Output& output, int parts) {
    launch<kTile, kScanThreads>(tuning_.rows_in_shared ? scan<Epilogue, true, 1> : scan<Epilogue, false, 1>, task,
                                output, parts, scan_shared_bytes(task.size, task.together, tuning_.rows_in_shared));
  }
  template <int kRows, int kThreads, class Output>  // of a block
  void launch(void (*kernel)(ScanTask, Output), const ScanTask& task, const Output& output, int parts,
              std::int64_t shared_bytes) {
    kernel<<<dim3(blocks_for(task.most, kRows), static_cast<unsigned>(parts)), kThreads,
             static_cast<std::size_t>(shared_bytes), device_.stream()>>>(task, output);
    launched("scan");
  }

  // The best score among one tile of centroids in `step`.
  void seed(ScanTask task, const RowSketches& rows, int step) {
    task.first_tile = std::min(step, task.tiles) / 2;
    task.tile_step = step;
    task.tiles = std::max(1, task.tiles / step);
    launch_scan<Seed>(task, {rows, seeds_.data()}, step == 1 ? tuning_.second_parts : 1);
  }

  void scan_again(ScanTask task, const RowSketches& rows, const Batch& batch, const Found& found,
                  std::int32_t* left_over, std::int32_t* left_over_count, Integer* refined) {
    const std::int64_t most = tuning_.second_batch;
    const RowSketches finer = {finer_q_.data(), finer_.data(), finer_.data() + most, finer_.data() + 2 * most};
    seed(task, rows, 1);
    sketcher_.sketch_again(batch.rows, {task.chosen, task.count, task.skipped, task.most}, finer);
    improve_by_seeds<<<blocks_of_warps(task.most), kThreads, 0, device_.stream()>>>(
        task, batch, centroids_, seeds_.data(), found, finer.errors, bound_);
    launched("improve_by_seeds");
    task.rows = finer.q;
    task.centroids = tiles_.finer();
    task.together = 2;
    const Lists lists = {second_lists_.data(), second_counts_.data(), tuning_.second_parts, static_cast<int>(most),
                         tuning_.second_listed};
    launch<kTile, kScanThreads>(scan<Second, false, 2>, task, Second::Output{finer, found.reach, lists}, lists.parts,
                                scan_shared_bytes(task.size, task.together, false));
    take(task, batch, lists, found, left_over, left_over_count, refined);
  }

  // D to what the scan has left; and which of the rows have more than their lists hold.
  void take(const ScanTask& task, const Batch& batch, const Lists& lists, const Found& found, std::int32_t* left_over,
            std::int32_t* left_over_count, Integer* refined) {
    refine<<<blocks_of_warps(std::int64_t{task.most} * lists.parts), kThreads, 0, device_.stream()>>>(
        task, batch, centroids_, lists, found, refined);
    launched("refine");
    find_left_over<<<blocks_for(task.most, kThreads), kThreads, 0, device_.stream()>>>(task, lists, left_over,
                                                                                       left_over_count);
    launched("find_left_over");
  }

  unsigned blocks_of_warps(std::int64_t rows) const {
    return std::min(blocks_for(rows, kThreads / kWarp), static_cast<unsigned>(32 * device_.processors()));
  }

  Device& device_;
  Tuning tuning_;
  Sketcher sketcher_;
  FilterBound bound_;
  std::int64_t kept_, sketched_ = 0;  // rows that there is room for, and that have their sketches
  DeviceBuffer<std::int8_t> q_;
  DeviceBuffer<float> half_inverse_, sq_norms_, errors_;
  CentroidTiles tiles_;
  DeviceBuffer<float> reach_;
  DeviceBuffer<Integer> nearest_, seeds_;
  DeviceBuffer<std::int32_t> lists_, counts_;
  DeviceBuffer<std::int8_t> finer_q_;  // of the rows that are scanned again
  DeviceBuffer<float> finer_;          // their half_inverse, sq_norms, errors
  DeviceBuffer<std::int32_t> second_lists_, second_counts_;
  DeviceBuffer<std::int32_t> left_over_, left_over_counts_;  // after the first, and after the second scan
  Centroids centroids_ = {};
};

}  // namespace

bool has_wgmma() {
  cudaFuncAttributes attributes = {};
  check(cudaFuncGetAttributes(&attributes, scan_wgmma<Collect<WgmmaPlace, 1>>), "cudaFuncGetAttributes");
  return attributes.sharedSizeBytes > 0;
}

std::unique_ptr<Filter> int8_filter(Device& device, std::int64_t n, std::int64_t k, std::int64_t d,
                                    const Tuning& tuning, DeviceBuffer<float> centre) {
  return std::make_unique<Int8Filter>(device, n, k, d, tuning, std::move(centre));
}

}  // namespace fastkmeans::cuda
