// SPDX-License-Identifier: Apache-2.0
// Rows of a CUDA device chosen by their random keys, beside the same rows on the host. Small enough for
// compute-sanitizer.
#include "cuda_fits.hpp"
#include "make_shard.hpp"
#include "source/sample.hpp"

#ifdef FASTKMEANS_CUDA
#include "cuda/device.hpp"
#endif

namespace fastkmeans::testing {
namespace {

constexpr std::uint64_t kMost = ~std::uint64_t{0};

class CudaKeyedRows : public CudaFits {
 protected:
  // A host's parts are of so many rows; all that a device finds is in one, up to 2^18 of them.
  static constexpr std::int64_t kHostsPart = 1 << 16, kPart = 1 << 18;

  // n rows of a device, which are never looked at.
  std::unique_ptr<Source> rows_of_device(std::int64_t n, const std::int64_t* weights = nullptr,
                                         std::int64_t memory_limit = 0) {
    MatrixView x(nullptr, n, 1);
    x.cuda_device = 0;
    Execution execution = on(Path{"cuda", ""});
    execution.memory_limit = memory_limit;
    return make_source(x, weights, execution, workers_);
  }

  // (key, index), whatever the parts.
  static std::vector<std::pair<std::uint64_t, std::int64_t>> flat(const KeyedRows& parts) {
    std::vector<std::pair<std::uint64_t, std::int64_t>> rows;
    for (const auto& part : parts)
      for (const auto& [key, index] : part) rows.emplace_back(key, index);
    return rows;
  }

  // Returns them as the first source found them.
  KeyedRows expect_same_rows(const Source& got, const Source& expected, const KeyRange& range) {
    KeyedRows found = got.keyed_rows(range, workers_);
    EXPECT_EQ(flat(found), flat(expected.keyed_rows(range, workers_)));
    return found;
  }

  Workers workers_{3, {}};
};

// All keys, few, hardly one, some in the middle; rows off every step of 32, warp of 1,024 and block of 4,096.
TEST_F(CudaKeyedRows, AsOnTheHost) {
  const auto at = [](double fraction) { return static_cast<std::uint64_t>(std::ldexp(fraction, 64)); };
  for (const std::int64_t n : {0, 1, 5, 31, 32, 33, 1023, 1024, 1025, 4095, 4096, 4097, 16'385, 100'000}) {
    const auto rows = rows_of_device(n);
    const HostArray expected({nullptr, n, 1});
    for (const auto& [low, high] : {std::pair{std::uint64_t{0}, kMost},
                                    {0, at(0.01)},
                                    {0, at(1e-5)},
                                    {0, 0},
                                    {kMost, kMost},
                                    {at(0.3), at(0.7)},
                                    {at(0.99), kMost}})
      for (const std::uint64_t seed : {std::uint64_t{7}, kMost}) {
        SCOPED_TRACE(::testing::Message() << n << " rows, keys from " << low << " to " << high);
        const KeyRange range = {seed, Purpose::initial_centroids, 3, low, high};
        const KeyedRows found = expect_same_rows(*rows, expected, range);
        EXPECT_EQ(found.size(), flat(found).empty() ? 0u : 1u);  // as a device has them
      }
  }
}

// Both ends of a range are in it: those of one row's key.
TEST_F(CudaKeyedRows, BothEndsAreIncluded) {
  KeyRange range = {11, Purpose::sample, 0, 0, kMost};
  range.low = range.high = range.key(777);
  EXPECT_EQ(flat(rows_of_device(2000)->keyed_rows(range, workers_)), (decltype(flat({})){{range.low, 777}}));
}

TEST_F(CudaKeyedRows, ManyParts) {
  const std::int64_t n = 2 * kPart + 3;
  const HostArray expected({nullptr, n, 1});
  EXPECT_EQ(expect_same_rows(*rows_of_device(n), expected, {5, Purpose::sample, 0, 0, kMost}).size(), 3u);
}

// Neither weights nor too little memory change the rows: they are looked for on the host.
TEST_F(CudaKeyedRows, WhatTheHostDoes) {
  const std::int64_t n = kHostsPart + 1;
  std::vector<std::int64_t> weights(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<std::int64_t>(i % 3);
  const KeyRange range = {5, Purpose::sample, 0, 0, kMost};
  const HostArray weighted({nullptr, n, 1}, 0, weights.data()), expected({nullptr, n, 1});
  EXPECT_EQ(expect_same_rows(*rows_of_device(n, weights.data()), weighted, range).size(), 2u);
  // Bytes: for no counts; for counts and no rows; for both.
  for (const auto& [memory_limit, parts] : {std::pair{10, 2u}, {1 << 19, 2u}, {1 << 22, 1u}})
    EXPECT_EQ(expect_same_rows(*rows_of_device(n, nullptr, memory_limit), expected, range).size(), parts);
}

TEST_F(CudaKeyedRows, Samples) {
  NoReducer reducer;
  for (const auto& [n, m] : {std::pair<std::int64_t, std::int64_t>{2, 1}, {5000, 17}, {5000, 4999}, {150'000, 9000}}) {
    const HostArray rows({nullptr, n, 1});
    EXPECT_EQ(sample_rows(*rows_of_device(n), m, 42, reducer, workers_), sample_rows(rows, m, 42, reducer, workers_));
  }
}

#ifdef FASTKMEANS_CUDA

// A sample keeps its rows' numbers. Fits draw from all rows, or from a sample of them.
TEST_F(CudaKeyedRows, SubsetsAndFits) {
  Random random(601);
  const Matrix x = random_rows(Kind::normal, 3000, 6, random);
  cuda::Device device(0, on(Path{"cuda", ""}), workers_);
  cuda::DeviceBuffer<float> there(device, x.rows * x.cols);
  device.upload(there.data(), x.row(0), there.bytes());
  device.wait();
  MatrixView on_device(there.data(), x.rows, x.cols);
  on_device.cuda_device = 0;
  const auto rows = make_source(on_device, nullptr, on(Path{"cuda", ""}), workers_);
  const HostArray host(x.view());
  const std::vector<std::int64_t> some = {0, 7, 8, 500, 2999};
  for (const std::uint64_t high : {kMost / 3, kMost})
    expect_same_rows(*rows->subset(some, workers_), *host.subset(some, workers_),
                     {5, Purpose::initial_centroids, 1, 0, high});
  for (const std::int64_t most : {1000, 20}) {
    Params params = params_of(30, 3, -1);
    params.max_points_per_centroid = most;
    params.execution = on("scalar");
    const Result expected = fit(x.view(), params);
    params.execution = on(Path{"cuda", ""});
    EXPECT_TRUE(same_bits(fit(on_device, params).centroids, expected.centroids)) << most;
  }
}

#endif

}  // namespace
}  // namespace fastkmeans::testing
