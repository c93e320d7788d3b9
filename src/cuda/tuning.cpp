// SPDX-License-Identifier: Apache-2.0
#include "cuda/tuning.hpp"

#include <algorithm>
#include <stdexcept>

namespace fastkmeans::cuda {
namespace {

// Rows that go into each cluster of a block: adding the sums of blocks up takes an eighth of adding the rows.
constexpr std::int64_t kMovesOfSum = 8;

// A piece takes at most about 0.1 s, so that an interrupt acts soon: so many multiply-adds, at a slow card's rate.
constexpr double kMostProducts = 1e13;  // int8, 100 T a second
constexpr double kMostTerms = 2e11;     // of D and of few dimensions, 2 T a second
// Many kernels for a batch find nothing to do: few batches. 2,621,440 tokens x 128 with k = 4,096 took 0.0556 s in
// three of 2^20 rows, 0.0509 in one; of 384 dimensions 0.109 and 0.101 (H200). Of few dimensions little is kept for a
// row that is read where it is, and the search for rows left over takes 30 us for however few (H200, k = 256).
constexpr std::int64_t kMostBatch = 1 << 22, kMostLowDimBatch = 1 << 24;
constexpr std::int64_t kLeastBatch = kTile;
// Blocks that fill a multiprocessor several times over, so that the last ones do not leave it idle for long.
constexpr std::int64_t kBlocksPerProcessor = 8;
// Few rows are left, nobody knows how many: blocks share the centroids. Many that may be left at once: each turn is
// five launches, 12 us, nearly always for nothing. But not all, since they take up to 2 KB each; and a small share of
// the memory.
constexpr int kSecondParts = 8;
constexpr std::int64_t kTilesOfSecondPart = 16;
constexpr std::int64_t kLeastSecondBatch = 4096, kShareOfSecond = 64, kMostOfSecond = 512 << 20;
// With fewer centroids a scan costs little more than to look at lists of neighbours. Fits of 10 iterations with lists
// take this share of the time without (H200, d = 128, 100 points a centroid): blobs 0.66 at k = 32,768, 0.78 at 16,384,
// 0.82 at 8,192; iid normal 1.5 at 8,192. Of more iterations the later ones save more.
constexpr std::int64_t kLeastForLists = 16384;
// Of some rows, nobody knows how many, few blocks may be left: they share the centroids, but not fewer than so many
// tiles.
constexpr std::int64_t kTilesOfPart = 64;
constexpr int kSomeParts = 4;
// Rows that are projected at once: enough to fill a device, few enough for its second cache.
constexpr std::int64_t kProjected = 1 << 15;

// Of the scan on Hopper: a step takes 256 (128 rows) to 512 clocks to multiply, and several hundred to come. Where not
// even 128 rows leave room for three, two must do, so that rows of 1,536 elements have this scan too (not measured).
constexpr int kLeastStages = 3, kLeastOfFewRows = 2;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

constexpr std::int64_t kNeighbourBytes = 8 * kNeighbours + 4 + 4 + 1;  // of a row

// The largest blocks that fit: with fewer rows each byte of the centroids serves fewer products, and below so many
// steps on their way the products wait for them.
struct WgmmaBlocks {
  int rows = 0, stages = 0;
};
WgmmaBlocks wgmma_blocks(std::int64_t size, const DeviceLimits& limits) {
  if (!limits.wgmma) return {};
  for (const int rows : {256, 192, 128}) {
    const std::int64_t left = limits.shared_memory - wgmma_static_shared(rows) - wgmma_shared_bytes(size, rows, 0);
    const std::int64_t most = size <= kShortSketch ? kShortRing * size / kGranule : kMostStages;
    const std::int64_t stages = std::min<std::int64_t>(left / kStepBytes, most);
    // mutant: hopper_stages
    if (stages >= (rows == 128 ? kLeastOfFewRows : kLeastStages)) return {rows, static_cast<int>(stages)};
  }
  return {};
}

std::int64_t row_sketch_size(const Tuning& tuning, const Problem& problem) {
  return tuning.narrow > 0 ? tuning.narrow : sketch_size(problem.d);
}

// Whether rows are made fp32 before they are read.
bool converts(const Tuning& tuning, const Problem& problem) {
  const bool only_floats = tuning.kind == Kind::low_dim || tuning.narrow > 0;  // mutant: halves_are_widened
  return problem.stored == Stored::otherwise || (problem.stored == Stored::halves && only_floats);
}

// Bytes a row of a batch.
std::int64_t batch_row_bytes(const Tuning& tuning, const Problem& problem) {
  std::int64_t bytes = 8 + 8 + 8 + 4 + 12;  // reach, nearest, seed, order, places in the lists of those left over
  if (converts(tuning, problem)) bytes += 4 * problem.d;
  if (!tuning.resident) bytes += 2 * problem.row_bytes;
  if (tuning.kind != Kind::int8) return bytes;
  if (!tuning.keep_sketches) bytes += row_sketch_size(tuning, problem) + 12;
  if (tuning.keep_neighbours) bytes += 8 + 1;
  return bytes + list_parts(tuning) * (4 * listed(tuning) + 4 * marked(tuning) + 4);
}

// Bytes of a row that is scanned again.
std::int64_t second_row_bytes(const Tuning& tuning, const Problem& problem) {
  return tuning.second_parts * (4 * kSecondListed + 4) + 2 * sketch_size(problem.d) + 12;
}

void choose_scan(Tuning& tuning, std::int64_t size, const DeviceLimits& limits, const std::string& kernel) {
  const auto refuse_unless = [&](bool holds, std::string_view name, const char* why) {
    if (kernel == name && !holds) throw std::runtime_error("FASTKMEANS_CUDA_KERNEL is '" + kernel + "', and " + why);
  };
  constexpr const char* kTooLong = "the rows are too long for it";
  const WgmmaBlocks hopper = wgmma_blocks(size, limits);
  refuse_unless(limits.wgmma, kScans[0], "the device does not have it");
  refuse_unless(hopper.rows > 0, kScans[0], kTooLong);
  if (kernel.empty() || kernel == kScans[0]) {
    tuning.wgmma_rows = hopper.rows;
    tuning.wgmma_stages = hopper.stages;
    tuning.marks = hopper.rows > 0 && size <= kShortSketch;
  }
  // Two blocks fit a multiprocessor of 228 KiB (compute capability 9.0) up to sketches of 512; where the memory is
  // smaller, one block that rereads nothing beats two that do.
  const auto shared = [&](int together) { return scan_shared_bytes(size, together, true) + kStaticShared; };
  const std::int64_t most_shared = std::min<std::int64_t>(112 << 10, limits.shared_memory);
  refuse_unless(shared(2) <= limits.shared_memory, kScans[1], kTooLong);
  tuning.rows_in_shared = kernel.empty() || kernel == kScans[0] ? shared(2) <= most_shared : kernel == kScans[1];
  // Fewer barriers, where there is room; one step a tile would keep more tiles in flight than there are slots.
  if (tuning.rows_in_shared && size > kGranule && shared(4) <= most_shared) tuning.together = 4;
}

std::int64_t rows_of_block(const Tuning& tuning) { return tuning.wgmma_rows > 0 ? tuning.wgmma_rows : kTile; }

void choose_parts(Tuning& tuning, const Problem& problem, const DeviceLimits& limits) {
  const std::int64_t tiles = (problem.k + kTile - 1) / kTile;
  const std::int64_t block_rows = rows_of_block(tuning);
  const std::int64_t row_tiles = (tuning.batch + block_rows - 1) / block_rows;
  tuning.parts = static_cast<int>(std::clamp<std::int64_t>(kBlocksPerProcessor * limits.processors / row_tiles, 1,
                                                           std::max<std::int64_t>(1, tiles / 4)));
  tuning.parts = std::min(tuning.parts, 64);
  tuning.some_parts = static_cast<int>(std::clamp<std::int64_t>(tiles / kTilesOfPart, 1, kSomeParts));
}

void choose_second(Tuning& tuning, const Problem& problem, const DeviceLimits& limits) {
  // Any place of a tile may pass, also one without a centroid. Movers have tiles of their own.
  tuning.lists_hold_all = problem.k <= kTile && !tuning.keep_neighbours;  // mutant: lists_hold_all
  if (tuning.lists_hold_all) return;
  const std::int64_t tiles = (problem.k + kTile - 1) / kTile;
  tuning.second_parts = static_cast<int>(std::clamp<std::int64_t>(tiles / kTilesOfSecondPart, 1, kSecondParts));
  // mutant: rows_left_over
  const std::int64_t bytes = std::min(limits.memory / kShareOfSecond, kMostOfSecond);
  const std::int64_t rows = bytes / second_row_bytes(tuning, problem);
  tuning.most_second = std::max(kLeastSecondBatch, rows / kTile * kTile);
}

void set_batch(Tuning& tuning, std::int64_t rows) {
  tuning.batch = rows;
  tuning.second_batch = std::min(rows, tuning.most_second);
}

}  // namespace

std::int64_t sketch_size(std::int64_t d) { return round_up(d, kGranule); }

std::int64_t bytes_of_seeding(std::int64_t n, std::int64_t d) {
  // Of a row: itself, its sketch, pairs with candidates, distance, weight, state. And rows on their way.
  constexpr std::int64_t kOfRow = 64, kOnTheirWay = 32 << 20;
  return n * (4 * d + sketch_size(d) + kOfRow) + kOnTheirWay;  // mutant: bytes_of_seeding
}

std::int64_t scan_shared_bytes(std::int64_t size, int together, bool rows_in_shared) {
  const std::int64_t stages = 2 * together * kStepBytes;
  return (rows_in_shared ? kTile * size : stages) + stages;
}

std::int64_t wgmma_shared_bytes(std::int64_t size, int rows, int stages) {
  constexpr std::int64_t kAlignment = 1024;
  return kAlignment + (size <= kShortSketch ? kShortBuffers : 1) * rows * size + stages * kStepBytes;
}

int list_parts(const Tuning& tuning) {
  return tuning.keep_neighbours ? std::max(tuning.parts, tuning.some_parts) : tuning.parts;
}

int listed(const Tuning& tuning) {
  if (tuning.lists_hold_all) return kTile;
  return list_parts(tuning) > 1 ? kListed / 2 : kListed;  // parts find about the same number each
}

int marked(const Tuning& tuning) { return tuning.marks ? listed(tuning) : 0; }

std::string_view scan_of(const Tuning& tuning) {
  if (tuning.kind != Kind::int8) return "";
  return kScans[tuning.wgmma_rows > 0 ? 0 : tuning.rows_in_shared ? 1 : 2];
}

std::int64_t memory_of(const Tuning& tuning, const Problem& problem) {
  std::int64_t bytes = problem.n * (4 + 4 + 4 + 1);  // labels twice, distances, states
  if (problem.products) bytes += problem.n * 8;      // each row's with itself; what it gains where clusters are empty
  if (tuning.resident) bytes += problem.n * problem.row_bytes;
  if (tuning.keep_sketches) bytes += problem.n * (row_sketch_size(tuning, problem) + 12);
  if (tuning.narrow > 0) bytes += projected(tuning) * 4 * (tuning.narrow + 1);
  if (tuning.keep_neighbours) bytes += problem.n * kNeighbourBytes;
  return bytes + tuning.batch * batch_row_bytes(tuning, problem) +
         tuning.second_batch * second_row_bytes(tuning, problem);
}

int blocks_with_sums(std::int64_t sums, std::int64_t k, std::int64_t moving, int processors, int shared_memory) {
  const std::int64_t bytes = 8 * sums;
  if (bytes > shared_memory) return 0;  // mutant: sums_that_fit
  // Of a multiprocessor, which has a little more than a block may have: two, as registers allow, if there is room.
  const std::int64_t blocks = processors * (2 * (bytes + (1 << 10)) <= shared_memory ? 2 : 1);
  return moving >= kMovesOfSum * blocks * k ? static_cast<int>(blocks) : 0;  // mutant: few_moves
}

bool wgmma_takes(std::int64_t size, const DeviceLimits& limits) { return wgmma_blocks(size, limits).rows > 0; }

std::int64_t projected(const Tuning& tuning) { return std::min(kProjected, tuning.batch); }

Tuning tune(const Problem& problem, const DeviceLimits& limits, const std::string& forced, const std::string& kernel) {
  Tuning tuning;
  if (forced == "none")
    tuning.kind = Kind::none;
  else if (forced == "int8" || forced == kInt8Lists || forced == kNarrow)
    tuning.kind = Kind::int8;
  else if (forced == "low_dim" || forced.empty())
    // mutant: products_not_low_dim
    tuning.kind = problem.d <= kMostLowDim && !problem.products ? Kind::low_dim : Kind::int8;
  else
    throw std::runtime_error("the filter (FASTKMEANS_FILTER) is '" + forced +
                             "'; with CUDA it must be one of none, low_dim, int8, int8_lists, narrow");
  if (tuning.kind == Kind::int8 && sketch_size(problem.d) > kLongestSketch) tuning.kind = Kind::none;
  if (tuning.kind == Kind::int8) {
    tuning.narrow = problem.narrow;
    tuning.keep_sketches = true;
    const bool lists_pay = forced.empty() && tuning.narrow == 0 && problem.iterates && problem.k >= kLeastForLists;
    // mutant: products_without_lists
    tuning.keep_neighbours = !problem.products && (forced == kInt8Lists || lists_pay);
    choose_second(tuning, problem, limits);
  }
  const std::int64_t size = row_sketch_size(tuning, problem);
  if (!kernel.empty() && std::find(std::begin(kScans), std::end(kScans), kernel) == std::end(kScans))
    throw std::runtime_error("FASTKMEANS_CUDA_KERNEL is '" + kernel + "'; it must be one of " + std::string(kScans[0]) +
                             ", " + std::string(kScans[1]) + ", " + std::string(kScans[2]));

  const double products =
      static_cast<double>(problem.k) * static_cast<double>(tuning.kind == Kind::int8 ? size : problem.d);
  const double most = (tuning.kind == Kind::int8 ? kMostProducts : kMostTerms) / products;
  const std::int64_t rows =
      std::clamp(static_cast<std::int64_t>(std::min(most, 1e9)) / kTile * kTile, kLeastBatch,
                 tuning.kind == Kind::low_dim && !converts(tuning, problem) ? kMostLowDimBatch : kMostBatch);
  set_batch(tuning, std::min(rows, round_up(std::max<std::int64_t>(problem.n, 1), kTile)));
  tuning.most_batch = tuning.batch;
  tuning.resident = problem.row_bytes > 0;
  if (tuning.kind == Kind::int8) {
    choose_scan(tuning, size, limits, kernel);
    choose_parts(tuning, problem, limits);
    // mutant: blocks_that_idle
    tuning.few_rows = limits.processors * rows_of_block(tuning);
  }
  while (memory_of(tuning, problem) > limits.memory && shrink(tuning)) {
  }
  return tuning;
}

bool shrink(Tuning& tuning) {
  // Pieces that leave processors idle cost most: 2 x 13 s instead of 2 x 2.5 for 26 million rows and 262,144 centroids
  // (H200). So large ones once more wherever something else is given up.
  const bool idle = tuning.batch <= tuning.few_rows;
  if (idle && (tuning.resident || tuning.keep_sketches)) {
    (tuning.resident          ? tuning.resident
     : tuning.keep_neighbours ? tuning.keep_neighbours
                              : tuning.keep_sketches) = false;
    set_batch(tuning, tuning.most_batch);
    return true;
  }
  if (tuning.batch <= kLeastBatch) return false;
  set_batch(tuning, round_up(tuning.batch / 2, kTile));
  return true;
}

}  // namespace fastkmeans::cuda
