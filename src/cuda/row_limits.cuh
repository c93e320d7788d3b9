// SPDX-License-Identifier: Apache-2.0
// What a block of a scan knows of its rows while it collects their candidates: how far each looks, how many it has, and
// the least product of sketches that a centroid of a tile must reach to be one.
#pragma once

#include <cstdint>

#include "cuda/scan.cuh"

namespace fastkmeans::cuda {

inline constexpr int kBeyond = 1 << 30;  // beyond all products, and no difference to one overflows

// The least product of the sketches that a centroid may have whose distance is at most `reach` less the row's error:
// with s and s' the scales, |s q - s' q'| <= reach + error, so 2 s s' <q, q'> >= S - l^2, where S = |s q|^2 + |s' q'|^2
// and l = reach + error. For many centroids at once: the least norm, the largest error. inverse: 1 / (2 s s').
// fp32: all roundings together are below 9 u (S + l^2), and 16 u of it are taken away: of S where the norms are made
// (kNormSlack), of l^2 here (docs/filter.md section 6.7).
__device__ inline int least_product(float row_sq_norm, float sq_norm, float reach, float error, float inverse) {
  const float length = __fadd_ru(reach, error);
  return __float2int_rd(fmaf(length * length, -(1 + 0x1p-20f), row_sq_norm + sq_norm) * inverse);  // NaN becomes 0
}

// The candidates of each row, a list for each part of the centroids.
struct Lists {
  std::int32_t* lists;   // (parts, list_rows, listed): places of centroids
  std::int32_t* counts;  // (parts, list_rows): of them; ~ of it: the list ran over
  int parts, list_rows, listed;

  __device__ std::int64_t at(int part, std::int64_t place) const { return std::int64_t{part} * list_rows + place; }
  __device__ void set(std::int64_t list, int count, bool over) const { counts[list] = over ? ~count : count; }
  __device__ int count(std::int64_t list) const { return max(counts[list], ~counts[list]); }
  __device__ bool ran_over(std::int64_t list) const { return counts[list] < 0; }
};

// How far the scan of each row of a batch looks; the row's error is in it.
struct Reach {
  float* all;          // in: as far as is wanted; out: centroids beyond this, and no others, may be missing in the list
  const float* least;  // the distance to beat
};

struct Collected {
  RowSketches rows;
  Reach reach;
  Lists lists;
  std::uint32_t* marks;  // (parts, list_rows, listed): of CollectShort
};

// Below, `at` is a row of the block, one in the second buffer kRows further on. kDigits 2: rows' sketches stand at
// their places in the launch.
template <class Place, int kDigits>
class RowLimits {
 public:
  // Read 16 bytes at a time.
  struct alignas(16) Row {
    float half_inverse, sq_norm, reach;
    int candidates;  // so far; more than `listed`: nothing more is looked for
  };

 private:
  static constexpr int kPlaces = Place::kBuffers * Place::kRows;
  static constexpr int kMany = 16, kNobody = -1;
  static constexpr int kRanOver = 1 << 20;  // among `candidates`, more than a list has: not so many, but that

  struct Shared {
    Row rows[kPlaces];
    float least_reach[kPlaces];
    int least[Place::kSlots][Place::kRows];            // products, of the rows with the tile at a slot
    int first_rows[Place::kBuffers * Place::kGroups];  // of the launch: where the groups' rows begin
  };

 public:
  static constexpr int kStaticShared = sizeof(Shared);

  __device__ RowLimits(const ScanTask& task, const Collected& output, const BlockTiles& tiles)
      : task_(task), output_(output) {
#pragma unroll
    for (int i = 0; i < Place::kAhead; ++i) next_[i] = info_of(task.centroids, tiles.around(i));
  }

  // As an epilogue's (scan.cuh).
  __device__ void begin(int at, int first_row, int rows) {
    const int place = first_row + at % Place::kGroupRows;
    if (place == first_row) shared().first_rows[at / Place::kGroupRows] = first_row;
    Row& row = shared().rows[at];
    if (place < rows) {
      const int i = row_at(task_, place);
      const int sketch = kDigits == 1 ? i : place;
      copy_async<4>(shared_address(&row.half_inverse), output_.rows.half_inverse + sketch);
      copy_async<4>(shared_address(&row.sq_norm), output_.rows.sq_norms + sketch);
      copy_async<4>(shared_address(&row.reach), output_.reach.all + i);
      copy_async<4>(shared_address(&shared().least_reach[at]), output_.reach.least + i);
      row.candidates = 0;
    } else {
      // There is no list to write to: as if it had run over.
      row = {kInfinity, kFarAway, 0.0f, output_.lists.listed + 1};
      shared().least_reach[at] = 0;
    }
  }

  // As an epilogue's (scan.cuh). groups: whose rows need it, bits of kGroups * buffer + group. Returns what is known of
  // the tile.
  __device__ TileInfo bring(int thread, int turn, int slot, int ahead, unsigned groups) {
    const TileInfo info = next_[turn];
    next_[turn] = info_of(task_.centroids, ahead);  // on its way until it is needed
    // All rows of the thread are asked for before one is looked at.
    constexpr int kOfThread = (Place::kRows + Place::kBringing - 1) / Place::kBringing;
    Row row[kOfThread];
    int at[kOfThread];
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      const int in_block = thread + i * Place::kBringing;
      at[i] = in_block < Place::kRows ? place_in(groups, in_block) : kNobody;
      if (at[i] != kNobody) row[i] = shared().rows[at[i]];
    }
#pragma unroll
    for (int i = 0; i < kOfThread; ++i) {
      if (at[i] == kNobody) continue;
      const int least = least_product(row[i].sq_norm, info.least_sq_norm, reach(at[i], row[i]), info.largest_error,
                                      row[i].half_inverse * info.inverse_scale);
      // Once the list has run over there is nothing more to find.
      const bool over = row[i].candidates > output_.lists.listed;
      shared().least[slot][thread + i * Place::kBringing] = over ? kBeyond : min(max(least, -kBeyond), kBeyond);
    }
    return info;
  }

  // Where a row of the block stands: in the buffer of its group that is meant; neither is: kNobody.
  static __device__ int place_in(unsigned groups, int at) {
    if constexpr (Place::kBuffers == 1) return at;
    const unsigned mine = groups >> at / Place::kGroupRows;
    return mine & 1 ? at : mine >> Place::kGroups & 1 ? at + Place::kRows : kNobody;
  }

  // What a product with any centroid of the tile at a slot must reach.
  __device__ int least(int slot, int at) const { return shared().least[slot][at]; }
  static __device__ std::uint32_t least_at(int at) { return shared_address(&shared().least[0][at]); }

  // Of so many more centroids that may be candidates of a row. Returns how many there were.
  __device__ int count(int at, int more) { return atomicAdd(&shared().rows[at].candidates, more); }
  // As if none had been found yet; the reach stays what it is by now, and lists that have run over remain so.
  __device__ void count_anew(int at) {
    Row& row = shared().rows[at];
    row.reach = shared().least_reach[at] = reach(at, row);
    row.candidates = row.candidates > output_.lists.listed ? kRanOver : 0;
  }

  // Of a centroid whose product with the row is known: into the list, unless its own norm and error exclude it.
  __device__ void offer(int at, std::int32_t centroid, OwnSize own, float inverse_scale, int product) {
    const Row row = shared().rows[at];
    if (product < least_product(row.sq_norm, own.sq_norm, reach(at, row), own.error, row.half_inverse * inverse_scale))
      return;
    const int to = count(at, 1) % kRanOver, listed = output_.lists.listed;
    if (to < listed) output_.lists.lists[list_of(place_of(at)) * listed + to] = centroid;
  }

  __device__ void finish(int at, int first_row, int rows) {
    const int place = first_row + at % Place::kGroupRows;
    if (place >= rows) return;
    const Row row = shared().rows[at];
    const int listed = output_.lists.listed;
    output_.lists.set(list_of(place), min(row.candidates % kRanOver, listed), row.candidates > listed);
    // The least of all parts; not negative, so bits are ordered as it is.
    const int i = row_at(task_, place);
    const float own = reach(at, row);
    if (own < output_.reach.all[i]) atomicMin(reinterpret_cast<int*>(output_.reach.all + i), __float_as_int(own));
  }

  // Where a row of the block stands in the launch. Read each time: there is no register to spare for it.
  __device__ int place_of(int at) const { return shared().first_rows[at / Place::kGroupRows] + at % Place::kGroupRows; }

 private:
  static __device__ Shared& shared() {
    __shared__ Shared all;
    return all;
  }

  // A row that finds many before the end is content with less: what it wants beyond the distance to beat is halved with
  // every kMany.
  __device__ static float reach(int at, const Row& row) {
    if (row.candidates < kMany) return row.reach;
    const float least = shared().least_reach[at];
    const int halved = min(row.candidates / kMany, 32);
    return least + fmaxf(row.reach - least, 0.0f) * __int_as_float((127 - halved) << 23);
  }
  // place: of a row in the launch.
  __device__ std::int64_t list_of(int place) const { return output_.lists.at(static_cast<int>(blockIdx.y), place); }

  const ScanTask& task_;
  const Collected& output_;
  TileInfo next_[Place::kAhead];  // of the tiles to be brought next
};

}  // namespace fastkmeans::cuda
