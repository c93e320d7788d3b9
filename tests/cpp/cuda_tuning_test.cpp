// SPDX-License-Identifier: Apache-2.0
// What the host decides for a CUDA device: how assignments are cut into pieces, and whether there are narrow sketches.
// All of it is tested without one.
#include <utility>

#include "cuda/error.hpp"
#include "cuda/lists_plan.hpp"
#include "cuda/movers.hpp"
#include "cuda/narrow_plan.hpp"
#include "cuda/tuning.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

namespace cuda = fastkmeans::cuda;

constexpr cuda::DeviceLimits kH100 = {
    .processors = 132, .shared_memory = 227 << 10, .memory = std::int64_t{70} << 30, .wgmma = true};

cuda::Problem problem(std::int64_t n, std::int64_t d, std::int64_t k) {
  return {.n = n, .d = d, .k = k, .row_bytes = 4 * d, .stored = cuda::Stored::floats};
}

TEST(CudaTuningNoOracle, FilterByDimensions) {
  EXPECT_EQ(cuda::tune(problem(1000, 64, 10), kH100, "", "").kind, cuda::Kind::low_dim);
  EXPECT_EQ(cuda::tune(problem(1000, 65, 10), kH100, "", "").kind, cuda::Kind::int8);
  EXPECT_EQ(cuda::tune(problem(1000, 8, 10), kH100, "int8", "").kind, cuda::Kind::int8);
  EXPECT_EQ(cuda::tune(problem(1000, 65, 10), kH100, "low_dim", "").kind, cuda::Kind::int8);
  EXPECT_EQ(cuda::tune(problem(1000, 16384, 10), kH100, "", "").kind, cuda::Kind::int8);
  EXPECT_EQ(cuda::tune(problem(1000, 16385, 10), kH100, "", "").kind, cuda::Kind::none);
  EXPECT_EQ(cuda::tune(problem(1000, 65, 10), kH100, "none", "").kind, cuda::Kind::none);
  expect_contains(message_of<std::runtime_error>([] { cuda::tune(problem(9, 9, 9), kH100, "fp32", ""); }),
                  {"fp32", "none", "low_dim", "int8", "int8_lists", "narrow"});
}

// Inner products have neither low_dim nor lists of neighbours, and take memory for each row's own.
TEST(CudaTuningNoOracle, ProductsTakeInt8OrNone) {
  for (const std::int64_t d : {8, 65}) {
    cuda::Problem of_products = problem(1 << 20, d, 1 << 17);
    of_products.iterates = of_products.products = true;
    for (const char* forced : {"", "low_dim", "int8", "int8_lists"}) {
      const cuda::Tuning tuning = cuda::tune(of_products, kH100, forced, "");
      EXPECT_EQ(tuning.kind, cuda::Kind::int8) << forced;
      EXPECT_FALSE(tuning.keep_neighbours) << forced;
    }
    EXPECT_EQ(cuda::tune(of_products, kH100, "none", "").kind, cuda::Kind::none);
    const cuda::Tuning tuning = cuda::tune(of_products, kH100, "int8", "");
    cuda::Problem of_distances = of_products;
    of_distances.products = false;
    EXPECT_EQ(cuda::memory_of(tuning, of_products), cuda::memory_of(tuning, of_distances) + 8 * of_products.n);
  }
}

// Memory for rows in fp32: where they are of other types, or have 16 bits and the filter takes none.
TEST(CudaTuningNoOracle, RowsThatAreMadeFp32) {
  const auto memory = [](cuda::Problem rows, const char* filter, cuda::Stored stored) {
    const cuda::Tuning tuning = cuda::tune(rows, kH100, filter, "");
    rows.stored = stored;
    return cuda::memory_of(tuning, rows);
  };
  using enum cuda::Stored;
  for (const char* filter : {"none", "int8", "low_dim"})
    for (const std::int64_t narrow : {0, 64}) {
      cuda::Problem rows = problem(100'000, 60, 500);
      rows.narrow = std::string(filter) == "int8" ? narrow : 0;
      const std::int64_t as_they_are = memory(rows, filter, floats), converted = memory(rows, filter, otherwise);
      EXPECT_LT(as_they_are, converted);
      const bool takes_halves = std::string(filter) != "low_dim" && rows.narrow == 0;
      EXPECT_EQ(memory(rows, filter, halves), takes_halves ? as_they_are : converted) << filter << narrow;
    }
  cuda::Problem few_dimensions = problem(1 << 23, 8, 256);
  EXPECT_EQ(cuda::tune(few_dimensions, kH100, "", "").batch, 1 << 23);
  few_dimensions.stored = halves;
  EXPECT_EQ(cuda::tune(few_dimensions, kH100, "", "").batch, 1 << 22);
}

// An interrupt waits for a piece: at most so many multiply-adds, but at least one tile of rows.
TEST(CudaTuningNoOracle, PiecesAreShort) {
  for (const std::int64_t d : {8, 128, 384, 1536, 20'000})
    for (const std::int64_t k : {1, 1000, 131'072, 4'000'000}) {
      const cuda::Tuning tuning = cuda::tune(problem(std::int64_t{1} << 30, d, k), kH100, "", "");
      const bool sketched = tuning.kind == cuda::Kind::int8;
      const double products = static_cast<double>(tuning.batch) * static_cast<double>(k) *
                              static_cast<double>(sketched ? cuda::sketch_size(d) : d);
      EXPECT_LE(products, tuning.batch == 128 ? 1e14 : sketched ? 1e13 : 2e11) << "d " << d << " k " << k;
      EXPECT_EQ(tuning.batch % 128, 0);
      EXPECT_GE(tuning.batch, 128);
      EXPECT_GE(tuning.parts, 1);
    }
}

// Blocks have sums of their own where these fit, and where many more rows move than there are sums.
TEST(CudaTuningNoOracle, BlocksHaveSums) {
  const auto blocks = [](std::int64_t k, std::int64_t d, std::int64_t moving) {
    return cuda::blocks_with_sums(cuda::sums_of_block(k, d, false, false), k, moving, kH100.processors,
                                  kH100.shared_memory);
  };
  EXPECT_EQ(cuda::sums_of_block(256, 8, false, false), 256 * 9);
  EXPECT_EQ(cuda::sums_of_block(256, 8, true, true), 256 * 18);
  EXPECT_EQ(blocks(256, 8, 10'000'000), 264);
  EXPECT_EQ(blocks(256, 32, 10'000'000), 264);
  EXPECT_EQ(blocks(256, 64, 10'000'000), 132) << "fits once";
  EXPECT_EQ(blocks(454, 63, 10'000'000), 132) << "just fits";
  EXPECT_EQ(blocks(455, 63, 10'000'000), 0);
  EXPECT_EQ(blocks(256, 8, 8 * 264 * 256), 264);
  EXPECT_EQ(blocks(256, 8, 8 * 264 * 256 - 1), 0);
  EXPECT_EQ(blocks(256, 64, 8 * 132 * 256), 132);
  EXPECT_EQ(blocks(std::int64_t{1} << 40, 1 << 10, std::int64_t{1} << 50), 0);
}

TEST(CudaTuningNoOracle, FewRowsShareTheCentroidsAmongBlocks) {
  EXPECT_EQ(cuda::tune(problem(1 << 24, 128, 1 << 17), kH100, "", "").parts, 1);
  EXPECT_GT(cuda::tune(problem(1000, 128, 1 << 17), kH100, "", "").parts, 16);
  EXPECT_EQ(cuda::tune(problem(1000, 128, 200), kH100, "", "").parts, 1);
}

// Rows whose lists ran over: all of a piece at once, or as many as a small share of the memory has room for, and not
// too much of it; of a single tile of centroids there are none.
TEST(CudaTuningNoOracle, RowsLeftOver) {
  cuda::DeviceLimits h200 = kH100, small = kH100;
  h200.memory *= 2;
  small.memory = 64 << 20;
  const cuda::Tuning tokens = cuda::tune(problem(2'621'440, 128, 4096), h200, "", "");
  EXPECT_EQ(tokens.batch, 2'621'440);
  EXPECT_GT(tokens.second_batch, tokens.batch / 8);
  const cuda::Problem large = problem(1 << 24, 128, 65'536);
  cuda::Tuning tuning = cuda::tune(large, kH100, "", "");
  EXPECT_LT(tuning.second_batch, tuning.batch);
  EXPECT_GT(tuning.second_batch, tuning.batch / 10);
  cuda::Tuning without = tuning;
  without.second_batch = 0;
  EXPECT_LE(cuda::memory_of(tuning, large) - cuda::memory_of(without, large), 512 << 20);
  EXPECT_EQ(cuda::tune(problem(100'000, 128, 4096), h200, "", "").second_batch, 782 * 128) << "all of them";
  for (const std::int64_t n : {4095, 4097, 8193}) {
    tuning = cuda::tune(problem(n, 70, 300), small, "", "");
    EXPECT_GE(tuning.batch, n);
    EXPECT_EQ(tuning.second_batch, 4096);
  }
  for (const std::int64_t k : {1, 128, 129})
    for (const char* filter : {"int8", "int8_lists"}) {
      SCOPED_TRACE(::testing::Message() << filter << " k " << k);
      tuning = cuda::tune(problem(1000, 128, k), kH100, filter, "");
      const bool hold_all = k <= 128 && !tuning.keep_neighbours;
      EXPECT_EQ(tuning.second_batch, hold_all ? 0 : 1024);
      EXPECT_EQ(cuda::listed(tuning), hold_all ? 128 : 64);
    }
  EXPECT_EQ(cuda::tune(problem(1000, 20'000, 300), kH100, "", "").second_batch, 0) << "nothing is sketched";
}

TEST(CudaTuningNoOracle, ListsOfNeighboursWhereTheyPay) {
  cuda::Problem large = problem(1 << 20, 128, 1 << 17), small = problem(1 << 20, 128, 1000);
  for (cuda::Problem* problem : {&large, &small}) {
    EXPECT_FALSE(cuda::tune(*problem, kH100, "", "").keep_neighbours) << "one assignment needs none";
    problem->iterates = true;
    EXPECT_EQ(cuda::tune(*problem, kH100, "", "").keep_neighbours, problem == &large);
    EXPECT_FALSE(cuda::tune(*problem, kH100, "int8", "").keep_neighbours);
    EXPECT_TRUE(cuda::tune(*problem, kH100, "int8_lists", "").keep_neighbours);
  }
}

// In which assignments lists are kept.
class CudaListsPlanNoOracle : public ::testing::Test {
 protected:
  static constexpr double kFew = 1, kMany = 30;  // distances a row, of which a scan takes the time of 9

  static cuda::ListsPlan plan(bool forced = false) {
    return cuda::ListsPlan(problem(1 << 21, 128, 1 << 14), kH100, forced);
  }
  // Assignments without lists, until one has them again.
  static int rests(cuda::ListsPlan& plan) {
    int count = 0;
    while (!plan.begin() && count < 100) ++count;
    return count;
  }
};

TEST_F(CudaListsPlanNoOracle, RestWhileTheyAreMadeInVain) {
  cuda::ListsPlan lists = plan();
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(rests(lists), 0);
    lists.carried(0.8, kFew);
  }
  int expected = 4;
  for (int round = 0; round < 4; ++round) {
    lists.carried(0.95, kFew);
    EXPECT_EQ(rests(lists), expected *= 2);
    EXPECT_EQ(rests(lists), 0);
  }
}

TEST_F(CudaListsPlanNoOracle, RestWhereTheyRefineMoreThanTheySave) {
  cuda::ListsPlan lists = plan();
  lists.carried(0, 4);
  EXPECT_EQ(rests(lists), 0);
  lists.carried(0.7, kMany);
  EXPECT_EQ(rests(lists), 8);
}

TEST_F(CudaListsPlanNoOracle, ForcedOnesNever) {
  cuda::ListsPlan lists = plan(true);
  lists.carried(1, kMany);
  EXPECT_EQ(rests(lists), 0);
}

// Looked for where rows are long and an assignment is; taken where few centroids would be left.
TEST(CudaTuningNoOracle, NarrowSketchesWhereTheyPay) {
  cuda::Problem large = problem(2'000'000, 1024, 16'384);
  large.iterates = true;
  EXPECT_TRUE(cuda::worth_a_survey(large, kH100, ""));
  EXPECT_FALSE(cuda::worth_a_survey(large, kH100, "int8"));
  cuda::Problem shorter = large, fewer = large, short_rows = large, long_rows = large;
  short_rows.d = 383;
  fewer.n = 20'000;
  long_rows.d = 16'385;
  shorter.k = 64;
  for (const cuda::Problem& other : {shorter, fewer, short_rows}) {
    EXPECT_FALSE(cuda::worth_a_survey(other, kH100, ""));
    EXPECT_TRUE(cuda::worth_a_survey(other, kH100, "narrow"));
  }
  cuda::Problem once = large, products = large;
  once.iterates = false;
  EXPECT_FALSE(cuda::worth_a_survey(once, kH100, "")) << "one assignment wins a tenth";
  products.products = true;
  for (const char* forced : {"", "narrow"}) EXPECT_FALSE(cuda::worth_a_survey(products, kH100, forced));
  EXPECT_FALSE(cuda::worth_a_survey(long_rows, kH100, "narrow"));

  const auto size_of = [&](const cuda::Problem& problem, const std::vector<cuda::NarrowWidth>& widths,
                           const char* forced) {
    const cuda::NarrowWidth* const width = cuda::choose_width(problem, kH100, forced, widths);
    return width ? width->size : 0;
  };
  const cuda::NarrowWidth few = {64, 0, 2.1, 0}, more = {128, 0, 2, 0}, many = {64, 0, 900, 1},
                          fewer_left = {256, 0, 2, 0};
  EXPECT_EQ(size_of(large, {few, more}, ""), 64) << "both leave nearly as many";
  EXPECT_EQ(size_of(large, {many, more, fewer_left}, ""), 128);
  EXPECT_EQ(size_of(large, {many, fewer_left}, ""), 256);
  EXPECT_EQ(size_of(large, {many}, ""), 0);
  EXPECT_EQ(size_of(large, {{64, 0, 11, 0}}, ""), 0) << "0.93 of the time is not worth it";
  EXPECT_EQ(size_of(large, {{64, 0, 10, 0}}, ""), 64);
  EXPECT_EQ(size_of(large, {many}, "narrow"), 64);
  EXPECT_EQ(size_of(large, {}, "narrow"), 0) << "no row could be used";
  EXPECT_EQ(size_of(large, {{64, 0, 3, 0.5}, fewer_left}, ""), 256) << "half of the rows would be scanned again";

  large.narrow = 128;
  const cuda::Tuning tuning = cuda::tune(large, kH100, "", "");
  EXPECT_EQ(tuning.narrow, 128);
  EXPECT_EQ(tuning.wgmma_rows, 256);
  EXPECT_FALSE(tuning.keep_neighbours);
  EXPECT_LT(cuda::most_refined(large, kH100), 13) << "what is saved, not all that the other scan takes";
  EXPECT_GT(cuda::most_refined(large, kH100), 10);
  cuda::Problem wide = large;
  wide.narrow = 0;
  EXPECT_EQ(cuda::tune(wide, kH100, "", "").wgmma_rows, 128) << "sketches of 1024 elements leave less room";
  EXPECT_LT(cuda::memory_of(tuning, large), cuda::memory_of(cuda::tune(wide, kH100, "int8", ""), wide));
}

// The narrow sketches of a fit, as its assignments find them.
class CudaNarrowPlanNoOracle : public ::testing::Test {
 protected:
  CudaNarrowPlanNoOracle() { large_.iterates = true; }

  void look(cuda::NarrowPlan& plan, const cuda::NarrowWidth& found, bool means = false) {
    plan.look(large_, kH100, means, [&] { return ++surveys_, std::vector{found}; });
  }
  void expect_none(const cuda::NarrowPlan& plan, bool looks_again) {
    EXPECT_EQ(plan.width(), nullptr);
    EXPECT_EQ(plan.size(), 0);
    EXPECT_EQ(plan.looks_again(), looks_again);
  }

  static constexpr cuda::NarrowWidth kFew = {64, 0.5f, 2, 0}, kMany = {128, 0, 900, 1};
  cuda::Problem large_ = problem(2'000'000, 1024, 16'384);
  int surveys_ = 0;
};

TEST_F(CudaNarrowPlanNoOracle, MeansAreTriedWhereRowsWinNothing) {
  cuda::NarrowPlan plan("");
  expect_none(plan, false);
  look(plan, kMany);
  expect_none(plan, true);
  look(plan, kMany, true);
  expect_none(plan, false);
  look(plan, kFew);
  ASSERT_NE(plan.width(), nullptr);
  EXPECT_EQ(plan.width()->typical_tail, 0.5f);
  EXPECT_EQ(plan.size(), 64);
  EXPECT_FALSE(plan.looks_again());
  EXPECT_EQ(surveys_, 3);
  large_.k = 10;  // and another fit of these rows
  look(plan, kFew);
  expect_none(plan, false);
  EXPECT_EQ(surveys_, 3) << "nothing to win";
}

TEST_F(CudaNarrowPlanNoOracle, TinyCentroidsWaitUntilTheyGrow) {
  for (const char* forced : {"", "narrow"}) {
    cuda::NarrowPlan plan(forced);
    large_.tiny = true;
    look(plan, kFew);
    expect_none(plan, true);
    EXPECT_EQ(surveys_, 0);
    large_.tiny = false;
    look(plan, kFew, true);
    EXPECT_EQ(plan.size(), 64);
    EXPECT_FALSE(plan.looks_again());
    EXPECT_EQ(std::exchange(surveys_, 0), 1);
  }
}

TEST_F(CudaNarrowPlanNoOracle, GivenUpForTheRestOfTheFit) {
  cuda::NarrowPlan plan("");
  look(plan, kFew);
  large_.narrow = plan.size();
  const double most = cuda::most_refined(large_, kH100);
  EXPECT_FALSE(plan.gives_up(large_, kH100, most));
  EXPECT_EQ(plan.size(), 64);
  EXPECT_TRUE(plan.gives_up(large_, kH100, 1.01 * most));
  expect_none(plan, false);
  EXPECT_FALSE(plan.gives_up(large_, kH100, 1.01 * most)) << "there are none";
  look(plan, kFew);
  expect_none(plan, false);
  EXPECT_EQ(surveys_, 1);

  cuda::NarrowPlan other(""), forced("narrow");
  look(other, kMany);
  other.rest();
  expect_none(other, false);
  look(forced, kMany);
  EXPECT_FALSE(forced.gives_up(large_, kH100, 1e9));
  EXPECT_EQ(forced.size(), 128);
}

TEST_F(CudaNarrowPlanNoOracle, GivenUpWhereMemoryIsShort) {
  cuda::NarrowPlan plan("");
  const auto fails = [&](const auto& error) {
    plan.look(large_, kH100, false, [&]() -> std::vector<cuda::NarrowWidth> { throw error; });
  };
  EXPECT_THROW(fails(cuda::Error("something else")), cuda::Error);
  fails(cuda::OutOfMemory("64 GiB"));
  expect_none(plan, false);
  look(plan, kFew);
  expect_none(plan, false);
  EXPECT_EQ(surveys_, 0);
}

// Against all choices there are: limits between two centroids, each with the rows that it opens.
TEST(CudaTuningNoOracle, MoversMakeTheLeastWork) {
  Random random(311);
  const FilterBound bound = FilterBound::of_sketches(128, 1);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> shifts(static_cast<std::size_t>(draw(random, 1, 300)));
    for (float& shift : shifts) shift = std::ldexp(static_cast<float>(draw(random, 0, 99)), draw(random, -30, 3));
    std::vector<float> slack(static_cast<std::size_t>(draw(random, 0, 200)));
    for (float& left : slack) left = std::ldexp(static_cast<float>(draw(random, 0, 99)), draw(random, -15, 2));
    std::vector<std::uint32_t> histogram(cuda::kBuckets);
    for (const float left : slack) ++histogram[static_cast<std::size_t>(cuda::bucket_of(left * left))];
    const cuda::Movers movers = cuda::choose_movers(shifts, histogram.data(), bound);

    EXPECT_EQ(movers.count, std::count_if(shifts.begin(), shifts.end(), [&](float s) { return s > movers.limit; }));
    for (const float shift : shifts)
      EXPECT_TRUE(shift > movers.limit || bound.radius(shift) <= static_cast<double>(movers.drift)) << shift;
    // A bucket's width more or less: at least as good as every choice whose drift is a bucket larger.
    const auto cost = [&](float limit, double drift) {
      const auto open = std::count_if(slack.begin(), slack.end(), [&](float left) { return left < drift; });
      const auto many = std::count_if(shifts.begin(), shifts.end(), [&](float s) { return s > limit; });
      return static_cast<double>(open) / static_cast<double>(std::max<std::size_t>(slack.size(), 1)) +
             static_cast<double>(many) / static_cast<double>(shifts.size());
    };
    for (const float limit : shifts)
      EXPECT_LE(cost(movers.limit, movers.drift), cost(limit, 1.3 * bound.radius(limit)) + 1e-12) << limit;
  }
}

// First rows of a piece, then rows from the host, lists of neighbours, sketches: each step takes less, and what is left
// fits.
TEST(CudaTuningNoOracle, LessMemoryTakesLess) {
  cuda::Problem colbert = problem(26'214'400, 128, 262'144);
  colbert.iterates = true;
  std::int64_t before = std::numeric_limits<std::int64_t>::max();
  for (const double gigabytes : {70.0, 17.0, 10.0, 5.0, 4.5, 1.0, 0.6}) {
    cuda::DeviceLimits limits = kH100;
    limits.memory = static_cast<std::int64_t>(gigabytes * 1e9);
    const cuda::Tuning tuning = cuda::tune(colbert, limits, "", "");
    const std::int64_t bytes = cuda::memory_of(tuning, colbert);
    EXPECT_LE(bytes, limits.memory) << gigabytes;
    EXPECT_LE(bytes, before);
    before = bytes;
    EXPECT_EQ(tuning.resident, gigabytes > 20) << gigabytes;
    EXPECT_EQ(tuning.keep_neighbours, gigabytes > 8) << gigabytes;
    EXPECT_EQ(tuning.keep_sketches, gigabytes > 4.2) << gigabytes;
    EXPECT_GE(tuning.batch, 132 * 256 / 2) << gigabytes << ": processors would idle";
  }
  cuda::Tuning least = cuda::tune(colbert, kH100, "", "");
  int steps = 0;
  while (cuda::shrink(least)) ASSERT_LT(++steps, 100);
  EXPECT_EQ(least.batch, 128);
}

TEST(CudaTuningNoOracle, KernelBySharedMemory) {
  cuda::DeviceLimits small = kH100;
  small.shared_memory = 99 << 10;  // compute capability 8.6
  EXPECT_TRUE(cuda::tune(problem(1000, 384, 1000), kH100, "", "").rows_in_shared);
  EXPECT_FALSE(cuda::tune(problem(1000, 1536, 1000), kH100, "", "").rows_in_shared);
  EXPECT_TRUE(cuda::tune(problem(1000, 384, 1000), small, "", "").rows_in_shared);
  EXPECT_FALSE(cuda::tune(problem(1000, 768, 1000), small, "", "").rows_in_shared);
  EXPECT_FALSE(cuda::tune(problem(1000, 128, 1000), kH100, "", "mma_rows_in_turn").rows_in_shared);
  expect_contains(
      message_of<std::runtime_error>([&] { cuda::tune(problem(9, 1536, 9), small, "", "mma_rows_in_shared"); }),
      {"mma_rows_in_shared", "too long"});
  expect_contains(message_of<std::runtime_error>([] { cuda::tune(problem(9, 99, 9), kH100, "", "tcgen05"); }),
                  {"tcgen05", "wgmma", "mma_rows_in_shared", "mma_rows_in_turn"});
}

// The scan on Hopper: as many rows a block as fit, and enough steps on their way.
TEST(CudaTuningNoOracle, BlocksOnHopper) {
  int before = 256;
  for (std::int64_t d = 65; d <= 1536; ++d) {
    const cuda::Tuning tuning = cuda::tune(problem(1000, d, 1000), kH100, "", "");
    const int rows = tuning.wgmma_rows, stages = tuning.wgmma_stages;
    EXPECT_LE(rows, before) << d;
    EXPECT_EQ(rows, d <= 704 ? 256 : d <= 960 ? 192 : 128) << d;
    EXPECT_GE(stages, rows == 128 ? 2 : 3) << d;
    const std::int64_t size = cuda::sketch_size(d);
    // Short sketches: whole tiles, one for each place of the ring.
    const int most = size <= cuda::kShortSketch ? static_cast<int>(cuda::kShortRing * size / cuda::kGranule) : 8;
    EXPECT_LE(stages, most) << d;
    EXPECT_EQ(tuning.marks, size <= cuda::kShortSketch);
    const auto shared = [&](int more) {
      return cuda::wgmma_shared_bytes(size, rows, stages + more) + cuda::wgmma_static_shared(rows);
    };
    EXPECT_LE(shared(0), kH100.shared_memory) << d;
    EXPECT_TRUE(stages == most || (size > cuda::kShortSketch && shared(1) > kH100.shared_memory)) << d;
    EXPECT_EQ(tuning.few_rows, 132 * rows);
    before = rows;
  }
}

// Of a row in a shard for initialisations: fp32, sketch with scale, norm, error and reach, two pairs of 12 bytes, a
// distance, a state, a weight. Rows on their way: two pieces of 8 MiB.
TEST(CudaTuningNoOracle, BytesOfSeeding) {
  for (const std::int64_t d : {1, 64, 128, 1000}) {
    const std::int64_t of_row = 4 * d + cuda::sketch_size(d) + 16 + 2 * 12 + 4 + 1 + 8;
    EXPECT_GE(cuda::bytes_of_seeding(100'000, d), 100'000 * of_row + (16 << 20)) << d;
    EXPECT_LE(cuda::bytes_of_seeding(100'000, d), 100'000 * (of_row + 32) + (32 << 20)) << d;
  }
}

TEST(CudaTuningNoOracle, HopperHasItsOwnScan) {
  const auto scan_of = [](std::int64_t d, const cuda::DeviceLimits& limits, const char* kernel) {
    return cuda::scan_of(cuda::tune(problem(1000, d, 1000), limits, "", kernel));
  };
  cuda::DeviceLimits older = kH100;
  older.wgmma = false;
  EXPECT_EQ(scan_of(128, kH100, ""), "wgmma");
  EXPECT_EQ(scan_of(512, kH100, ""), "wgmma");
  EXPECT_EQ(scan_of(1536, kH100, ""), "wgmma");
  EXPECT_EQ(scan_of(1600, kH100, ""), "mma_rows_in_turn");
  EXPECT_EQ(scan_of(64, kH100, ""), "") << "few dimensions are not scanned";
  EXPECT_EQ(scan_of(128, kH100, "mma_rows_in_shared"), "mma_rows_in_shared");
  EXPECT_EQ(scan_of(128, older, ""), "mma_rows_in_shared");
  expect_contains(message_of<std::runtime_error>([&] { scan_of(128, older, "wgmma"); }), {"wgmma", "does not have it"});
  expect_contains(message_of<std::runtime_error>([&] { scan_of(1600, kH100, "wgmma"); }), {"wgmma", "too long"});
  EXPECT_EQ(cuda::tune(problem(1 << 24, 128, 1 << 17), kH100, "", "").parts, 1);
  EXPECT_GT(cuda::tune(problem(1000, 128, 1 << 17), kH100, "", "").parts, 16);
}

}  // namespace
}  // namespace fastkmeans::testing
