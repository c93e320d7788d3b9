// SPDX-License-Identifier: Apache-2.0
// Lists of neighbours, kept from one assignment to the next: of each row the centroids nearest to it, and a bound that
// all others are beyond. As long as no centroid outside the list can have come as near as the nearest one in it, D to
// the list decides. Verlet's lists of particles (Physical Review 159, 1967, p. 98) with a bound for each row; the proof
// is in docs/filter.md section 6.10.
//
// The bound falls by the drift, the farthest that a centroid has moved since. The few that moved much farther than the
// rest, the movers, do not count: rows are scored against them anew.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "cuda/batch.hpp"
#include "cuda/found.cuh"
#include "cuda/lists_plan.hpp"
#include "cuda/movers.hpp"
#include "cuda/scan.cuh"
#include "cuda/statistics.hpp"
#include "sketch/bound.hpp"

namespace fastkmeans::cuda {

// A scan asks for so many neighbours, as the one before has found how far they are; where it found fewer, for so much
// more. Never for more than so many times the own distance.
inline constexpr int kAskedFor = 8;
inline constexpr float kGrowth = 1.1f, kMostWanted = 4;
// One row in so many is looked at for the choice of movers.
inline constexpr int kSampled = 8;

// Of the rows of a batch, or of all; not kept: null.
struct Neighbours {
  std::int32_t* ids;     // (n, kNeighbours), in any order
  float* least;          // (n, kNeighbours) |x - c| is at least this
  std::uint8_t* counts;  // (n); 0: nothing is known
  float* bounds;         // (n) + drift, the sum of all drifts then: every centroid outside the list is at least so far
  float* wanted;         // (n) how much farther than the own centroid a scan should look, a factor
};

// Since the lists were made or looked at.
struct Moves {
  const float* lengths;  // (k) that each centroid moved, rounded up
  float drift;           // sum of all drifts so far
};

// A list in a warp, a centroid a lane: its least distance and its number, ascending; kNone where there is none.
struct WarpList {
  static constexpr Integer kNone = ~Integer{0};
  Integer mine = kNone;

  __device__ bool has(std::int32_t id) const {
    return __any_sync(kAll, mine != kNone && static_cast<std::int32_t>(mine) == id);
  }
  // The same for an id of each lane.
  __device__ bool has_mine(std::int32_t id) const {
    bool found = false;
    for (int t = __popc(__ballot_sync(kAll, mine != kNone)) - 1; t >= 0; --t)
      found |= static_cast<std::int32_t>(__shfl_sync(kAll, mine, t)) == id;
    return found;
  }
  __device__ void insert(float least, std::int32_t id) {
    const Integer key = Distance::packed({least, id});
    const int at = __popc(__ballot_sync(kAll, mine < key));
    const Integer before = __shfl_up_sync(kAll, mine, 1);
    if (lane_id() == at) mine = key;
    if (lane_id() > at) mine = before;
  }
};

__global__ void move_lengths(const float* shifts, int k, const FilterBound bound, float* lengths) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c < k) lengths[c] = round_up(bound.radius(shifts[c]));
}

// D to those of the lists' centroids that may be nearest by now, and which rows they decide: settled[i] is 1, of bad
// rows 2.
template <Reads kReads>
__global__ __launch_bounds__(256, 2) void revisit_rows(const Batch batch, const Centroids centroids,
                                                       const Neighbours kept, const Moves moves, const Found found,
                                                       const FilterBound bound, std::uint8_t* settled,
                                                       Integer* refined) {
  const int lane = lane_id(), half = lane / kNeighbours, slot = lane % kNeighbours;
  static_assert(2 * kNeighbours == kWarp, "two lists in a warp");
  Integer pairs = 0;
  for (std::int64_t first = kRowsAtOnce * warp_id(); first < batch.count; first += kRowsAtOnce * warp_count()) {
    const int last = static_cast<int>(min(first + kRowsAtOnce, std::int64_t{batch.count})) - 1;
    const int mine = min(static_cast<int>(first) + lane_group<kRowsAtOnce>(), last);
    const std::int32_t previous = batch.previous[mine];
    const float distance = losses_of_rows<kReads, Distance>(batch, centroids, mine, previous);
    const float radius = round_up(bound.radius(distance));
    for (int two = 0; first + two <= last; two += 2) {
      // The lanes of each half of the warp have a list.
      const int i = min(static_cast<int>(first) + two + half, last);
      const bool twice = first + two + half > last;
      const bool bad = batch.states[i] & kBadRow;
      const int count = bad || twice ? 0 : kept.counts[i];
      const std::int64_t at = std::int64_t{i} * kNeighbours + slot;
      Best best = {of_group<kRowsAtOnce>(distance, two + half), of_group<kRowsAtOnce>(previous, two + half)};
      float own = of_group<kRowsAtOnce>(radius, two + half);
      std::int32_t id = best.label;
      float least = kInfinity;
      if (slot < count) {
        id = kept.ids[at];
        least = fmaxf(0.0f, __fsub_rd(kept.least[at], moves.lengths[id]));
      }
      float its_distance = best.distance;
      bool computed = slot < count && id == best.label;
      unsigned others = __ballot_sync(kAll, slot < count && least <= own && !computed);
      if (lane == 0) pairs += static_cast<Integer>(__popc(others));
      while (others) {
        const int chosen = min(__popc(others), kPairs), from = take_pairs(others);
        const std::int32_t its_id = __shfl_sync(kAll, id, from);
        const StoredRow x = batch.rows.row(min(static_cast<int>(first) + two + from / kNeighbours, last));
        const float losses = losses_of_pairs<kReads>(x, centroids.row(its_id), centroids.d, Distance{});
        for (int u = 0; u < chosen; ++u) {
          const float one = of_group<kPairs>(losses, u);
          const std::int32_t one_id = of_group<kPairs>(its_id, u);
          const int of = of_group<kPairs>(from, u);
          if (of / kNeighbours == half) best.take(one, one_id);
          if (lane == of) {
            its_distance = one;
            computed = true;
          }
        }
      }
      if (computed) least = round_down(bound.least_radius(its_distance));
      if (slot < count) kept.least[at] = least;
      own = round_up(bound.radius(best.distance));
      if (slot != 0 || twice) continue;
      if (bad) {
        found.nearest[i] = 0;
        settled[i] = 2;
        continue;
      }
      ++pairs;
      const float beyond = count > 0 ? __fsub_rd(kept.bounds[i], moves.drift) : 0.0f;  // all others are
      const bool decided = beyond > own;
      found.nearest[i] = Distance::packed(best);
      const float error = found.errors[i], wanted = count > 0 ? own * kept.wanted[i] : own;
      found.reach[i] = __fadd_ru(decided ? beyond : wanted, error);
      found.least_reach[i] = __fadd_ru(own, error);
      settled[i] = decided;
    }
  }
  pairs += __shfl_xor_sync(kAll, pairs, kNeighbours);
  if (lane == 0) atomicAdd(refined, pairs);
}

// Where the nearest centroid is known, and no list: a scan looks as far as the last one that made lists should have.
__global__ void look_farther(int count, const float* wanted, float* reach) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count && reach[i] > 0)
    reach[i] = __fmul_ru(reach[i], wanted[i]);  // else a bad row, of which nothing is known
}

// Rows of the batch by whether they are settled, (2, count) and how many of each; nearly ascending. Pairs that need no
// score are counted: k of a row, but for the movers.
__global__ void split_rows(const std::uint8_t* settled, int count, int most, Integer k, Integer movers,
                           std::int32_t* rows, std::int32_t* counts, Notes* notes) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int kind = i < count ? settled[i] : 2;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    const int to = places_in_list(counts + which, kind == which);
    if (kind == which) rows[which * most + to] = i;
  }
  const int number = __popc(__ballot_sync(kAll, kind == 1));
  if (lane_id() == 0 && number > 0) atomicAdd(&notes->skipped, static_cast<Integer>(number) * (k - movers));
}

// Where lists settle hardly a row, they will not settle the next time: rows look no farther than they must.
__global__ void look_no_farther(const std::int32_t* open, int count, Reach reach) {
  if (static_cast<double>(*open) <= kMostScored * static_cast<double>(count)) return;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) reach.all[i] = reach.least[i];
}

// As refine(), a warp a row, and makes the lists of neighbours. carried: there are lists from the assignment before,
// settled: which decide unless candidates come nearer.
template <Reads kReads>
__global__ __launch_bounds__(256, 3) void refine_to_lists(const ScanTask task, const Batch batch,
                                                          const Centroids centroids, const Lists lists,
                                                          const Found found, const Neighbours kept, bool carried,
                                                          bool settled, float drift, const FilterBound bound,
                                                          const LeftOver left_over, Integer* refined) {
  const int rows = rows_of(task), lane = lane_id();
  // Few rows are shared out among all warps.
  const auto at_once = static_cast<int>(min((rows + warp_count() - 1) / warp_count(), std::int64_t{kRowsAtOnce}));
  Integer pairs = 0;
  for (std::int64_t first = at_once * warp_id(); first < rows; first += at_once * warp_count()) {
    // The lanes of a group share the parts of its row.
    const std::int64_t mine = first + lane_group<kRowsAtOnce>();
    bool any = false, over = false;
    if (lane_group<kRowsAtOnce>() < at_once && mine < rows)
      for (int part = lane % (kWarp / kRowsAtOnce); part < lists.parts; part += kWarp / kRowsAtOnce) {
        const std::int64_t list = lists.at(part, mine);
        any |= lists.count(list) > 0;
        over |= lists.ran_over(list);
      }
    constexpr unsigned kGroup = (1u << kWarp / kRowsAtOnce) - 1;
    unsigned open = __ballot_sync(kAll, any || over), ran_over = __ballot_sync(kAll, over);
    if (ran_over) {
      const bool appends = leads_group<kRowsAtOnce>() && (ran_over >> lane & kGroup);
      const int to = places_in_list(left_over.count, appends);
      if (appends) left_over.rows[to] = row_at(task, static_cast<int>(mine));
    }
    for (int u = 0; u < at_once && first + u < rows;
         ++u, open >>= kWarp / kRowsAtOnce, ran_over >>= kWarp / kRowsAtOnce) {
      if (!(open & kGroup) && settled) continue;
      const int place = static_cast<int>(first) + u, i = row_at(task, place);
      Best best = Distance::unpacked(found.nearest[i]);
      const std::int32_t label = best.label;
      WarpList list;
      const int known = carried ? kept.counts[i] : 0;
      const std::int64_t entry = std::int64_t{i} * kNeighbours + lane;
      const float known_least = lane < known ? kept.least[entry] : 0.0f;
      const std::int32_t known_id = lane < known ? kept.ids[entry] : 0;
      for (int t = 0; t < known; ++t) list.insert(__shfl_sync(kAll, known_least, t), __shfl_sync(kAll, known_id, t));
      if (!list.has(label)) list.insert(round_down(bound.least_radius(best.distance)), label);
      for (int part = 0; part < lists.parts; ++part) {
        const std::int64_t at = lists.at(part, place);
        const int count = lists.count(at);
        for (int begin = 0; begin < count; begin += kWarp) {
          std::int32_t candidate = -1;
          if (begin + lane < count) candidate = task.centroids.order[lists.lists[at * lists.listed + begin + lane]];
          const bool listed = list.has_mine(candidate);
          unsigned others = __ballot_sync(kAll, candidate >= 0 && !listed);
          pairs += static_cast<Integer>(__popc(others));
          while (others) {
            const int chosen = min(__popc(others), kPairs);
            const std::int32_t id = __shfl_sync(kAll, candidate, take_pairs(others));
            const float distance =
                losses_of_pairs<kReads>(batch.rows.row(i), centroids.row(id), centroids.d, Distance{});
            const float least = round_down(bound.least_radius(distance));
            for (int u = 0; u < chosen; ++u) {
              const std::int32_t its_id = of_group<kPairs>(id, u);
              best.take(of_group<kPairs>(distance, u), its_id);
              list.insert(of_group<kPairs>(least, u), its_id);
            }
          }
        }
      }
      if (lane == 0) found.nearest[i] = Distance::packed(best);
      // Not recorded: beyond what was asked for. Dropped: not nearer than the first that is.
      const Integer dropped = __shfl_sync(kAll, list.mine, kNeighbours);
      const Integer farthest = __shfl_sync(kAll, list.mine, kAskedFor - 1);
      const int count = __popc(__ballot_sync(kAll, list.mine != WarpList::kNone && lane < kNeighbours));
      if (lane < count) {
        kept.ids[std::int64_t{i} * kNeighbours + lane] = static_cast<std::int32_t>(list.mine);
        kept.least[std::int64_t{i} * kNeighbours + lane] = Distance::unpacked(list.mine).distance;
      }
      if (lane == 0) {
        float beyond = __fsub_rd(found.reach[i], found.errors[i]);
        // reach is rounded up: it may say a little more than the bound, which alone holds for what was not scanned.
        if (settled) beyond = fminf(beyond, __fsub_rd(kept.bounds[i], drift));
        if (dropped != WarpList::kNone) beyond = fminf(beyond, Distance::unpacked(dropped).distance);
        const float own = round_up(bound.radius(best.distance));
        const float far = farthest != WarpList::kNone ? Distance::unpacked(farthest).distance : kGrowth * beyond;
        kept.wanted[i] = own > 0 ? fminf(fmaxf(__fdividef(far, own), 1.0f), kMostWanted) : 1.0f;
        kept.counts[i] = static_cast<std::uint8_t>((ran_over & kGroup) ? 0 : count);
        kept.bounds[i] = __fadd_rd(beyond, drift);
      }
      if (lane == 0 && (ran_over & kGroup)) {
        found.set_reach<Distance>(i, best.distance, found.errors[i], bound);
        left_over.seeds[i] = 0;
      }
    }
  }
  if (lane == 0 && pairs) atomicAdd(refined, pairs);
}

// By how much the bounds of some rows may fall until they are open, squared: a histogram.
__global__ void measure_slack(const Batch batch, const Neighbours kept, const Integer* nearest, const FilterBound bound,
                              float drift, std::uint32_t* slack) {
  __shared__ std::uint32_t mine[kBuckets];
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += static_cast<int>(blockDim.x)) mine[b] = 0;
  __syncthreads();
  for (std::int64_t i = std::int64_t{kSampled} * (blockIdx.x * blockDim.x + threadIdx.x); i < batch.count;
       i += std::int64_t{kSampled} * gridDim.x * blockDim.x) {
    if (batch.states[i] & kBadRow) continue;
    const float own = round_up(bound.radius(Distance::unpacked(nearest[i]).distance));
    const float left = kept.counts[i] > 0 ? fmaxf(0.0f, __fsub_rd(kept.bounds[i], drift) - own) : 0.0f;
    atomicAdd(&mine[min(bucket_of(left * left), kBuckets - 1)], 1u);
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += static_cast<int>(blockDim.x))
    if (mine[b] > 0) atomicAdd(slack + b, mine[b]);
}

// What is kept for the rows of a shard, from one assignment to the next.
class NeighbourLists {
 public:
  // batch: the most rows of one.
  NeighbourLists(Device& device, std::int64_t n, std::int64_t k, std::int64_t batch, const FilterBound& bound,
                 const ListsPlan& plan)
      : device_(device),
        n_(n),
        plan_(plan),
        bound_(bound),
        batch_(batch),
        ids_(device, n * kNeighbours),
        least_(device, n * kNeighbours),
        counts_(device, n),
        bounds_(device, n),
        wanted_(device, n),
        lengths_(device, k),
        settled_(device, batch),
        split_(device, 2 * batch),
        split_counts_(device, 2) {}

  // Begins an assignment. Whether the lists of the one before may decide; then there are movers, too.
  bool begin(const Centroids& centroids) {
    if (!plan_.begin()) {
      forget();
      return false;
    }
    carried_ = has_lists_ && movers_;
    if (carried_) {
      drift_ = round_up((static_cast<double>(drift_) + movers_->drift) * (1 + kFp64Slack));
      move_lengths<<<blocks_for(centroids.k, kThreads), kThreads, 0, device_.stream()>>>(shifts_, centroids.k, bound_,
                                                                                         lengths_.data());
      launched("move_lengths");
    } else {
      movers_.reset();
      drift_ = 0;
    }
    has_lists_ = true;
    return carried_;
  }
  bool carried() const { return carried_; }
  bool kept() const { return has_lists_; }  // by this assignment; else they rest
  const Movers& movers() const { return *movers_; }
  const float* shifts() const { return shifts_; }  // (k) device memory: how far the centroids moved, D as stored
  float drift() const { return drift_; }

  Neighbours of(const Batch& batch) const {
    const std::int64_t first = batch.first, entry = first * kNeighbours;
    return {ids_.data() + entry, least_.data() + entry, counts_.data() + first, bounds_.data() + first,
            wanted_.data() + first};
  }

  // Finds which rows of the batch their lists decide. Open: those that must be scanned whole; settled: the others.
  void revisit(const Batch& batch, const Centroids& centroids, const Found& found, Notes* notes) {
    by_reads(batch, centroids, [&]<Reads kReads>() {
      revisit_rows<kReads><<<blocks_of_rows(device_, batch.count), kThreads, 0, device_.stream()>>>(
          batch, centroids, of(batch), Moves{lengths_.data(), drift_}, found, bound_, settled_.data(), &notes->refined);
    });
    launched("revisit");
    device_.clear(split_counts_.data(), split_counts_.bytes());
    split_rows<<<blocks_for(batch.count, kThreads), kThreads, 0, device_.stream()>>>(
        settled_.data(), batch.count, static_cast<int>(batch_), static_cast<Integer>(centroids.k),
        static_cast<Integer>(movers_->count), split_.data(), split_counts_.data(), notes);
    launched("split_rows");
    if (!plan_.may_rest()) return;
    look_no_farther<<<blocks_for(batch.count, kThreads), kThreads, 0, device_.stream()>>>(open().count, batch.count,
                                                                                          found.reaches());
    launched("look_no_farther");
  }
  ChosenRows open() const { return {split_.data(), split_counts_.data()}; }
  ChosenRows settled() const { return {split_.data() + batch_, split_counts_.data() + 1}; }

  // Lists are made where labels are known: as revisit() would, if there were lists.
  void look_farther(const Batch& batch, const Found& found) {
    if (!has_wanted_) return;
    cuda::look_farther<<<blocks_for(batch.count, kThreads), kThreads, 0, device_.stream()>>>(
        batch.count, of(batch).wanted, found.reach);
    launched("look_farther");
  }

  // After the assignment of the batch: what the choice of movers is to know.
  void measure(const Batch& batch, const Integer* nearest, Notes* notes) {
    measure_slack<<<blocks_for(batch.count, kThreads * kSampled), kThreads, 0, device_.stream()>>>(
        batch, of(batch), nearest, bound_, drift_, notes->slack);
    launched("measure_slack");
  }

  // As of Filter (batch.hpp).
  void moved(const std::vector<float>& shifts, const float* on_device, const Notes& notes) {
    if (!has_lists_) return;
    if (movers_ && !carried_) return forget();  // twice without an assignment between
    movers_ = choose_movers(shifts, notes.slack, bound_);
    has_wanted_ = true;
    if (carried_) {
      const auto rows = static_cast<double>(n_), k = static_cast<double>(shifts.size());
      plan_.carried(1 - static_cast<double>(notes.skipped) / (rows * k), static_cast<double>(notes.refined) / rows);
    }
    carried_ = false;
    shifts_ = on_device;
  }
  void forget() {
    has_lists_ = carried_ = false;
    movers_.reset();
  }

 private:
  Device& device_;
  std::int64_t n_;
  ListsPlan plan_;
  FilterBound bound_;
  std::int64_t batch_;
  DeviceBuffer<std::int32_t> ids_;  // as Neighbours has them, of all rows
  DeviceBuffer<float> least_;
  DeviceBuffer<std::uint8_t> counts_;
  DeviceBuffer<float> bounds_, wanted_;
  DeviceBuffer<float> lengths_;                      // (k) as Moves has them
  DeviceBuffer<std::uint8_t> settled_;               // (batch) as revisit_rows() says
  DeviceBuffer<std::int32_t> split_, split_counts_;  // open and settled rows of the batch
  bool has_wanted_ = false;                          // of all rows
  bool has_lists_ = false;                           // of the last assignment
  bool carried_ = false;                             // this assignment has those of the one before
  std::optional<Movers> movers_;                     // since then
  const float* shifts_ = nullptr;
  float drift_ = 0;  // sum of all drifts since lists were made anew
};

}  // namespace fastkmeans::cuda
