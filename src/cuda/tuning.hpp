// SPDX-License-Identifier: Apache-2.0
// How an assignment is cut into pieces, and what is kept: a pure function of the problem and of the device. Speed and
// memory only: no bit of a result depends on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "numeric/both.hpp"

namespace fastkmeans::cuda {

inline constexpr int kTile = 128;                    // rows, and centroids, of a block of the scan
inline constexpr int kGranule = 64;                  // sketches are multiples of it: elements of a step of the scan
inline constexpr int kStepBytes = kTile * kGranule;  // of 128 sketches
inline constexpr int kStaticShared = 9 << 10;        // of shared memory: most that a kernel has beside what it asks for
inline constexpr int kMostStages = 8;                // of the scan on Hopper: steps in shared memory or on their way
inline constexpr int kShortSketch = 2 * kGranule;    // those up to this have a scan on Hopper of their own
inline constexpr int kShortRing = 8;                 // of that: tiles in shared memory or on their way,
inline constexpr int kShortBuffers = 2;              // and room for rows: those it has, and the next
inline constexpr std::int64_t kLongestSketch = 16384;  // scores stay below 2^28 (docs/filter.md section 6.3)
inline constexpr int kNeighbours = 16;                 // centroids in the list of a row (neighbours.cuh)
inline constexpr std::int64_t kMostLowDim = 64;        // rows of a warp must stay in registers
// Candidates of a row that there is room for: token embeddings leave 1 to 20 (docs/performance.md), with long tails.
// Rows with more are scanned once more against what they found by then. A single tile of centroids has room for all of
// them: no list runs over, and nine launches for nothing are saved.
inline constexpr int kListed = 64;

struct DeviceLimits {
  int processors;       // multiprocessors
  int shared_memory;    // most bytes of a block
  std::int64_t memory;  // bytes that may be taken
  bool wgmma;           // has_wgmma() (filter.hpp)
};

// How kernels find the elements of rows: fp32, or 16 bits that some filters read as they are, the others made fp32
// first; or what must be made fp32 in any case.
enum class Stored { floats, halves, otherwise };

struct Problem {
  std::int64_t n, d, k;
  std::int64_t row_bytes;  // of a row that would stay on the device; 0: it is there already
  Stored stored = Stored::floats;
  bool iterates = false;    // further assignments of the same rows will follow
  bool products = false;    // labels by inner products: no low_dim, no lists, no narrow sketches
  bool tiny = false;        // all centroids are tiny: D of all pairs decides, until they are not
  std::int64_t narrow = 0;  // elements of the narrow sketches that the rows are to have; 0: none
};

inline constexpr std::string_view kInt8Lists = "int8_lists";  // int8 with lists of neighbours
inline constexpr std::string_view kNarrow = "narrow";         // int8 of narrow sketches

enum class Kind { int8, low_dim, none };

struct Tuning {
  Kind kind;
  std::int64_t narrow = 0;             // elements of narrow sketches; 0: all dimensions are sketched
  bool resident = true;                // rows from the host stay on the device
  bool keep_sketches = false;          // of all rows
  bool keep_neighbours = false;        // of all rows (neighbours.cuh)
  int wgmma_rows = 0;                  // the scan of all centroids is Hopper's, with blocks of so many rows
  int wgmma_stages = 0;                // and so many steps of centroids at once
  bool marks = false;                  // it is that of short sketches
  bool rows_in_shared = false;         // the other scans keep 128 rows' sketches in shared memory
  int together = 2;                    // steps of the scan between two barriers, and as many on their way
  std::int64_t batch;                  // rows of a piece
  std::int64_t most_batch;             // what it would be if memory were no matter
  std::int64_t few_rows = 64 * kTile;  // pieces of no more rows leave processors idle
  int parts = 1;                       // of the centroids, scanned by blocks of their own
  int some_parts = 1;                  // the same where some of the rows are scanned, nobody knows how many
  bool lists_hold_all = false;         // places of centroids there are: none runs over
  std::int64_t second_batch = 0;       // rows whose lists ran over, scanned again at a time; 0: none does
  std::int64_t most_second = 0;        // what it is at most
  int second_parts = 1;
};

// forced: a filter's name (int8, int8_lists, narrow, low_dim, none: all distances), or ""; std::runtime_error if
// unknown. kernel: the scan (one of kScans), or "".
Tuning tune(const Problem& problem, const DeviceLimits& limits, const std::string& forced, const std::string& kernel);

// Whether the scan on Hopper takes sketches of so many elements.
bool wgmma_takes(std::int64_t size, const DeviceLimits& limits);
// Rows that are projected at a time.
std::int64_t projected(const Tuning& tuning);

// Less memory: what a failed allocation leads to. False: there is nothing left to give up.
bool shrink(Tuning& tuning);

// Bytes that the tuning takes beside the centroids, their sums and the caller's data.
std::int64_t memory_of(const Tuning& tuning, const Problem& problem);

// Bytes that a shard of n rows on the host takes, at most, which serves initialisations and nothing else.
std::int64_t bytes_of_seeding(std::int64_t n, std::int64_t d);

// Parts of the centroids that a row has lists of candidates for, at most.
int list_parts(const Tuning& tuning);
// Places of candidates of a row in a list of each, where there are so many parts; with fewer parts they share them all.
int listed(const Tuning& tuning);
// Places of marks, as many, where the scan makes some (collect_short.cuh).
int marked(const Tuning& tuning);
// The same of rows that are scanned with both digits, for each of Tuning::second_parts.
inline constexpr int kSecondListed = 128;

// Elements of a sketch, d rounded up.
std::int64_t sketch_size(std::int64_t d);

// Bytes of the scan's shared memory.
std::int64_t scan_shared_bytes(std::int64_t size, int together, bool rows_in_shared);

// The same of the scan on Hopper, and what it has besides.
std::int64_t wgmma_shared_bytes(std::int64_t size, int rows, int stages);
constexpr int wgmma_static_shared(int rows) {
  return (10 << 10) + 52 * rows;
}  // barriers, tiles; what Collect knows of a row

// Sums of k clusters and d dimensions, with their weights.
FASTKMEANS_BOTH constexpr std::int64_t sums_of_block(std::int64_t k, std::int64_t d, bool two_limbs, bool members) {
  return (two_limbs ? 2 : 1) * k * d + (members ? 2 : 1) * k;
}
// Blocks of so many threads that each have such sums in shared memory, where about `moving` rows go from cluster to
// cluster; 0: they do not fit, or would cost more than they save.
inline constexpr int kSumsThreads = 512;
int blocks_with_sums(std::int64_t sums, std::int64_t k, std::int64_t moving, int processors, int shared_memory);

// The names that FASTKMEANS_CUDA_KERNEL knows, and which of them a tuning takes; "": no scan.
inline constexpr std::string_view kScans[] = {"wgmma", "mma_rows_in_shared", "mma_rows_in_turn"};
std::string_view scan_of(const Tuning& tuning);

}  // namespace fastkmeans::cuda
