// SPDX-License-Identifier: Apache-2.0
// Narrow sketches on a CUDA device: fits by them beside the oracle, the products they are made of, and what is said of
// a projected row.
#include <cmath>
#include <limits>

#include "cuda_fits.hpp"
#include "low_rank.hpp"

#ifdef FASTKMEANS_CUDA
#include "cuda/projection.hpp"
#endif

namespace fastkmeans::testing {
namespace {

using CudaNarrow = CudaFits;

Params given(const Matrix& centroids, int niter) {
  Params params = params_of(centroids.rows, niter, -1);
  params.init = centroids.view();
  return params;
}

// On both sides of tiles and chunks; fewer dimensions than directions; rows with structure and without.
TEST_F(CudaNarrow, Shapes) {
  Random random(401);
  for (const std::int64_t d : {1, 3, 31, 64, 65, 127, 512, 513, 700, 1025, 1537}) {
    SCOPED_TRACE(::testing::Message() << "d " << d);
    expect_oracle(low_rank(401, d, 12, 0.05f), 140, "narrow");
    expect_oracle(random_rows(Kind::normal, 257, d, random), 129, "narrow");
  }
  for (const std::int64_t n : {1, 2, 63, 64, 65, 1030}) expect_oracle(low_rank(n, 515, 5, 0.1f), (n + 2) / 3, "narrow");
}

// Of all scales, with copies, far from the origin, outliers; all tiny: all distances are computed.
TEST_F(CudaNarrow, KindsHeavy) {
  Random random(402);
  for (const Kind kind : kKinds) {
    SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(kind));
    expect_oracle(random_rows(kind, 500, 530, random), 150, "narrow");
  }
  for (const int exponent : {-90, -28, 0, 40}) {
    Matrix x = low_rank(600, 600, 20, 0.02f);
    for (float& v : x.values) v = std::ldexp(v, exponent);
    for (const std::int64_t outlier : {7, 300})
      for (std::int64_t j = 0; j < x.cols; ++j) x.row(outlier)[j] *= 1000;
    SCOPED_TRACE(::testing::Message() << "exponent " << exponent);
    expect_oracle(x, 130, "narrow");
  }
}

// Few distances are left where rows have few directions, from the first assignment to the last.
TEST_F(CudaNarrow, LeavesFewDistances) {
  const Matrix x = low_rank(3000, 512, 8, 0.02f);
  for (const IterationStats& stats : expect_oracle(x, params_of(600, 3, -1), "narrow").iterations) {
    EXPECT_EQ(stats.filter.scored, x.rows * 600);
    EXPECT_LT(stats.filter.refined, 64 * x.rows);
  }
}

// Rows without structure leave nearly all centroids as long as these are rows too: their lists run over twice, and
// sketches of all dimensions decide.
TEST_F(CudaNarrow, ListsThatRunOver) {
  Random random(403);
  const Matrix x = random_rows(Kind::normal, 1000, 520, random);
  constexpr std::int64_t kListed = 64, kSecond = 128;  // places in the lists of a row
  const Result got = expect_oracle(x, params_of(400, 2, -1), "narrow");
  EXPECT_GT(got.iterations[0].filter.refined, 20 * x.rows);
  for (const IterationStats& stats : got.iterations) EXPECT_LT(stats.filter.refined, (2 * kListed + kSecond) * x.rows);
  // Copies of one centroid, which no bound can tell apart, run over once more.
  Matrix copies(600, x.cols);
  for (std::int64_t c = 0; c < copies.rows; ++c) std::copy_n(x.row(1), x.cols, copies.row(c));
  EXPECT_GT(expect_oracle(x, given(copies, 1), "narrow").iterations[0].filter.refined, 500 * x.rows);
}

// Sketches that are all error, so long that they pass for near whatever row they are compared with: places of a block
// beyond the last row write nothing (compute-sanitizer sees it).
TEST_F(CudaNarrow, PlacesBeyondTheLastRow) {
  Random random(409);
  Matrix x = random_rows(Kind::normal, 100, 8192, random);
  for (float& v : x.values) v = std::ldexp(v, 45) - std::ldexp(0.99f, 56);
  std::fill_n(x.row(99), x.cols, std::ldexp(0.99f, 56));
  Matrix ends(2, x.cols);
  std::copy_n(x.row(0), x.cols, ends.row(0));
  std::copy_n(x.row(99), x.cols, ends.row(1));
  expect_oracle(x, given(ends, 2), "narrow");
}

// The same with a list for each half of the centroids: what places of a block beyond the last row write stands where
// the lists of the next part begin. The ten that are far stand in the ninth tile, of the first part.
TEST_F(CudaNarrow, PlacesBeyondTheLastRowOfAPart) {
  constexpr std::int64_t kNear = 1024, kFar = 10, kRows = 100, d = 6144;
  Matrix pool = low_rank(kRows + kNear, d, 5, 0.02f), centroids(kNear + kFar, d);
  for (float& v : pool.values) v = std::ldexp(v, 45) - std::ldexp(0.99f, 56);
  std::copy_n(pool.row(kRows), kNear * d, centroids.row(0));
  std::fill_n(centroids.row(kNear), kFar * d, std::ldexp(0.99f, 56));
  const MatrixView x(pool.values.data(), kRows, d);
  PredictParams params;
  params.distances = true;
  params.execution = on("scalar");
  const Prediction expected = predict(x, centroids.view(), params);
  params.execution = on(Path{"cuda", "narrow"});
  const Prediction got = predict(x, centroids.view(), params);
  EXPECT_EQ(got.labels, expected.labels);
  EXPECT_EQ(got.distances, expected.distances);
}

// Two centroids at the same distance from rows that have no head at all: one along the row, so that the lengths of the
// tails differ by all of it, one across, so that they hardly do. The lower index must win, whichever that is.
TEST_F(CudaNarrow, TiesAlongAndAcrossTheTail) {
  const std::vector<float> values = normals(32768 * 8, 21);
  Matrix x(32768, 256);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    if (i % 8 == 3)  // no row that directions are learned from or tried on
      x.row(i)[200] = 64;
    else
      std::copy_n(&values[static_cast<std::size_t>(8 * i)], 8, x.row(i));
  }
  for (const std::int64_t along : {0, 1}) {
    Matrix centroids(3, 256);
    centroids.row(along)[200] = 48;
    centroids.row(1 - along)[200] = 64;
    centroids.row(1 - along)[201] = 16;
    const Result got = expect_oracle(x, given(centroids, 1), "narrow");
    // The mean of all of them, but for one that has filled the empty cluster.
    EXPECT_EQ(got.centroids[200], 64) << along;
  }
}

// As long as all centroids are tiny there is nothing to gain, and all distances are computed.
TEST_F(CudaNarrow, WaitForCentroidsThatAreNotTiny) {
  const Matrix x = low_rank(600, 520, 6, 0.05f);
  Matrix start(20, x.cols);
  for (std::size_t i = 0; i < start.values.size(); ++i) start.values[i] = std::ldexp(x.values[i], -60);
  Params params = given(start, 3);
  params.execution = on("scalar");
  const Result expected = fit(x.view(), params);
  params.execution = on(Path{"cuda", "narrow"});
  const Result got = fit(x.view(), params);
  expect_same(got, expected);
  EXPECT_EQ(got.iterations[0].filter.filter, "none");
  EXPECT_EQ(got.iterations[1].filter.filter, "narrow");
}

// Nothing to learn directions from: all rows alike, all zeros.
TEST_F(CudaNarrow, NothingToLearn) {
  Matrix zeros(300, 520), equal(300, 520);
  std::fill(equal.values.begin(), equal.values.end(), 3.0f);
  Matrix centroids(3, 520);
  centroids.row(1)[0] = 1;
  std::fill_n(centroids.row(2), 520, 4.0f);
  expect_oracle(zeros, 3, "narrow");
  expect_oracle(equal, given(centroids, 2), "narrow");
}

// Rows that do not fit stay on the host, and their sketches are made in pieces, or anew each time.
TEST_F(CudaNarrow, MemoryLimit) {
  const Matrix x = low_rank(20'000, 512, 12, 0.05f);  // 41 MB
  for (const std::int64_t megabytes : {400, 40, 20}) {
    SCOPED_TRACE(::testing::Message() << megabytes << " MB");
    expect_oracle(x, params_of(60, 2, -1), "narrow", megabytes << 20);
  }
}

TEST_F(CudaNarrow, ShardsWeightsAndMetrics) {
  const Matrix x = low_rank(400, 520, 6, 0.05f);
  Random random(404);
  std::vector<std::int64_t> weights;
  for (std::int64_t i = 0; i < x.rows; ++i) weights.push_back(draw(random, 0, 3));
  for (const Metric* metric : {&euclidean(), &spherical()})
    for (const Ends& ends : {Ends{x.rows}, Ends{70, 70, x.rows}}) {
      Params params = params_of(40, 4, 0);
      params.nredo = 2;
      params.execution = on("scalar");
      const Result expected = fit_on_shards(x.view(), {x.rows}, params, *metric, weights.data())[0];
      params.execution = on(Path{"cuda", "narrow"});
      expect_same(fit_on_shards(x.view(), ends, params, *metric, weights.data())[0], expected);
    }
}

#ifdef FASTKMEANS_CUDA

using Real = long double;

// (count, columns) = (rows - centre) w on the device. Rows lie `ld` apart from element `first` on, in the midst of NaN:
// what is read beside them is seen.
std::vector<float> multiplied(cuda::Device& device, const Matrix& rows, std::int64_t first, std::int64_t ld,
                              const std::vector<float>& centre, const Matrix& w) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kUntouched = 77;
  std::vector<float> laid(static_cast<std::size_t>(first + rows.rows * ld + 4), kNaN);
  for (std::int64_t i = 0; i < rows.rows; ++i)
    std::copy_n(rows.row(i), rows.cols, &laid[static_cast<std::size_t>(first + i * ld)]);
  const std::int64_t size = rows.rows * w.cols;
  std::vector<float> out(static_cast<std::size_t>(size + w.cols), kUntouched);
  const auto on_device = [&](const std::vector<float>& v) { return cuda::uploaded(device, v.data(), std::ssize(v)); };
  const auto x = on_device(laid), mu = on_device(centre.empty() ? std::vector<float>(1) : centre),
             b = on_device(w.values);
  const auto z = on_device(out);
  cuda::multiply(device, {x.data() + first, ld}, rows.rows, rows.cols, centre.empty() ? nullptr : mu.data(), b.data(),
                 w.cols, z.data());
  out = cuda::downloaded(device, z.data(), z.size());
  for (std::int64_t j = 0; j < w.cols; ++j) EXPECT_EQ(out[static_cast<std::size_t>(size + j)], kUntouched);
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// On both sides of tiles, steps and chunks: no further from the truth than product_roundings() says, and the same bits
// however rows lie, four elements of which can be read at a time or not.
TEST_F(CudaNarrow, ProductsOfMatrices) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  Random random(410);
  for (const std::int64_t d : {1, 3, 4, 15, 16, 17, 20, 31, 32, 33, 48, 64, 130, 259})
    for (const auto& [count, columns] :
         {std::pair{1, 64}, {2, 128}, {63, 64}, {65, 192}, {127, 64}, {128, 320}, {129, 64}, {385, 128}})
      for (const bool centred : {false, true}) {
        SCOPED_TRACE(::testing::Message() << count << " x " << d << " x " << columns << " centred " << centred);
        const Matrix rows = random_rows(Kind::normal, count, d, random),
                     w = random_rows(Kind::normal, d, columns, random);
        const std::vector<float> centre = centred ? normals(d, 34) : std::vector<float>();
        const std::vector<float> got = multiplied(device, rows, 0, d, centre, w);
        for (std::int64_t i = 0; i < count; ++i)
          for (std::int64_t j = 0; j < columns; ++j) {
            double sum = 0, magnitudes = 0;
            for (std::int64_t l = 0; l < d; ++l) {
              const float a = centred ? rows.row(i)[l] - centre[static_cast<std::size_t>(l)] : rows.row(i)[l];
              const double product = static_cast<double>(a) * static_cast<double>(w.row(l)[j]);
              sum += product;
              magnitudes += std::abs(product);
            }
            ASSERT_NEAR(got[static_cast<std::size_t>(i * columns + j)], sum,
                        magnitudes * 1.001 * cuda::product_roundings(d) * kUnitRoundoff)
                << "row " << i << " column " << j;
          }
        for (const auto& [first, ld] :
             {std::pair{1, d}, {4, d}, {0, d + 1}, {0, d + 4}, {8, (d + 3) / 4 * 4}, {3, d + 5}})
          EXPECT_EQ(multiplied(device, rows, first, ld, centre, w), got) << "from " << first << " every " << ld;
      }
}

// Projections of rows, and what is said of them, on the device.
struct Projected {
  std::vector<float> z, errors;
};
Projected projected(const Basis& basis, std::int64_t size, const std::vector<float>& rows,
                    const std::vector<float>& centre) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  const std::int64_t count = std::ssize(rows) / basis.d;
  cuda::DeviceBuffer<float> x(device, std::ssize(rows)), mu(device, basis.d), z(device, count * size),
      errors(device, count);
  device.upload(x.data(), rows.data(), x.bytes());
  device.upload(mu.data(), centre.data(), mu.bytes());
  cuda::Projection(device, basis, size, mu.data()).project({x.data(), basis.d}, count, z.data(), errors.data());
  Projected out = {std::vector<float>(static_cast<std::size_t>(count * size)),
                   std::vector<float>(static_cast<std::size_t>(count))};
  device.download(out.z.data(), z.data(), z.bytes());
  device.download(out.errors.data(), errors.data(), errors.bytes());
  return out;
}

void expect_true(const Basis& basis, std::int64_t size, const std::vector<float>& rows,
                 const std::vector<float>& centre) {
  const Projected got = projected(basis, size, rows, centre);
  for (std::size_t i = 0; i < got.errors.size(); ++i) {
    const float* const row = &rows[i * static_cast<std::size_t>(basis.d)];
    const std::vector<Real> expected = exact_projection<Real>(basis, size, row, centre.data());
    Real square = 0, length = 0;
    for (std::size_t j = 0; j < expected.size(); ++j) {
      const Real off = expected[j] - static_cast<Real>(got.z[i * static_cast<std::size_t>(size) + j]);
      square += off * off;
      length += expected[j] * expected[j];
    }
    EXPECT_LE(std::sqrt(square), static_cast<Real>(got.errors[i])) << "row " << i;
    EXPECT_LE(static_cast<Real>(got.errors[i]), 0.05L * std::sqrt(length) + 1e-30L) << "row " << i;
  }
}

TEST_F(CudaNarrow, WhatIsSaidOfAProjectionIsTrue) {
  Workers workers(1, {});
  for (const std::int64_t d : {1, 20, 33, 65, 300, 1024, 1537}) {
    const std::int64_t h = std::min<std::int64_t>(d, 255);
    const Basis basis = orthonormal(normals(d * h, 31), d, h, workers);
    for (const std::int64_t size : {64, 128, 256})
      for (const float scale : {1.0f, 0x1p-60f, 0x1p50f}) {
        SCOPED_TRACE(::testing::Message() << "d " << d << " size " << size << " scale " << scale);
        std::vector<float> rows = normals(67 * d, 32), centre = normals(d, 33);
        for (std::int64_t j = 0; j < d; ++j)  // in the head's span: nothing is left for the tail
          rows[static_cast<std::size_t>(3 * d + j)] = basis.w[static_cast<std::size_t>(j * h)];
        for (float& v : rows) v *= scale;
        for (float& v : centre) v *= scale;
        expect_true(basis, size, rows, centre);
        std::fill(centre.begin(), centre.end(), 0.0f);
        expect_true(basis, size, rows, centre);
      }
  }
}

// One direction of one large element and many small ones, and a row along it: a chunk's products are all lost beside
// the first, so the coordinate is short by 31 half roundings, and the tail, which is short, is off by far more. With d
// = 2048 the other chunks are lost beside the first as well.
TEST_F(CudaNarrow, RoundingOfTheProjection) {
  for (const std::int64_t d : {32, 64, 2048}) {
    Basis basis = {.d = d, .directions = 1, .w = std::vector<float>(static_cast<std::size_t>(d)), .excess = 0};
    constexpr float kSmall = 0x1.57p-13f;  // its square: 0.45 last bits of the large element's
    basis.w[0] = 1 - 0x1p-12f;
    for (std::size_t j = 1; j < 32; ++j) basis.w[j] = kSmall;
    for (std::size_t j = 32; j < basis.w.size(); j += 32) basis.w[j] = kSmall;
    SCOPED_TRACE(::testing::Message() << "d " << d);
    expect_true(basis, 64, basis.w, std::vector<float>(static_cast<std::size_t>(d)));
  }
}

// A W that is longer than 1: what is said of a row must know of it.
TEST_F(CudaNarrow, ExcessOfTheBasis) {
  Basis basis = {.d = 40, .directions = 2, .w = std::vector<float>(80), .excess = 0x1p-9};
  basis.w[0] = basis.w[3] = std::sqrt(1 + 0x1p-10f);
  std::vector<float> rows(80);
  rows[0] = 1;  // all head, and a little longer than it was
  rows[41] = 3;
  rows[47] = 0x1p-3f;  // and a short tail
  expect_true(basis, 64, rows, std::vector<float>(40));
}

#endif

}  // namespace
}  // namespace fastkmeans::testing
