// SPDX-License-Identifier: Apache-2.0
// Many problems in one call: each is a fit of its own, to the bit.
#include "batch.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "cuda_fits.hpp"
#include "source/joined.hpp"
#ifdef FASTKMEANS_CUDA
#include "cuda/device.hpp"
#endif

namespace fastkmeans::testing {
namespace {

// Problems of all sizes, with k of their own: one that is most of the work, some with fewer rows than k, one without.
struct Problems {
  std::vector<Matrix> rows, init;
  std::vector<MatrixView> views, starts;
  std::vector<std::int64_t> k;
  std::vector<double> weights;

  explicit Problems(Random& random) {
    for (const auto& [n, clusters] :
         {std::pair{20, 3}, {400, 20}, {3, 7}, {0, 2}, {1, 1}, {60, 60}, {35, 4}, {2, 40}}) {
      const Kind kind = kKinds[static_cast<std::size_t>(draw(random, 0, std::size(kKinds) - 1))];
      rows.push_back(random_rows(kind, n, 6, random));
      init.push_back(random_rows(Kind::normal, draw(random, 1, clusters), 6, random));
      k.push_back(clusters);
      for (int i = 0; i < n; ++i) weights.push_back(static_cast<double>(draw(random, i == 0, 3)));
    }
    for (const Matrix& x : rows) views.push_back(x.view());
    for (const Matrix& centroids : init) starts.push_back(centroids.view());
  }
};

void expect_fits_alone(const Problems& problems, const BatchParams& params, const Execution& alone) {
  const BatchResult got = fit_batch(problems.views, params);
  ASSERT_EQ(got.inertia.size(), problems.views.size());
  ASSERT_EQ(got.centroid_offsets.size(), problems.views.size() + 1);
  auto warning = got.warnings.begin();
  std::int64_t first_row = 0;
  for (std::size_t b = 0; b < problems.views.size(); ++b) {
    const std::int64_t n = problems.views[b].rows;
    Params own = params.each;
    own.k = problems.k[b];
    own.allow_fewer_rows = true;
    own.execution = alone;
    if (!params.init.empty()) own.init = params.init[b];
    if (!own.weights.empty())
      own.weights = own.weights.subspan(static_cast<std::size_t>(first_row), static_cast<std::size_t>(n));
    const Result expected = fit(problems.views[b], own);
    const auto begin = got.centroid_offsets[b];
    ASSERT_EQ(got.centroid_offsets[b + 1], begin + own.k);
    Result found;
    found.centroids.assign(got.centroids.begin() + begin * got.d, got.centroids.begin() + (begin + own.k) * got.d);
    if (params.each.labels) found.labels.assign(got.labels.begin() + first_row, got.labels.begin() + first_row + n);
    found.inertia = got.inertia[b];
    found.n_iter = got.n_iter[b];
    found.converged = got.converged[b];
    EXPECT_FALSE(got.timed_out[b]);
    found.n_used = got.n_used[b];
    found.n_zero = got.n_zero[b];
    found.n_empty = got.n_empty[b];
    for (; warning != got.warnings.end() && warning->problem == static_cast<std::int64_t>(b); ++warning)
      found.warnings.push_back(warning->warning);
    found.iterations = expected.iterations;  // a batch has none
    expect_same(found, expected);
    first_row += n;
  }
  EXPECT_EQ(warning, got.warnings.end());
  EXPECT_EQ(got.labels.size(), params.each.labels ? static_cast<std::size_t>(first_row) : 0);
}

void expect_fits_alone(std::string_view isa, std::string_view isa_alone) {
  Random random(1400);
  for (int round = 0; round < 6; ++round) {
    const Problems problems(random);
    BatchParams params;
    params.k = problems.k;
    params.each.niter = 4;
    params.each.seed = static_cast<std::uint64_t>(round);
    params.each.tol = round == 1 ? 0 : 1e-8;
    params.each.labels = round != 2;
    params.each.spherical = round == 3;
    params.each.nredo = round == 4 ? 2 : 1;
    params.each.max_points_per_centroid = round == 5 ? 7 : 256;
    params.each.inertia_tol = round == 4 ? 0.1 : 0;
    params.each.changed_tol = round == 5 ? 0.3 : 0;
    params.each.init_method = static_cast<InitMethod>(round % 4);
    params.each.empty_clusters = static_cast<EmptyClusters>(round % 3);
    if (round % 3 == 0) params.init = problems.starts;
    if (round % 3 == 1) params.each.weights = problems.weights;
    params.each.execution = on(isa, 1 + 2 * (round % 3));
    expect_fits_alone(problems, params, on(isa_alone));
  }
}

TEST(BatchNoOracle, EachProblemIsAFitOfItsOwn) { expect_fits_alone("", ""); }

TEST(Batch, EachProblemIsAFitOfTheOracle) {
  for (const cpu::Isa* isa : kernel_isas()) expect_fits_alone(isa->name, "scalar");
}

TEST(BatchNoOracle, TimeIsThatOfAllProblems) {
  Random random(1401);
  const Matrix x = random_rows(Kind::normal, 200, 6, random);
  const std::vector<MatrixView> problems(64, x.view());
  BatchParams params;
  params.each.k = 8;
  params.each.execution = on("", 1);
  const auto timed_out = [&] {
    const BatchResult got = fit_batch(problems, params);
    return std::accumulate(got.timed_out.begin(), got.timed_out.end(), 0);
  };
  double least = 1e9;  // seconds of the call
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(timed_out(), 0);
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  params.each.max_runtime_secs = least / 8;  // enough for each of them
  EXPECT_GT(timed_out(), 32);
  params.each.max_runtime_secs = 1e-9;  // one iteration each, and labels
  EXPECT_EQ(timed_out(), 64);
  const BatchResult got = fit_batch(problems, params);
  EXPECT_EQ(std::accumulate(got.n_iter.begin(), got.n_iter.end(), 0), 64);
  EXPECT_EQ(std::count(got.converged.begin(), got.converged.end(), 0), 64);
  EXPECT_EQ(got.labels.size(), 64 * 200);
}

TEST(BatchNoOracle, FewerRowsThanClusters) {
  const Matrix x(3, 2, {1, 2, 5, 6, 1, 2});  // two distinct ones
  Params params;
  params.k = 5;
  EXPECT_THROW(fit(x.view(), params), std::invalid_argument);
  params.allow_fewer_rows = true;
  for (const char* isa : {"", "scalar"})
    for (const InitMethod method : {InitMethod::random, InitMethod::kmeans_plus_plus}) {
      params.execution = on(isa);
      params.init_method = method;
      const Result got = fit(x.view(), params);
      EXPECT_EQ(got.n_empty, 3);
      EXPECT_EQ(got.inertia, 0);
      EXPECT_EQ(got.n_used, 3);
      EXPECT_TRUE(got.converged);
      EXPECT_EQ(got.labels[0], got.labels[2]);
      EXPECT_NE(got.labels[0], got.labels[1]);
      ASSERT_EQ(got.warnings.size(), 1u);
      EXPECT_EQ(got.warnings[0].kind, Warning::Kind::empty_clusters);
      // Rows in any order, then copies: no row goes to those.
      EXPECT_EQ(predict(x.view(), {got.centroids.data(), 5, 2}).labels, got.labels);
      const Result none = fit({static_cast<const float*>(nullptr), 0, 2}, params);
      EXPECT_EQ(none.centroids, std::vector<float>(10));
      EXPECT_EQ(none.n_empty, 5);
      EXPECT_EQ(none.n_iter, 1);
    }
  // By the rule: the two distinct rows, the equal one, then the first again and again.
  params.init_method = InitMethod::random;
  const std::vector<float> centroids = fit(x.view(), params).centroids;
  for (const std::size_t c : {std::size_t{3}, std::size_t{4}})
    EXPECT_TRUE(std::equal(centroids.begin(), centroids.begin() + 2, centroids.begin() + static_cast<long>(2 * c)));
}

TEST(BatchNoOracle, NoProblems) {
  BatchParams params;
  const BatchResult got = fit_batch({}, params);
  EXPECT_TRUE(got.centroids.empty() && got.inertia.empty() && got.labels.empty());
  EXPECT_EQ(got.centroid_offsets, std::vector<std::int64_t>{0});
}

std::string error(const std::vector<MatrixView>& problems, const BatchParams& params) {
  return message_of<std::invalid_argument>([&] { fit_batch(problems, params); });
}

TEST(BatchNoOracle, ErrorsNameTheFirstProblemThatIsWrong) {
  Random random(1401);
  std::vector<Matrix> rows;
  for (int b = 0; b < 40; ++b) rows.push_back(random_rows(Kind::normal, 10 + b, 3, random));
  for (const std::size_t b : {36u, 7u, 22u}) rows[b].row(4)[1] = std::numeric_limits<float>::quiet_NaN();
  std::vector<MatrixView> views;
  for (const Matrix& x : rows) views.push_back(x.view());
  BatchParams params;
  params.each.k = 2;
  for (const int n_threads : {1, 3}) {  // the longest problems are begun first
    params.each.execution.n_threads = n_threads;
    EXPECT_EQ(error(views, params), "problem 7: data has NaN in 1 row, the first is row 4 (column 1)");
  }
  const Matrix wide(5, 4);
  views[3] = wide.view();
  expect_contains(error(views, params), {"problem 3: the number of columns of data is 4", "that of problem 0, 3"});
  views.resize(2);
  std::vector<std::int64_t> ks = {2, 0};
  params.k = ks;
  EXPECT_EQ(error(views, params), "problem 1: k is 0; it must be at least 1");
  ks = {2, std::numeric_limits<std::int64_t>::max()};
  expect_contains(error(views, params), {"problem 1: k is 9223372036854775807", "at most 2147483647"});
  ks = {2, 2, 2};
  params.k = ks;
  EXPECT_EQ(error(views, params), "the length of k is 3; it must be that of the problems, 2");
  params.k = {};
  params.init = views;
  expect_contains(error(views, params), {"problem 0: the shape of init is (10, 3)"});
  views[1].rows = 10;
  std::vector<MatrixView> elsewhere(2, MatrixView(rows[0].row(0), 2, 3));
  elsewhere[1].cuda_device = 1;
  params.init = elsewhere;
  EXPECT_EQ(error(views, params), "problem 1: the device of init is 1; it must be that of data, the host");
  params.init = {};
  views[1].rows = 11;
  float centroid = 0;
  std::int64_t label = 0;
  params.each.on_device = {&centroid, nullptr};
  expect_contains(error(views, params), {"the address of labels on the device is null"});
  params.each.on_device.labels = &label;
  EXPECT_EQ(error(views, params),
            "problem 0: the place of data is the host; it must be the CUDA device of the results");
  params.each.on_device = {};
  const std::vector<double> weights(20, 1.0);
  params.each.weights = weights;
  EXPECT_EQ(error(views, params), "the length of weights is 20; it must be that of all rows, 21");
  params.each.weights = {};
  params.each.niter = 0;
  EXPECT_EQ(error(views, params), "niter is 0; it must be at least 1");
  params.each.niter = 1;
  params.each.callback = [](const IterationStats&) { return false; };
  expect_contains(error(views, params), {"callback is set"});
}

// A thread each, unless one takes longer than its share, or than all threads need to share it; on a device, than the
// device would take.
TEST(BatchNoOracle, SmallProblems) {
  constexpr double k16 = 500 * 64 * 16, kAll = 1000 * k16;
  for (const std::int64_t bytes : {0, 500 * 64 * 4}) {
    EXPECT_TRUE(is_small(k16, kAll, 16, bytes));
    EXPECT_TRUE(is_small(k16, kAll, 1, bytes));
    EXPECT_FALSE(is_small(k16, 15 * k16, 16, bytes));
    EXPECT_TRUE(is_small(k16, 16 * k16, 16, bytes));
    EXPECT_FALSE(is_small((1 << 26) + 1, 1e12, 1000, bytes));
  }
  EXPECT_TRUE(is_small(1 << 26, 1e12, 4, 0));
  EXPECT_FALSE(is_small(1 << 26, 1e12, 4, 1));
  EXPECT_TRUE(is_small(1 << 22, 1e12, 4, 1 << 24));
  EXPECT_FALSE(is_small((1 << 22) + 1, 1e12, 4, 1 << 24));
  EXPECT_FALSE(is_small(1 << 22, 1e12, 4, (1 << 24) + 1));
}

TEST(BatchNoOracle, MatricesThatLieTogetherAreJoined) {
  const Matrix x(12, 6);
  const auto rows = [&](std::int64_t first, std::int64_t count) { return MatrixView(x.row(first), count, 6); };
  const auto parts = [](const std::vector<MatrixView>& matrices) {
    std::vector<std::pair<const void*, std::int64_t>> found;
    for (const MatrixView& part : joined(matrices)) found.emplace_back(part.data, part.rows);
    return found;
  };
  using Parts = std::vector<std::pair<const void*, std::int64_t>>;
  EXPECT_EQ(parts({}), Parts{});
  EXPECT_EQ(parts({rows(0, 4), rows(4, 1), rows(5, 0), rows(5, 7)}), (Parts{{x.row(0), 12}}));
  EXPECT_EQ(parts({rows(0, 4), rows(5, 1), rows(6, 2), rows(3, 2)}),
            (Parts{{x.row(0), 4}, {x.row(5), 3}, {x.row(3), 2}}));
  EXPECT_EQ(parts({rows(4, 4), rows(0, 4)}), (Parts{{x.row(4), 4}, {x.row(0), 4}}));
  // Whatever differs in what a row is.
  for (int difference = 0; difference < 5; ++difference) {
    MatrixView next = rows(4, 2);
    if (difference == 0) next.cols = 5;
    if (difference == 1) next.dtype = DType::i32;
    if (difference == 2) next.row_stride = 48;
    if (difference == 3) next.col_stride = 8;
    if (difference == 4) next.cuda_device = 1;
    EXPECT_EQ(parts({rows(0, 4), next}).size(), 2u) << difference;
  }
  // Halves of the columns lie side by side, and rows backwards, too, one after the other.
  const MatrixView left(x.row(0), 12, 3, DType::f32, 24, 4), right(x.row(0) + 3, 12, 3, DType::f32, 24, 4);
  EXPECT_EQ(joined(std::vector{left, right}).size(), 2u);
  const MatrixView last(x.row(11), 2, 6, DType::f32, -24, 4), before(x.row(9), 10, 6, DType::f32, -24, 4);
  EXPECT_EQ(parts({last, before}), (Parts{{x.row(11), 12}}));
}

TEST(BatchNoOracle, InterruptEndsAllProblems) {
  Random random(1402);
  const Matrix x = random_rows(Kind::normal, 200, 4, random);
  const std::vector<MatrixView> views(20'000, x.view());
  BatchParams params;
  params.each.k = 8;
  for (const int n_threads : {1, 2}) {
    params.each.execution.n_threads = n_threads;
    params.each.execution.interrupt = [] { return true; };
    EXPECT_THROW(fit_batch(views, params), Interrupted);
    params.each.execution.interrupt = []() -> bool { throw std::runtime_error("the caller's own"); };
    EXPECT_EQ(message_of<std::runtime_error>([&] { fit_batch(views, params); }), "the caller's own");
  }
}

#ifdef FASTKMEANS_CUDA

using CudaBatch = CudaFits;

// Small problems are copied to the host: rows with gaps or without, some without rows, of any dtype. Which path ran is
// seen by an instruction set that does not exist: the CPU asks for it, a device does not.
TEST_F(CudaBatch, SmallProblemsOfADeviceRunOnTheCpu) {
  Random random(1403);
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  const Matrix x = random_rows(Kind::normal, 400, 12, random);
  cuda::DeviceBuffer<float> there(device, 400 * 12);
  device.upload(there.data(), x.row(0), there.bytes());
  device.wait();
  const auto part = [&](const float* base, bool on_device, std::int64_t first, std::int64_t count, bool gaps) {
    MatrixView view(base + first * 12 + (gaps ? 1 : 0), gaps ? count / 2 : count, 6, DType::f32, gaps ? 96 : 48,
                    gaps ? 8 : 4);
    if (!gaps) view.cols = 12;
    if (on_device) view.cuda_device = 0;
    return view;
  };
  for (const bool gaps : {false, true}) {
    std::vector<MatrixView> here, on_device;
    for (const auto& [first, count] : {std::pair{0, 60}, {60, 40}, {100, 0}, {100, 100}, {220, 80}, {300, 100}}) {
      here.push_back(part(x.row(0), false, first, count, gaps));
      on_device.push_back(part(there.data(), true, first, count, gaps));
    }
    BatchParams params;
    params.each.k = 5;
    params.each.niter = 4;
    params.each.execution = on("", 2);
    const BatchResult expected = fit_batch(here, params);
    for (const char* name : {"", "cuda", "cuda:0"}) {
      params.each.execution = {};
      params.each.execution.n_threads = 2;
      params.each.execution.device = name;
      const BatchResult got = fit_batch(on_device, params);
      EXPECT_EQ(got.centroids, expected.centroids);
      EXPECT_EQ(got.labels, expected.labels);
      EXPECT_EQ(got.inertia, expected.inertia);
    }
    params.each.execution.isa = "none_such";
    expect_contains(message_of<std::runtime_error>([&] { fit_batch(on_device, params); }), {"none_such"});
    on_device.resize(1);  // a thread alone would keep the other waiting
    EXPECT_EQ(fit_batch(on_device, params).inertia[0], expected.inertia[0]);
    params.each.execution.isa = "";
    params.each.execution.device = "cpu";
    EXPECT_EQ(error(on_device, params), "problem 0: data is on cuda:0; device must be that, given 'cpu'");
  }
}

#endif

}  // namespace
}  // namespace fastkmeans::testing
