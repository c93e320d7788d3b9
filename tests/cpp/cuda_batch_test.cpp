// SPDX-License-Identifier: Apache-2.0
// Many small problems whose rows lie on a CUDA device, in lockstep there. That they were is seen by an instruction set
// that does not exist: whatever falls back to the CPU asks for it, and fails the test.
#ifdef FASTKMEANS_CUDA

#include <memory>
#include <numeric>

#include "cuda/device.hpp"
#include "cuda_fits.hpp"
#include "lockstep.hpp"

namespace fastkmeans::testing {
namespace {

constexpr const char* kNoCpu = "none_such";

// Matrices on the device, and the same on the host.
class Rows {
 public:
  Rows() : workers_(1, {}), device_(0, on(Path{"cuda", ""}), workers_) {}

  // As bf16 if so, with `gap` elements between its rows.
  void add(const Matrix& x, bool bf16 = false, std::int64_t gap = 0) {
    const std::int64_t item = bf16 ? 2 : 4, row = (x.cols + gap) * item;
    auto& bytes = host_.emplace_back(std::make_unique<std::vector<char>>(static_cast<std::size_t>(x.rows * row)));
    for (std::int64_t i = 0; i < x.rows; ++i)
      for (std::int64_t j = 0; j < x.cols; ++j) {
        const auto bits = std::bit_cast<std::uint32_t>(x.row(i)[j]) >> (bf16 ? 16 : 0);
        std::memcpy(bytes->data() + i * row + j * item, &bits, static_cast<std::size_t>(item));  // little-endian
      }
    auto& there = there_.emplace_back(device_, std::ssize(*bytes));
    device_.upload(there.data(), bytes->data(), there.bytes());
    device_.wait();
    here.emplace_back(bytes->data(), x.rows, x.cols, bf16 ? DType::bf16 : DType::f32, row, item);
    on_device.push_back(here.back());
    on_device.back().data = there.data();
    on_device.back().cuda_device = 0;
  }

  std::vector<MatrixView> here, on_device;
  cuda::Device& device() { return device_; }

 private:
  Workers workers_;
  cuda::Device device_;
  std::vector<std::unique_ptr<std::vector<char>>> host_;
  std::vector<cuda::DeviceBuffer<char>> there_;
};

// A batch whose initial centroids, fp32 without gaps, lie on the device, and centroids and labels go there.
BatchResult all_on_the_device(Rows& rows, BatchParams params) {
  cuda::Device& device = rows.device();
  std::vector<float> values;
  std::vector<MatrixView> init(params.init.begin(), params.init.end());
  for (const MatrixView& x : init) {
    const auto* first = static_cast<const float*>(x.data);
    values.insert(values.end(), first, first + x.rows * x.cols);
  }
  const auto starts = cuda::uploaded(device, values.data(), std::ssize(values));
  const float* start = starts.data();
  for (MatrixView& x : init) {
    x.data = start;
    x.cuda_device = 0;
    start += x.rows * x.cols;
  }
  params.init = init;
  std::int64_t n = 0, k = 0, d = rows.here[0].cols;
  for (std::size_t b = 0; b < rows.here.size(); ++b) {
    n += rows.here[b].rows;
    k += params.k.empty() ? params.each.k : params.k[b];
  }
  const cuda::DeviceBuffer<float> centroids(device, k * d);
  const cuda::DeviceBuffer<std::int64_t> labels(device, n);
  device.wait();  // memory is taken, and initial centroids are there
  params.each.on_device = {centroids.data(), params.each.labels ? labels.data() : nullptr};
  BatchResult got = fit_batch(rows.on_device, params);
  EXPECT_TRUE(got.centroids.empty() && got.labels.empty());
  got.centroids = cuda::downloaded(device, centroids.data(), centroids.size());
  if (params.each.labels) got.labels = cuda::downloaded(device, labels.data(), labels.size());
  return got;
}

// isa: of the fits on the device; returns these.
BatchResult expect_as_on_the_cpu(Rows& rows, BatchParams params, const char* isa, std::int64_t memory_limit = 0) {
  params.each.execution = on("", 2);
  const BatchResult expected = fit_batch(rows.here, params);
  params.each.execution.isa = isa;
  params.each.execution.memory_limit = memory_limit;
  BatchResult got = fit_batch(rows.on_device, params);
  expect_same_batch(got, expected);
  expect_same_batch(all_on_the_device(rows, params), expected);
  return got;
}

// Whether a fit of these rows has an empty cluster at any time.
bool empties(const Matrix& x, Params params) {
  params.execution = on("");
  const Result result = fit(x.view(), params);
  return std::any_of(result.iterations.begin(), result.iterations.end(), [](const auto& s) { return s.empty > 0; });
}

using CudaBatchLockstep = CudaFits;

// Every number of dimensions and clusters that is near an edge; n of their own.
TEST_F(CudaBatchLockstep, EachIsAFitOfItsOwn) {
  Random random(1500);
  int round = 0;
  for (const std::int64_t d : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 128, 200, 384})
    for (const bool given : {false, true}) {
      ++round;
      BatchParams params;
      params.each.niter = round % 5 == 0 ? 1 : 12;
      params.each.tol = round % 2 ? 0 : 1e-8;
      params.each.inertia_tol = round % 7 == 3 ? 0.02 : 0;
      params.each.changed_tol = round % 7 == 4 ? 0.1 : 0;
      params.each.spherical = round % 3 == 1 && d > 1;
      params.each.labels = round % 4 != 2;
      params.each.seed = static_cast<std::uint64_t>(round);
      params.each.min_points_per_centroid = 12;
      Rows rows;
      std::vector<Matrix> init;
      std::vector<std::int64_t> ks;
      while (ks.size() < 40) {
        const std::int64_t most = d > 200 ? 9 : 33, k = draw(random, 1, most), n = 9 * k + draw(random, 0, 200);
        Matrix x = random_rows(Kind::normal, n, d, random);
        Params own = params.each;
        own.k = k;
        Matrix start(k, d);
        std::copy_n(x.values.begin(), k * d, start.values.begin());
        for (float& value : start.values) value += 0.125f;
        if (given) own.init = start.view();
        if (empties(x, own)) continue;
        rows.add(x, false, round % 4);
        init.push_back(std::move(start));
        ks.push_back(k);
      }
      std::vector<MatrixView> starts;
      for (const Matrix& start : init) starts.push_back(start.view());
      params.k = ks;
      if (given) params.init = starts;
      SCOPED_TRACE("d " + std::to_string(d) + " round " + std::to_string(round));
      expect_as_on_the_cpu(rows, params, kNoCpu);
    }
}

// Some have empty clusters, equal rows, tiny ones, two limbs, or too few rows: these are fitted by the CPU.
TEST_F(CudaBatchLockstep, WhatFailsIsFittedElsewhere) {
  Random random(1501);
  for (int round = 0; round < 6; ++round) {
    Rows rows;
    std::vector<std::int64_t> ks;
    for (int b = 0; b < 80; ++b) {
      const std::int64_t k = draw(random, 1, 20), n = b % 11 == 5 ? draw(random, 0, k) : k + draw(random, 0, 100);
      rows.add(random_rows(kKinds[static_cast<std::size_t>(b) % std::size(kKinds)], n, 12, random));
      ks.push_back(k);
    }
    BatchParams params;
    params.k = ks;
    params.each.niter = 6;
    params.each.spherical = round % 2;
    params.each.seed = static_cast<std::uint64_t>(round);
    params.each.empty_clusters = static_cast<EmptyClusters>(round % 3);
    expect_as_on_the_cpu(rows, params, "");
  }
}

// Initial centroids on the device that leave a cluster empty are brought to the CPU.
TEST_F(CudaBatchLockstep, StartsOfThoseThatFail) {
  Random random(1507);
  Rows rows;
  std::vector<Matrix> init;
  for (int b = 0; b < 64; ++b) {
    rows.add(random_rows(Kind::normal, 100 + b, 6, random));
    init.push_back(random_rows(Kind::normal, 3, 6, random));
    if (b % 9 == 4 || b % 9 == 5) init.back().row(1)[2] = 1000;
  }
  std::vector<MatrixView> starts;
  for (const Matrix& start : init) starts.push_back(start.view());
  BatchParams params;
  params.each.k = 3;
  params.init = starts;
  expect_as_on_the_cpu(rows, params, "");
}

// A launch does 32 iterations: fits of many more take several, fits of fewer end in the first of them.
TEST_F(CudaBatchLockstep, LongRunsBesideShortOnes) {
  Random random(1508);
  Rows rows;
  std::vector<std::int64_t> ks;
  for (int b = 0; b < 40; ++b) {
    const bool is_long = b % 8 == 2;
    rows.add(random_rows(Kind::normal, is_long ? 6000 : 80, 3, random));
    ks.push_back(is_long ? 25 : 2);
  }
  BatchParams params;
  params.k = ks;
  params.each.niter = 300;
  const BatchResult got = expect_as_on_the_cpu(rows, params, kNoCpu);
  EXPECT_GT(*std::max_element(got.n_iter.begin(), got.n_iter.end()), 32);
  params.each.tol = 0;
  expect_as_on_the_cpu(rows, params, kNoCpu);
}

TEST_F(CudaBatchLockstep, OtherElements) {
  Random random(1502);
  for (const bool spherical : {false, true}) {
    Rows rows;
    for (int b = 0; b < 40; ++b) {
      const Matrix x = random_rows(Kind::normal, 150 + b, 24, random);
      rows.add(x, true, b % 3);
    }
    BatchParams params;
    params.each.k = 4;
    params.each.spherical = spherical;
    expect_as_on_the_cpu(rows, params, kNoCpu);
  }
}

TEST_F(CudaBatchLockstep, ManyMoreThanProcessorsHeavy) {
  Random random(1503);
  const Matrix x = random_rows(Kind::normal, 500, 64, random);
  Rows rows;
  rows.add(x);
  rows.here.resize(3000, rows.here[0]);
  rows.on_device.resize(3000, rows.on_device[0]);
  BatchParams params;
  params.each.k = 16;
  params.each.tol = 0;
  ASSERT_FALSE(empties(x, params.each));
  expect_as_on_the_cpu(rows, params, kNoCpu);
}

// In waves, as many problems as there is room for; then none.
TEST_F(CudaBatchLockstep, LittleMemory) {
  Random random(1504);
  Rows rows;
  for (int b = 0; b < 50; ++b) rows.add(random_rows(Kind::normal, 300, 16, random), b % 2 == 1);
  BatchParams params;
  params.each.k = 3;
  params.each.niter = 5;
  for (const std::int64_t kibibytes : {100, 200, 1000}) expect_as_on_the_cpu(rows, params, kNoCpu, kibibytes << 10);
  expect_as_on_the_cpu(rows, params, "", 1);  // rows without gaps are copied to the host, which takes none
}

TEST_F(CudaBatchLockstep, ErrorsNameTheProblem) {
  Random random(1505);
  Rows rows;
  for (int b = 0; b < 64; ++b) {
    Matrix x = random_rows(Kind::normal, 60, 5, random);
    if (b == 41 || b == 50) x.row(7)[2] = std::numeric_limits<float>::infinity();
    rows.add(x);
  }
  BatchParams params;
  params.each.k = 2;
  expect_contains(message_of<std::invalid_argument>([&] { fit_batch(rows.on_device, params); }),
                  {"problem 41: data has infinity", "the first is row 7 (column 2)"});
  const Matrix wrong(2, 5, {0, 1, 2, 3, std::numeric_limits<float>::quiet_NaN(), 0, 1, 2, 3, 4});
  rows.on_device.erase(rows.on_device.begin() + 41);
  rows.on_device.erase(rows.on_device.begin() + 49);
  params.each.init = wrong.view();
  expect_contains(message_of<std::invalid_argument>([&] { fit_batch(rows.on_device, params); }),
                  {"problem 0: init has NaN"});
}

// The same rows in all problems; noise, so that a fit takes long.
TEST_F(CudaBatchLockstep, InterruptAndTimeHeavy) {
  Random random(1506);
  Rows rows;
  rows.add(random_rows(Kind::normal, 60'000, 16, random));
  rows.on_device.resize(64, rows.on_device[0]);
  BatchParams params;
  params.each.k = 64;
  params.each.niter = 100'000;
  params.each.max_points_per_centroid.reset();
  params.each.execution.isa = kNoCpu;
  params.each.execution.interrupt = [] { return true; };
  EXPECT_THROW(fit_batch(rows.on_device, params), Interrupted);
  params.each.execution.interrupt = {};
  params.each.max_runtime_secs = 1e-9;
  const BatchResult got = fit_batch(rows.on_device, params);
  EXPECT_EQ(std::accumulate(got.n_iter.begin(), got.n_iter.end(), 0), 64);
  EXPECT_EQ(std::count(got.timed_out.begin(), got.timed_out.end(), 1), 64);
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
