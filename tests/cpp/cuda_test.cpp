// SPDX-License-Identifier: Apache-2.0
// Fits on a CUDA device beside the oracle: what the fits of other tests, which run on all paths, do not reach. Small
// enough for compute-sanitizer (scripts/gpu_check.sh).
#include <chrono>
#include <thread>

#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

TEST_F(CudaFits, EveryFilter) {
  Random random(301);
  for (const auto& [filter, d] :
       {std::pair("none", 7), std::pair("low_dim", 3), std::pair("low_dim", 40), std::pair("int8", 20),
        std::pair("int8", 130), std::pair("int8_lists", 20), std::pair("int8_lists", 130)})
    for (const Kind kind : {Kind::normal, Kind::duplicates, Kind::outliers}) {
      SCOPED_TRACE(::testing::Message() << filter << " d " << d << " kind " << static_cast<int>(kind));
      expect_oracle(random_rows(kind, 300, d, random), 140, filter);
    }
}

// Sketches of more than 1024 elements are made by blocks; with more than 16384 there are none.
TEST_F(CudaFits, LongRows) {
  Random random(302);
  expect_oracle(random_rows(Kind::normal, 40, 1100, random), 9, "int8");
  expect_oracle(random_rows(Kind::normal, 12, 16385, random), 3, "int8");
}

// Bulk copies: of wgmma.
TEST_F(CudaFits, EveryKernelBulk) {
  Random random(303);
  const Matrix x = random_rows(Kind::normal, 500, 200, random);
  expect_every_kernel([&] { return expect_oracle(x, 300, "int8"); });
  const Environment unknown("FASTKMEANS_CUDA_KERNEL", "none_such");
  Params params = params_of(3, 1, 0);
  params.execution = on(Path{"cuda", "int8"});
  expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"none_such", "mma_rows_in_turn"});
}

// Tiles of one step, of two that begin together, and of a third after them; more tiles than are on their way at once.
TEST_F(CudaFits, ShortRowsBulk) {
  Random random(331);
  for (const std::int64_t d : {40, 64, 100, 128, 190}) {
    SCOPED_TRACE(d);
    const Result got = expect_oracle(random_rows(Kind::normal, 2000, d, random), 1700, "int8");
    for (const IterationStats& stats : got.iterations)
      EXPECT_EQ(stats.filter.kernel == "wgmma", runs_code_for_hopper()) << stats.filter.kernel;
  }
}

// Blocks of 256, 192 and 128 rows, with many steps on their way and with few: as shared memory has room.
TEST_F(CudaFits, LongRowsBulk) {
  Random random(313);
  for (const std::int64_t d : {600, 704, 770, 960, 1000, 1500}) {
    SCOPED_TRACE(d);
    const Result got = expect_oracle(random_rows(Kind::normal, 400, d, random), 290, "int8");
    for (const IterationStats& stats : got.iterations)
      EXPECT_EQ(stats.filter.kernel == "wgmma", runs_code_for_hopper()) << stats.filter.kernel;
  }
}

Params from_copies(const Matrix& copies, int niter) {
  Params params = params_of(copies.rows, niter, -1);
  params.init = copies.view();
  return params;
}
Matrix copies_of(const Matrix& x, std::int64_t row, std::int64_t count) {
  Matrix copies(count, x.cols);
  for (std::int64_t c = 0; c < count; ++c) std::copy_n(x.row(row), x.cols, copies.row(c));
  return copies;
}
// All rows in a clump that the first digits of sketches do not resolve, but a few far away.
Matrix clump_of(std::int64_t n, std::int64_t d, Random& random) {
  Matrix clump = random_rows(Kind::normal, n, d, random);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < d; ++j) clump.row(i)[j] = clump.row(i)[j] * 0x1p-6f + (i % 50 ? 1.0f : 100.0f);
  return clump;
}

// More rows than all warpgroups of a device have at once: each takes several groups of them, the last one not full. Two
// tiles of centroids, and more than are on their way at once; lists that run over in every group.
TEST_F(CudaFits, ShortRowsInTurnsBulkHeavy) {
  Random random(332);
  constexpr std::int64_t kRows = 100'037;
  for (const std::int64_t d : {64, 128})
    for (const bool clumped : {false, true}) {
      const Matrix x = clumped ? clump_of(kRows, d, random) : random_rows(Kind::normal, kRows, d, random);
      for (const std::int64_t k : {130, 1100}) {
        SCOPED_TRACE(::testing::Message() << "d " << d << " k " << k << (clumped ? ", a clump" : ""));
        Params params = params_of(k, 2, -1);
        params.labels = true;
        params.execution = on(Path{"", ""}, 2);
        const Result expected = fit(x.view(), params);
        params.execution = on(Path{"cuda", "int8"});
        const Result got = fit(x.view(), params);
        expect_same(got, expected);
        for (const IterationStats& stats : got.iterations) {
          EXPECT_EQ(stats.filter.filter, "int8");
          EXPECT_EQ(stats.filter.kernel == "wgmma", runs_code_for_hopper()) << stats.filter.kernel;
        }
      }
    }
}

// All rows in one place but a few: lists run over, and are scanned again. Against copies of one centroid, which no
// bound can tell apart, they run over once more.
TEST_F(CudaFits, ListsThatRunOver) {
  Random random(304);
  Matrix x = random_rows(Kind::normal, 3000, 70, random);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) x.row(i)[j] = x.row(i)[j] * 0x1p-12f + (i % 50 ? 1.0f : 100.0f);
  constexpr std::int64_t kListed = 64, kSecond = 8 * 128;  // places in the lists of a row
  for (const char* filter : {"int8", "int8_lists"}) expect_oracle(x, 2500, filter);

  // The first digit of a sketch tells none of these centroids apart, both do: no row has many candidates left.
  const Matrix clump = clump_of(3000, 70, random);
  const std::int64_t refined = expect_oracle(clump, 2500, "int8").iterations[0].filter.refined;
  EXPECT_GT(refined, kListed * clump.rows / 2);  // the first lists did run over
  EXPECT_LT(refined, 3 * kListed * clump.rows);
  expect_oracle(clump, 2500, "int8_lists");

  const Matrix copies = copies_of(x, 1, 2500);
  const Result got = expect_oracle(x, from_copies(copies, 2), "int8");
  EXPECT_GT(got.iterations[0].filter.refined, kSecond * x.rows);
}

// Lists have room for all centroids of a single tile: D to the others is computed once, even of copies, which no bound
// can tell apart. With one centroid more they run over, and in the end D of all pairs decides.
TEST_F(CudaFits, ListsThatHoldAllCentroids) {
  Random random(314);
  const Matrix x = random_rows(Kind::normal, 1000, 70, random);
  for (const std::int64_t k : {1, 2, 64, 65, 127, 128, 129}) {
    SCOPED_TRACE(k);
    const Matrix copies = copies_of(x, 1, k);
    const Result got = expect_oracle(x, from_copies(copies, 2), "int8");  // of few centroids on a sample
    if (k <= 128)
      EXPECT_EQ(got.iterations[0].filter.refined, (k - 1) * got.n_used);
    else
      EXPECT_GT(got.iterations[0].filter.refined, k * got.n_used);
  }
}

// With so little memory 4096 rows left over are scanned at a time (CudaTuningNoOracle.RowsLeftOver).
TEST_F(CudaFits, MoreRowsLeftOverThanATurnTakes) {
  Random random(315);
  constexpr std::int64_t kListed = 64, kMemory = 64 << 20;
  for (const std::int64_t n : {4095, 4096, 4097, 8193}) {
    SCOPED_TRACE(n);
    const Matrix clump = clump_of(n, 70, random);
    std::int64_t refined = expect_oracle(clump, params_of(300, 2, -1), "int8", kMemory).iterations[0].filter.refined;
    EXPECT_GT(refined, kListed * n / 2);  // the first lists did run over
    EXPECT_LT(refined, 3 * kListed * n);  // those of both digits did not
    const Matrix copies = copies_of(clump, 1, 300);
    refined = expect_oracle(clump, from_copies(copies, 2), "int8", kMemory).iterations[0].filter.refined;
    EXPECT_GT(refined, copies.rows * n);
  }
}

// More tiles of rows left over than there are blocks, which take one after the other.
TEST_F(CudaFits, BlocksTakeTileAfterTileHeavy) {
  Random random(316);
  constexpr std::int64_t kListed = 64;
  const Matrix clump = clump_of(237'013, 20, random);
  for (const char* kernel : {"", "mma_rows_in_turn"}) {
    SCOPED_TRACE(kernel);
    const Environment forced("FASTKMEANS_CUDA_KERNEL", kernel);
    Params params = params_of(140, 1, -1);
    params.max_points_per_centroid.reset();
    const std::int64_t refined = expect_oracle(clump, params, "int8").iterations[0].filter.refined;
    EXPECT_GT(refined, kListed * clump.rows / 2);
    EXPECT_LT(refined, 3 * kListed * clump.rows);
  }
}

// Rows of which none may come to the host one by one.
class FarRows final : public Source {
 public:
  explicit FarRows(const MatrixView& x) : rows_(x) {}
  std::int64_t rows() const override { return rows_.rows(); }
  std::int64_t cols() const override { return rows_.cols(); }
  DType dtype() const override { return rows_.dtype(); }
  Place place() const override { return rows_.place(); }
  MatrixView batch(std::int64_t first, std::int64_t count) const override { return rows_.batch(first, count); }
  void gather(const std::int64_t*, std::int64_t count, float*, Workers&) const override {
    EXPECT_EQ(count, 0) << "rows were fetched";
  }
  std::unique_ptr<Source> subset(std::vector<std::int64_t> rows, Workers& workers) const override {
    return rows_.subset(std::move(rows), workers);
  }
  std::int64_t number(std::int64_t i) const override { return rows_.number(i); }
  std::int64_t index(std::int64_t number) const override { return rows_.index(number); }
  const std::int64_t* weights() const override { return nullptr; }

 private:
  HostArray rows_;
};

// Once all rows are on the device, those that become centroids are copied there; they differ, as their hashes tell.
TEST_F(CudaFits, InitialRowsStayOnTheDevice) {
  Random random(312);
  const Matrix x = random_rows(Kind::normal, 900, 33, random);
  for (const Metric* metric : {&euclidean(), &spherical()}) {
    Params params = params_of(200, 3, -1);
    params.execution = on("scalar");
    Workers workers(2, {});
    NoReducer reducer;
    const Result expected = fit_shard(HostArray(x.view()), *metric, params, reducer, workers);
    params.execution = on(Path{"cuda", "int8"});
    expect_same(fit_shard(FarRows(x.view()), *metric, params, reducer, workers), expected);
  }
}

// Lists of neighbours: most rows need no scan once the centroids move little, whatever the run before left behind; and
// one centroid that jumps, here to a row that was far from all, is scored by all rows.
TEST_F(CudaFits, ListsOfNeighbours) {
  Random random(310);
  Matrix x = random_rows(Kind::normal, 4000, 70, random);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) x.row(i)[j] += 3.0f * static_cast<float>((i % 40 * 7 + j * 13) % 5);
  for (std::int64_t j = 0; j < x.cols; ++j) x.row(17)[j] = 1e3f;
  Params params = params_of(30, 12, -1);
  params.nredo = 2;
  const Result got = expect_oracle(x, params, "int8_lists");
  ASSERT_EQ(got.iterations.size(), 12u);
  EXPECT_EQ(got.iterations[0].filter.scored, x.rows * 30);
  EXPECT_LT(got.iterations[11].filter.scored, x.rows * 30 / 2);
  // A row far from all becomes a centroid of its own: given centroids, one of which no row is near.
  Matrix init(3, 70);
  for (std::int64_t c = 0; c < 2; ++c) std::copy_n(x.row(c), 70, init.row(c));
  for (std::int64_t j = 0; j < 70; ++j) init.row(2)[j] = -1e4f;
  params = params_of(3, 6, -1);
  params.init = init.view();
  EXPECT_EQ(expect_oracle(x, params, "int8_lists").iterations[0].relocated, 1);
}

// Rows far from the centre, with errors of their sketches that are much larger than the distances: what a list promises
// is a difference of numbers that large, and must not rise by their rounding. Movers keep the lists in use.
TEST_F(CudaFits, ListsOfNeighboursWithLargeErrors) {
  Random random(311);
  Matrix x(3000, 70), init(60, 70);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      // Six clumps, in each ten clusters in a row, with one point in twenty between them.
      const auto clump = static_cast<float>(i % 6), cluster = static_cast<float>(i / 6 % 10);
      const float at = i % 20 ? cluster : cluster + 0.5f;
      x.row(i)[j] = 120.0f * (clump - 2.5f) * (j % 2 ? 1.0f : -1.0f) + (j == 3 ? 1e-3f * at : 0.0f) +
                    1e-4f * static_cast<float>(draw(random, 0, 9));
    }
  for (std::int64_t c = 0; c < init.rows; ++c) std::copy_n(x.row(c / 10 * 6 + c % 6 + 300 * (c % 3)), 70, init.row(c));
  Params params = params_of(init.rows, 15, -1);
  params.init = init.view();
  const Result got = expect_oracle(x, params, "int8_lists");
  ASSERT_GT(got.iterations.size(), 4u);
  EXPECT_LT(got.iterations.back().filter.scored, x.rows * init.rows);
}

// Rows that do not fit stay on the host, and cross the bus in many pieces.
TEST_F(CudaFits, MemoryLimit) {
  Random random(305);
  const Matrix x = random_rows(Kind::normal, 20'000, 96, random);  // 7.7 MB
  expect_oracle(x, 60, "int8");
  expect_oracle(x, 60, "int8", 6 << 20);
  expect_oracle(x, 60, "int8", 3 << 20);
  Params params = params_of(60, 1, 0);
  params.execution = on(Path{"cuda", "int8"});
  params.execution.memory_limit = 1000;
  expect_contains(message_of<std::runtime_error>([&] { fit(x.view(), params); }), {"CUDA", "memory_limit"});
}

TEST_F(CudaFits, ShardsWeightsAndMetrics) {
  Random random(306);
  const Matrix x = random_rows(Kind::integers, 200, 30, random);
  std::vector<std::int64_t> weights;
  for (std::int64_t i = 0; i < x.rows; ++i) weights.push_back(draw(random, 0, 3));
  for (const Metric* metric : {&euclidean(), &spherical()}) {
    Params params = params_of(20, 6, 0);
    params.execution = on("scalar");
    const Result expected = fit_on_shards(x.view(), {x.rows}, params, *metric, weights.data())[0];
    for (const char* filter : {"int8", "int8_lists"})
      for (const Ends& ends : {Ends{x.rows}, Ends{70, 70, x.rows}}) {
        params.execution = on(Path{"cuda", filter});
        expect_same(fit_on_shards(x.view(), ends, params, *metric, weights.data())[0], expected);
      }
  }
}

// What initialisations ask of a shard.
TEST_F(CudaFits, DistancesAndMasses) {
  Random random(307);
  const Matrix x = random_rows(Kind::normal, 500, 33, random), c = centroids_near(x, 12, random);
  Workers workers(1, {});
  const HostArray rows(x.view());
  const auto ours = make_shard(rows, euclidean(), on(Path{"cuda", ""}), workers);
  const auto oracle = make_shard(rows, euclidean(), on("scalar"), workers);
  for (const std::int64_t first : {0, 7}) {
    const CentroidsView some = {c.row(first), first ? 5 : 7, c.cols};
    for (Shard* shard : {ours.get(), oracle.get()}) shard->lower_distances(some, first == 0);
    ASSERT_EQ(ours->largest_distance(), oracle->largest_distance());
    const Mass total = oracle->total_mass(10);
    ASSERT_TRUE(ours->total_mass(10) == total);
    const std::vector<Mass> shares = {0, total / 3, total - 1, total / 7};
    ASSERT_EQ(ours->rows_at(10, shares), oracle->rows_at(10, shares));
    const Matrix candidates = centroids_near(x, 5, random);
    ASSERT_TRUE(ours->masses_with(candidates.centroids(), 10) == oracle->masses_with(candidates.centroids(), 10));
  }
}

TEST_F(CudaFits, InterruptAndFitAgain) {
  Random random(308);
  const Matrix x = random_rows(Kind::normal, 20'000, 80, random);
  Params params = params_of(1'000, 50, -1);
  params.execution = on(Path{"cuda", "int8"});
  bool stop = false;
  params.callback = [&stop](const IterationStats&) {
    stop = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // until the next look is due
    return false;
  };
  params.execution.interrupt = [&stop] { return stop; };
  EXPECT_THROW(fit(x.view(), params), Interrupted);
  expect_oracle(random_rows(Kind::normal, 200, 5, random), 9, "low_dim");
}

}  // namespace
}  // namespace fastkmeans::testing
