// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <vector>

#include "cuda/collect_short.cuh"
#include "cuda/distances.hpp"
#include "cuda/epilogues.cuh"
#include "cuda/filter.hpp"
#include "cuda/lift.hpp"
#include "cuda/neighbours.cuh"
#include "cuda/refine.cuh"
#include "cuda/row_order.hpp"
#include "cuda/scan.cuh"
#include "cuda/scan_wgmma.cuh"
#include "cuda/scan_wgmma_short.cuh"
#include "cuda/statistics.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {
namespace {

// One tile of centroids in so many is scanned for a first guess: what tiles cost grows with k, the candidates that a
// far guess leaves, a multiple of this number whatever k is, do not. H200, d = 128 to 768, seconds of a fit with 2 / 4
// / 8: k = 4,096 0.0639 / 0.0648 / 0.0674, 10,485 0.155 / 0.154 / 0.157, 26,112 0.207 / 0.203 / 0.206, 32,768 0.312 /
// 0.308 / 0.312; 131,072 4.075 with 4, 4.060 with 8.
int seed_step(std::int64_t k) { return std::max(2, static_cast<int>(std::lround(std::sqrt(k / 2048.0)))); }
// Where a list of neighbours is made of the candidates, few of them are of little use: blobs with k = 16,384 took 0.134
// s with 3 where it had been 0.124 with 8, host to host.
constexpr int kSeedTilesForLists = 8;
// Scores of narrow sketches cost less, and the distances that a far first guess leaves more.
constexpr int kNarrowSeedTiles = 4;

__device__ std::int32_t seed_of(const Integer* seeds, const std::int32_t* order, std::int64_t i) {
  return max(0, order[static_cast<std::uint32_t>(seeds[i])]);
}

// D or L to the label that is known, or to the seed: the one to beat.
template <Reads kReads, class Minimised>
__global__ void upper_bounds(const ScanTask rows, const Batch batch, const Centroids centroids, const Integer* seeds,
                             const Found found, const FilterBound bound) {
  for (std::int64_t first = kRowsAtOnce * warp_id(); first < batch.count; first += kRowsAtOnce * warp_count()) {
    const int place = static_cast<int>(first) + lane_group<kRowsAtOnce>();
    const int i = row_at(rows, min(place, batch.count - 1));
    const bool bad = batch.states[i] & kBadRow;
    Best best = {0, bad ? 0 : batch.previous ? batch.previous[i] : seed_of(seeds, rows.centroids.order, i)};
    const float distance = losses_of_rows<kReads, Minimised>(batch, centroids, i, best.label);
    if (!bad) best.distance = distance;
    if (!leads_group<kRowsAtOnce>() || place >= batch.count) continue;
    found.nearest[i] = Minimised::packed(best);
    if (bad)
      found.reach[i] = found.least_reach[i] = 0;
    else
      found.set_reach<Minimised>(i, best.distance, found.errors[i], bound);
  }
}

// The same for rows that are scanned again: D or L to the seed, if that is nearer; errors: of their finer sketches.
template <Reads kReads, class Minimised>
__global__ void improve_by_seeds(const ScanTask task, const Batch batch, const Centroids centroids,
                                 const Integer* seeds, const Found found, const float* errors,
                                 const FilterBound bound) {
  const int rows = rows_of(task);
  for (std::int64_t first = kRowsAtOnce * warp_id(); first < rows; first += kRowsAtOnce * warp_count()) {
    const int place = static_cast<int>(first) + lane_group<kRowsAtOnce>(), i = row_at(task, min(place, rows - 1));
    const std::int32_t label = seed_of(seeds, task.centroids.order, i);
    const float distance = losses_of_rows<kReads, Minimised>(batch, centroids, i, label);
    if (!leads_group<kRowsAtOnce>() || place >= rows) continue;
    Best best = Minimised::unpacked(found.nearest[i]);
    best.take(distance, label);
    found.nearest[i] = Minimised::packed(best);
    found.set_reach<Minimised>(i, best.distance, errors[place], bound);
  }
}

// The scans on Hopper.
template <int kRows, int kFirstSteps>
struct LongScan {
  using Place = WgmmaPlace<kRows>;
  static constexpr auto kCollect = scan_wgmma<Place, kFirstSteps, Collect<Place, 1>>;
  static constexpr auto kSeed = scan_wgmma<Place, kFirstSteps, Seed<Place>>;
};
template <int kSteps>
struct ShortScan {
  using Place = ShortPlace;
  static constexpr auto kCollect = scan_wgmma_short<Place, kSteps, CollectShort<Place>>;
  static constexpr auto kSeed = scan_wgmma_short<Place, kSteps, Seed<Place>>;
};

// Minimised: Distance or NegatedProduct (loss.cuh).
template <class Minimised>
class Int8Filter final : public Filter {
 public:
  Int8Filter(Device& device, std::int64_t n, std::int64_t k, std::int64_t d, const Tuning& tuning,
             DeviceBuffer<float> centre, const Basis& basis, const NarrowWidth* narrow, const ListsPlan& plan)
      : device_(device),
        n_(n),
        tuning_(tuning),
        sketcher_(device, d, std::move(centre)),
        lift_(device, k),
        size_(tuning.narrow > 0 ? tuning.narrow : sketcher_.size()),
        bound_(FilterBound::of_sketches(d, 1)),
        kept_(tuning.keep_sketches ? n : tuning.batch),
        q_(device, kept_ * size_),
        half_inverse_(device, kept_),
        sq_norms_(device, kept_),
        errors_(device, kept_),
        tiles_(device, k, size_),
        reach_(device, 2 * tuning.batch),
        nearest_(device, tuning.batch),
        seeds_(device, tuning.batch),
        lists_(device, list_parts(tuning) * tuning.batch * listed(tuning)),
        counts_(device, list_parts(tuning) * tuning.batch),
        marks_(device, list_parts(tuning) * tuning.batch * marked(tuning)),
        finer_q_(device, 2 * tuning.second_batch * sketcher_.size()),
        finer_(device, 3 * tuning.second_batch),
        second_lists_(device, tuning.second_parts * tuning.second_batch * kSecondListed),
        second_counts_(device, tuning.second_parts * tuning.second_batch),
        left_over_(device, 3 * tuning.batch),
        left_over_counts_(device, 3) {
    if (tuning.narrow > 0) {
      narrow_.emplace(device, basis, *narrow, sketcher_.centre(), k, projected(tuning));
      if (lists_run_over()) full_tiles_.emplace(device, k, sketcher_.size());
    }
    const std::int64_t tiles = tiles_.view().count;
    if (RowOrder::pays(std::min(n, tuning.batch), tiles)) row_order_.emplace(device, tuning.batch, tiles);
    if (tuning.keep_neighbours) neighbours_.emplace(device, n, k, tuning.batch, bound_, plan);
    for (const auto kernel : {scan<First, true, 1>, scan<First, false, 1>}) allow_shared_memory(device, kernel);
    for (const auto kernel : {scan<FirstSeed, true, 1>, scan<FirstSeed, false, 1>}) allow_shared_memory(device, kernel);
    allow_shared_memory(device, scan<Second, false, 2>);
    if (tuning.wgmma_rows > 0)
      on_hopper([&]<class Scan>(Scan) {
        allow_shared_memory(device, Scan::kCollect);
        allow_shared_memory(device, Scan::kSeed);
      });
  }

  std::string_view name() const override { return narrow_ ? kNarrow : keeps_lists() ? kInt8Lists : "int8"; }

  // What is kept of a narrow sketch is made of fp32.
  bool takes_stored() const override { return !narrow_ || (tuning_.keep_sketches && sketched_ == n_); }

  void prepare(const Centroids& centroids) override {
    centroids_ = centroids;
    bound_ = lift_.raise(centroids, FilterBound::of_sketches(centroids.d, 1));
    if (narrow_) {
      narrow_->prepare(tiles_, centroids);
      if (full_tiles_) full_tiles_->prepare(sketcher_, centroids.values, lift_.heights());
    } else if (neighbours_ && neighbours_->begin(centroids)) {
      tiles_.prepare(sketcher_, centroids.values, lift_.heights(), neighbours_->shifts(), neighbours_->movers().limit,
                     neighbours_->movers().count);
    } else {
      tiles_.prepare(sketcher_, centroids.values, lift_.heights());
    }
  }

  void assign(const Batch& batch, Notes* notes) override {
    const RowSketches rows = sketches_of(batch);
    ScanTask task = {.rows = rows.q,
                     .chosen = nullptr,
                     .count = nullptr,
                     .skipped = 0,
                     .most = batch.count,
                     .centroids = tiles_.view(),
                     .size = static_cast<int>(size_),
                     .levels = second_levels(sketcher_.size()),
                     .together = tuning_.together,
                     .stages = tuning_.wgmma_stages,
                     .first_tile = 0,
                     .tile_step = 1,
                     .tiles = tiles_.view().count};
    const Found found = {nearest_.data(), rows.errors, batch.own_losses, reach_.data(), reach_.data() + tuning_.batch};
    if (lists_run_over()) device_.clear(left_over_counts_.data(), left_over_counts_.bytes());
    if (keeps_lists() && neighbours_->carried()) {
      revisit_rows(task, rows, batch, found, notes);
    } else {
      if (!batch.previous) {
        device_.clear(seeds_.data(), seeds_.bytes());
        seed(task, rows, narrow_ ? kNarrowSeedTiles : keeps_lists() ? kSeedTilesForLists : seed_step(centroids_.k));
      }
      ScanTask known = task;
      if (row_order_ && batch.previous) task.chosen = row_order_->by_tile(batch, tiles_.places());
      if (RowOrder::pays_for_distances(centroids_.k, centroids_.d)) known.chosen = task.chosen;
      by_reads(batch, centroids_, [&]<Reads kReads>() {
        upper_bounds<kReads, Minimised><<<blocks_of_rows(device_, batch.count), kThreads, 0, device_.stream()>>>(
            known, batch, centroids_, seeds_.data(), found, bound_);
      });
      launched("upper_bounds");
      if (keeps_lists() && batch.previous) neighbours_->look_farther(batch, found);
      scan_first(task, rows, batch, tuning_.parts, false, false, found, left_over(0), notes);
    }
    if (lists_run_over()) scan_left_over(task, rows, batch, found, notes);
    unpack_nearest<Minimised>(device_, nearest_.data(), batch);
    if (keeps_lists()) neighbours_->measure(batch, nearest_.data(), notes);
  }

  void moved(const std::vector<float>& shifts, const float* on_device, const Notes& notes) override {
    if (neighbours_) neighbours_->moved(shifts, on_device, notes);
  }
  void forget() override {
    if (neighbours_) neighbours_->forget();
  }

 private:
  using First = Collect<ThreadPlace, 1>;
  using Second = Collect<ThreadPlace, 2>;
  using FirstSeed = Seed<ThreadPlace>;

  // Whether this assignment makes lists of neighbours, or goes by them.
  bool keeps_lists() const { return neighbours_ && neighbours_->kept(); }

  // The sketches of the batch's rows, made now if they are not there yet.
  RowSketches sketches_of(const Batch& batch) {
    const std::int64_t at = tuning_.keep_sketches ? batch.first : 0;
    const RowSketches rows = {q_.data() + at * size_, half_inverse_.data() + at, sq_norms_.data() + at,
                              errors_.data() + at};
    if (!tuning_.keep_sketches || batch.first + batch.count > sketched_) {
      if (narrow_)
        narrow_->sketch_rows(batch.rows.floats(), batch.count, batch.states, rows);
      else
        sketcher_.sketch_rows(batch.rows, batch.count, batch.states, rows);
      sketched_ = batch.first + batch.count;
    }
    return rows;
  }

  // Whose lists decide, and what must be scanned: some rows whole, the others against the movers.
  void revisit_rows(ScanTask task, const RowSketches& rows, const Batch& batch, const Found& found, Notes* notes) {
    const ChosenRows open = neighbours_->open(), settled = neighbours_->settled();
    neighbours_->revisit(batch, centroids_, found, notes);
    task.chosen = open.rows;
    task.count = open.count;
    scan_first(task, rows, batch, list_parts(tuning_), true, false, found, left_over(0), notes);
    if (tiles_.mover_tiles() == 0) return;
    task.chosen = settled.rows;
    task.count = settled.count;
    task.tiles = tiles_.mover_tiles();
    scan_first(task, rows, batch, 1, true, true, found, left_over(0), notes);
  }

  bool lists_run_over() const { return tuning_.second_batch > 0; }

  // Rows whose lists ran over: again, now that a much nearer centroid is known; and where they run over again, with
  // both digits of all dimensions, against the best score of all centroids. How many there are the host never learns:
  // launches that find none end at once.
  void scan_left_over(ScanTask task, const RowSketches& rows, const Batch& batch, const Found& found, Notes* notes) {
    const LeftOver first = left_over(0), second = left_over(1), last = left_over(2);
    task.chosen = first.rows;
    task.count = first.count;
    scan_first(task, rows, batch, list_parts(tuning_), false, false, found, second, notes);
    task.chosen = second.rows;
    task.count = second.count;
    task.most = static_cast<int>(std::min<std::int64_t>(tuning_.second_batch, batch.count));
    for (task.skipped = 0; task.skipped < batch.count; task.skipped += task.most)
      scan_again(task, rows, batch, found, last, notes);
    search_chosen<Minimised>(device_, centroids_, batch, {last.rows, last.count}, nearest_.data(), &notes->refined);
  }

  // Calls with the scan on Hopper that was chosen. Two steps of a tile begin at once where there is room for three,
  // since one of the tile before may be in use still.
  template <class Call>
  void on_hopper(const Call& call) const {
    if (size_ == kGranule) return call(ShortScan<1>());
    if (size_ == kShortSketch) return call(ShortScan<2>());
    switch (tuning_.wgmma_rows) {
      case 256: return call(LongScan<256, 2>());
      case 192: return call(LongScan<192, 2>());
      default: return call(LongScan<128, 1>());
    }
  }

  template <class Epilogue>
  void launch_scan(const ScanTask& task, const typename Epilogue::Output& output, int parts) {
    launch_scan(tuning_.rows_in_shared ? scan<Epilogue, true, 1> : scan<Epilogue, false, 1>, task, output, parts,
                scan_shared_bytes(task.size, task.together, tuning_.rows_in_shared));
  }
  // Of some rows, nobody knows how many, by no more blocks than keep the device busy.
  template <class Output>
  void launch_scan(void (*kernel)(ScanTask, Output), const ScanTask& task, const Output& output, int parts,
                   std::int64_t shared_bytes) {
    const unsigned blocks = blocks_for(task.most, kTile), few = blocks_for(kBlocksOfSome * device_.processors(), parts);
    launch<kScanThreads>(kernel, task, output, task.count ? std::min(blocks, few) : blocks, parts, shared_bytes);
  }
  template <class Scan, class Output>
  void launch_on_hopper(void (*kernel)(ScanTask, Output), const ScanTask& task, const Output& output, int parts) {
    using Place = typename Scan::Place;
    unsigned blocks = blocks_for(task.most, Place::kRows);
    if constexpr (Place::kGroups > 1) {
      // A block takes groups of rows one after the other: no more of them than run at a time, and of few rows as many
      // as can.
      const unsigned running = blocks_for(device_.processors(), 1), each = blocks_for(device_.processors(), parts);
      blocks = std::min({std::max(blocks, each), blocks_for(task.most, Place::kGroupRows), running});
    }
    launch<Place::kThreads>(kernel, task, output, blocks, parts,
                            wgmma_shared_bytes(task.size, Place::kRows, task.stages));
  }
  template <int kThreads, class Output>  // of a block
  void launch(void (*kernel)(ScanTask, Output), const ScanTask& task, const Output& output, unsigned blocks, int parts,
              std::int64_t shared_bytes) {
    kernel<<<dim3(blocks, static_cast<unsigned>(parts)), kThreads, static_cast<std::size_t>(shared_bytes),
             device_.stream()>>>(task, output);
    launched("scan");
  }

  // The best score among one tile of centroids in `step`.
  void seed(ScanTask task, const RowSketches& rows, int step) {
    task.first_tile = std::min(step, task.tiles) / 2;
    task.tile_step = step;
    task.tiles = std::max(1, task.tiles / step);
    if (tuning_.wgmma_rows > 0 && !task.count)
      on_hopper([&]<class Scan>(Scan) { launch_on_hopper<Scan>(Scan::kSeed, task, Guesses{rows, seeds_.data()}, 1); });
    else
      launch_scan<FirstSeed>(task, {rows, seeds_.data()}, step == 1 ? tuning_.second_parts : 1);
  }

  // After the first scan, the second, and that with both digits.
  LeftOver left_over(int scan) const {
    return {left_over_.data() + scan * tuning_.batch, left_over_counts_.data() + scan, seeds_.data()};
  }

  // By the first digit; carried, settled: of the rows' lists of neighbours (refine()).
  void scan_first(const ScanTask& task, const RowSketches& rows, const Batch& batch, int parts, bool carried,
                  bool settled, const Found& found, const LeftOver& out, Notes* notes) {
    const int places = listed(tuning_) * (list_parts(tuning_) / parts);
    const Lists lists = {lists_.data(), counts_.data(), parts, static_cast<int>(tuning_.batch), places};
    if (tuning_.wgmma_rows > 0)
      on_hopper([&]<class Scan>(Scan) {
        launch_on_hopper<Scan>(Scan::kCollect, task, Collected{rows, found.reaches(), lists, marks_.data()}, parts);
      });
    else
      launch_scan<First>(task, {rows, found.reaches(), lists, nullptr}, lists.parts);
    if (keeps_lists())
      take(task, batch, lists, {neighbours_->of(batch), neighbours_->drift(), carried, settled}, found, out, notes);
    else
      take(task, batch, lists, {}, found, out, notes);
  }

  void scan_again(ScanTask task, const RowSketches& rows, const Batch& batch, const Found& found, const LeftOver& out,
                  Notes* notes) {
    const std::int64_t most = tuning_.second_batch;
    const RowSketches finer = {finer_q_.data(), finer_.data(), finer_.data() + most, finer_.data() + 2 * most};
    seed(task, rows, 1);
    sketcher_.sketch_again(batch.rows, {task.chosen, task.count, task.skipped, task.most}, finer);
    by_reads(batch, centroids_, [&]<Reads kReads>() {
      improve_by_seeds<kReads, Minimised><<<blocks_of_warps(device_, task), kThreads, 0, device_.stream()>>>(
          task, batch, centroids_, seeds_.data(), found, finer.errors, bound_);
    });
    launched("improve_by_seeds");
    task.rows = finer.q;
    task.centroids = full_tiles_ ? full_tiles_->finer() : tiles_.finer();
    task.size = static_cast<int>(sketcher_.size());
    task.together = 2;
    const Lists lists = {second_lists_.data(), second_counts_.data(), tuning_.second_parts, static_cast<int>(most),
                         kSecondListed};
    launch_scan(scan<Second, false, 2>, task, Collected{finer, found.reaches(), lists, nullptr}, lists.parts,
                scan_shared_bytes(task.size, task.together, false));
    take(task, batch, lists, {}, found, out, notes);
  }

  // What refine() is to know of lists of neighbours; none are kept: nothing.
  struct Known {
    Neighbours kept = {};
    float drift = 0;
    bool carried = false, settled = false;
  };

  // D or L to what a scan has left; out: the rows that have more than their lists hold.
  void take(const ScanTask& task, const Batch& batch, const Lists& lists, const Known& known, const Found& found,
            const LeftOver& out, Notes* notes) {
    const unsigned blocks = blocks_of_warps(device_, task);
    by_reads(batch, centroids_, [&]<Reads kReads>() {
      if (known.kept.ids)
        refine_to_lists<kReads><<<blocks, kThreads, 0, device_.stream()>>>(task, batch, centroids_, lists, found,
                                                                           known.kept, known.carried, known.settled,
                                                                           known.drift, bound_, out, &notes->refined);
      else
        refine<kReads, Minimised><<<blocks, kThreads, 0, device_.stream()>>>(task, batch, centroids_, lists, found,
                                                                             bound_, out, &notes->refined);
    });
    launched("refine");
  }

  Device& device_;
  std::int64_t n_;
  Tuning tuning_;
  Sketcher sketcher_;  // of all dimensions
  std::conditional_t<std::is_same_v<Minimised, Distance>, NoLift, DeviceLift> lift_;
  std::int64_t size_;  // of the sketches that all rows have
  FilterBound bound_;
  std::int64_t kept_, sketched_ = 0;  // rows that there is room for, and that have their sketches
  DeviceBuffer<std::int8_t> q_;
  DeviceBuffer<float> half_inverse_, sq_norms_, errors_;
  CentroidTiles tiles_;
  std::optional<NarrowSketcher> narrow_;     // the rows have narrow sketches,
  std::optional<CentroidTiles> full_tiles_;  // and whose lists run over, full ones
  DeviceBuffer<float> reach_;
  DeviceBuffer<Integer> nearest_, seeds_;
  DeviceBuffer<std::int32_t> lists_, counts_;
  DeviceBuffer<std::uint32_t> marks_;
  DeviceBuffer<std::int8_t> finer_q_;  // of the rows that are scanned again
  DeviceBuffer<float> finer_;          // their half_inverse, sq_norms, errors
  DeviceBuffer<std::int32_t> second_lists_, second_counts_;
  DeviceBuffer<std::int32_t> left_over_, left_over_counts_;
  Centroids centroids_ = {};

  std::optional<RowOrder> row_order_;         // where it pays
  std::optional<NeighbourLists> neighbours_;  // where they are kept
};

}  // namespace

bool has_wgmma() {
  cudaFuncAttributes attributes = {};
  check(cudaFuncGetAttributes(&attributes, LongScan<256, 2>::kCollect), "cudaFuncGetAttributes");
  return attributes.sharedSizeBytes > 0;
}

std::unique_ptr<Filter> int8_filter(Device& device, std::int64_t n, std::int64_t k, std::int64_t d,
                                    const Tuning& tuning, DeviceBuffer<float> centre, Loss loss, const Basis& basis,
                                    const NarrowWidth* narrow, const ListsPlan& lists) {
  if (loss == Loss::distance)
    return std::make_unique<Int8Filter<Distance>>(device, n, k, d, tuning, std::move(centre), basis, narrow, lists);
  return std::make_unique<Int8Filter<NegatedProduct>>(device, n, k, d, tuning, std::move(centre), basis, narrow, lists);
}

}  // namespace fastkmeans::cuda
