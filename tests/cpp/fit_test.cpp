// SPDX-License-Identifier: Apache-2.0
// The public calls: consistency, invariance, errors.
#include <cmath>
#include <limits>
#include <thread>

#include "numeric/distance.hpp"
#include "numeric/metric.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

Params params_of(std::int64_t k, const Execution& execution) {
  Params params;
  params.k = k;
  params.niter = 6;
  params.seed = 3;
  params.max_points_per_centroid.reset();
  params.execution = execution;
  return params;
}

TEST(Fit, EqualsTheOracleOnEveryInstructionSet) {
  Random random(60);
  for (int repeat = 0; repeat < 3; ++repeat)
    for (const Kind kind : kKinds) {
      const Matrix x = random_rows(kind, draw(random, 1, 250), draw(random, 1, 40), random);
      const std::int64_t k = draw(random, 1, x.rows);
      const Result expected = fit(x.view(), params_of(k, on("scalar")));
      for (const cpu::Isa* isa : kernel_isas()) {
        Execution execution = on(isa->name, static_cast<int>(draw(random, 1, 4)));
        execution.chunk_size_data = draw(random, 1, 300);
        execution.chunk_size_centroids = draw(random, 1, 300);
        SCOPED_TRACE(::testing::Message() << isa->name << " kind " << static_cast<int>(kind) << " n " << x.rows << " d "
                                          << x.cols << " k " << k);
        expect_same(fit(x.view(), params_of(k, execution)), expected);
      }
    }
}

TEST(FitNoOracle, PredictRepeatsTheLabels) {
  Random random(61);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, 200, 12, random);
    const Result got = fit(x.view(), params_of(20, {}));
    PredictParams params;
    params.distances = true;
    const Prediction prediction = predict(x.view(), {got.centroids.data(), 20, 12}, params);
    EXPECT_EQ(prediction.labels, got.labels) << static_cast<int>(kind);
    ASSERT_EQ(prediction.distances.size(), 200u);
    double sum = 0;
    for (const double distance : prediction.distances) sum += distance;
    EXPECT_NEAR(sum, got.inertia, 1e-12 * got.inertia);
    EXPECT_TRUE(predict(x.view(), {got.centroids.data(), 20, 12}).distances.empty());
  }
}

TEST(FitNoOracle, SphericalTakesRowsAtLengthOne) {
  Random random(66);
  const Matrix x = random_rows(Kind::normal, 200, 12, random);
  Matrix unit = x;
  for (std::int64_t i = 0; i < 200; ++i) spherical().transform(unit.row(i), 12);
  Params params = params_of(20, {});
  params.spherical = true;
  const Result got = fit(x.view(), params);
  for (std::size_t c = 0; c < 20; ++c) {
    double square = 0;
    for (std::size_t j = 0; j < 12; ++j) square += std::pow(static_cast<double>(got.centroids[12 * c + j]), 2);
    EXPECT_NEAR(square, 1, 1e-6);
  }
  const MatrixView centroids(got.centroids.data(), 20, 12);
  PredictParams of_angles;
  of_angles.spherical = true;
  EXPECT_EQ(predict(x.view(), centroids, of_angles).labels, got.labels);
  EXPECT_EQ(predict(unit.view(), centroids).labels, got.labels);
}

// Two blobs, and two given centroids: one among the rows, one far from all.
TEST(FitNoOracle, FrozenCentroidsStayAndGetNoRow) {
  const Matrix x(6, 1, {0, 1, 2, 10, 11, 12.5});
  const Matrix given(2, 1, {3, 1000});
  Params params = params_of(3, {});
  params.init = given.view();
  params.frozen_centroids = true;
  params.min_points_per_centroid = 3;
  Result got = fit(x.view(), params);
  EXPECT_EQ(got.centroids[0], 3);
  EXPECT_EQ(got.centroids[1], 1000);
  EXPECT_EQ(got.n_empty, 1);
  ASSERT_EQ(got.warnings.size(), 2u);
  EXPECT_EQ(got.warnings[0].message,
            "training on 6 points for 3 centroids, fewer than min_points_per_centroid = 3 each");
  EXPECT_EQ(got.warnings[1].message, "1 of 3 clusters ended empty");
  params.frozen_centroids = false;
  params.min_points_per_centroid = 2;
  got = fit(x.view(), params);
  EXPECT_LT(got.centroids[1], 20);
  EXPECT_TRUE(got.warnings.empty());
  params.int_centroids = true;
  for (const float centroid : fit(x.view(), params).centroids) EXPECT_EQ(centroid, std::rint(centroid));
  params.k = 1;
  expect_contains(message_of<std::invalid_argument>([&] { fit(x.view(), params); }),
                  {"the shape of init is (2, 1); it must be (k, d) = (1, 1), or fewer rows"});
}

// The rows that are left are other ones than those given, as long as there are any.
TEST(FitNoOracle, GivenCentroidsAreNotTakenAgain) {
  const Matrix x(5, 1, {0, 1, 2, 3, 4}), given(3, 1, {4, 0, 2});
  for (const InitMethod method : {InitMethod::random, InitMethod::kmeans_plus_plus})
    for (const std::uint64_t seed : {0, 1, 2, 3, 4}) {
      Params params = params_of(5, {});
      params.init = given.view();
      params.init_method = method;
      params.seed = seed;
      const Result got = fit(x.view(), params);
      EXPECT_EQ(got.iterations[0].inertia, 0) << seed;
      EXPECT_EQ(got.centroids[0], 4);
      EXPECT_EQ(got.centroids[1], 0);
      EXPECT_EQ(got.centroids[2], 2);
    }
}

// Rows of few dimensions that are read in place, with more of the caller's between them.
TEST(FitNoOracle, BadRowsOfAWiderArray) {
  for (const std::int64_t bad : {0, 1, 30, 63}) {
    Matrix wide(64, 48);
    for (std::int64_t i = 0; i < 64; ++i) wide.row(i)[20] = std::numeric_limits<float>::infinity();  // not in the view
    const Matrix centroids(3, 16);
    const MatrixView x(wide.values.data(), 64, 16, DType::f32, 48 * 4, 4);
    PredictParams params;
    params.execution.filter = "low_dim";
    EXPECT_EQ(predict(x, centroids.view(), params).labels, std::vector<std::int64_t>(64));
    wide.row(bad)[5] = std::numeric_limits<float>::quiet_NaN();
    expect_contains(message_of<std::invalid_argument>([&] { predict(x, centroids.view(), params); }),
                    {"NaN in 1 row", ("row " + std::to_string(bad) + " (column 5)").c_str()});
  }
}

TEST(FitNoOracle, NoRowsHaveNoLabels) {
  const Matrix centroids(3, 2);
  PredictParams params;
  params.distances = true;
  for (const char* isa : {"", "scalar"}) {
    params.execution = on(isa);
    const Prediction prediction = predict({static_cast<const float*>(nullptr), 0, 2}, centroids.view(), params);
    EXPECT_TRUE(prediction.labels.empty());
    EXPECT_TRUE(prediction.distances.empty());
  }
}

TEST(FitNoOracle, LayoutAndWidthOfTheDataDoNotMatter) {
  Random random(62);
  const Matrix x = random_rows(Kind::integers, 150, 5, random);
  const Result expected = fit(x.view(), params_of(11, {}));
  std::vector<double> fortran(750);
  std::vector<std::int8_t> backwards(750);
  for (std::size_t i = 0; i < 150; ++i)
    for (std::size_t j = 0; j < 5; ++j) {
      fortran[j * 150 + i] = static_cast<double>(x.values[i * 5 + j]);
      backwards[(149 - i) * 5 + j] = static_cast<std::int8_t>(x.values[i * 5 + j]);
    }
  expect_same(fit({fortran.data(), 150, 5, DType::f64, 8, 1200}, params_of(11, {})), expected);
  expect_same(fit({&backwards[745], 150, 5, DType::i8, -5, 1}, params_of(11, {})), expected);
}

TEST(FitNoOracle, ManyFitsAtOnce) {
  Random random(63);
  const Matrix x = random_rows(Kind::normal, 2000, 16, random);
  const Result expected = fit(x.view(), params_of(30, {}));
  std::vector<Result> results(5);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = fit(x.view(), params_of(30, on("", 3))); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) expect_same(result, expected);
}

TEST(FitNoOracle, InterruptedInAFitAndInAPrediction) {
  // Work for several looks at the interrupt, 50 ms apart, on the fastest core.
  const Matrix rows(20'000, 64), centroids(20'000, 64);
  Execution execution = on(Path{"", "fp32"});
  execution.device = "cpu";  // a GPU would be done before the second look
  int asked = 0;
  execution.interrupt = [&] { return ++asked > 1; };
  EXPECT_THROW(predict(rows.view(), centroids.view(), {false, execution}), Interrupted);
  EXPECT_EQ(asked, 2);
  asked = 0;
  Params params = params_of(20'000, execution);
  params.init = centroids.view();
  EXPECT_THROW(fit(rows.view(), params), Interrupted);
  EXPECT_EQ(asked, 2);
}

std::string fit_error(const MatrixView& x, const Params& params) {
  return message_of<std::invalid_argument>([&] { fit(x, params); });
}

TEST(ErrorsNoOracle, Parameters) {
  const Matrix x(4, 2, {1, 2, 3, 4, 5, 6, 7, 8});
  auto error = [&](auto change) {
    Params params = params_of(2, {});
    change(params);
    return fit_error(x.view(), params);
  };
  expect_contains(error([](Params& p) { p.k = 0; }), {"k is 0", "at least 1"});
  expect_contains(error([](Params& p) { p.k = -3; }), {"k is -3"});
  expect_contains(error([](Params& p) { p.niter = 0; }), {"niter is 0", "at least 1"});
  expect_contains(error([](Params& p) { p.nredo = 0; }), {"nredo is 0", "at least 1"});
  expect_contains(error([](Params& p) { p.max_points_per_centroid = 0; }),
                  {"max_points_per_centroid is 0", "at least 1"});
  expect_contains(error([](Params& p) { p.tol = std::numeric_limits<double>::quiet_NaN(); }), {"tol is NaN"});
  expect_contains(error([](Params& p) { p.execution.n_threads = -1; }), {"n_threads is -1", "at least 0"});
  expect_contains(error([](Params& p) { p.execution.chunk_size_data = 0; }), {"chunk_size_data is 0"});
  expect_contains(error([](Params& p) { p.execution.chunk_size_centroids = -5; }), {"chunk_size_centroids is -5"});
  EXPECT_EQ(error([](Params& p) { p.k = 5; }), "Number of training points (4) is less than k (5).");
  expect_contains(error([&](Params& p) { p.init = MatrixView(x.values.data(), 3, 2); }), {"init", "(3, 2)", "(2, 2)"});
  expect_contains(error([&](Params& p) { p.init = MatrixView(x.values.data(), 2, 4); }), {"init", "(2, 4)", "(2, 2)"});
  expect_contains(error([&](Params& p) { p.init = MatrixView(static_cast<const float*>(nullptr), 2, 2); }),
                  {"init", "null"});
}

TEST(ErrorsNoOracle, Shapes) {
  const Matrix x(4, 2), wide(1, 3);
  expect_contains(fit_error({x.values.data(), 0, 2}, params_of(1, {})), {"data", "(0, 2)", "(1, 1)"});
  expect_contains(fit_error({x.values.data(), 4, 0}, params_of(1, {})), {"data", "(4, 0)"});
  expect_contains(fit_error({x.values.data(), -1, 2}, params_of(1, {})), {"data", "(-1, 2)"});
  expect_contains(fit_error({x.values.data(), 4, (1 << 19) + 1}, params_of(1, {})), {"data", "(4, 524289)", "524288"});
  expect_contains(fit_error({static_cast<const float*>(nullptr), 4, 2}, params_of(1, {})), {"data", "null"});
  auto error = [](const MatrixView& rows, const MatrixView& centroids) {
    return message_of<std::invalid_argument>([&] { predict(rows, centroids); });
  };
  expect_contains(error(x.view(), wide.view()), {"columns", "2", "3"});
  expect_contains(error({x.values.data(), -1, 2}, x.view()), {"data", "(-1, 2)", "(0, 1)"});
  expect_contains(error({x.values.data(), 0, 3}, x.view()), {"columns", "3", "2"});
  Matrix spoiled(4, 2);
  spoiled.values[5] = std::numeric_limits<float>::quiet_NaN();
  expect_contains(error({x.values.data(), 0, 2}, spoiled.view()), {"centroids", "row 2"});
  expect_contains(error(x.view(), {x.values.data(), 0, 2}), {"centroids", "(0, 2)"});
  expect_contains(error(x.view(), {static_cast<const float*>(nullptr), 4, 2}), {"centroids", "null"});
  MatrixView there = x.view();
  there.cuda_device = 1;
  EXPECT_EQ(error(x.view(), there), "the memory of centroids is that of cuda:1; it must be that of the host");
  float centroid = 0;
  std::int64_t label = 0;
  Params to_there = params_of(1, {});
  to_there.on_device.centroids = &centroid;
  expect_contains(fit_error(x.view(), to_there), {"the address of labels on the device is null"});
  to_there.on_device.labels = &label;
  EXPECT_EQ(fit_error(x.view(), to_there), "the place of data is the host; it must be the CUDA device of the results");
  Params from_there = params_of(4, {});
  from_there.init = there;
  EXPECT_EQ(fit_error(x.view(), from_there), "the memory of init is that of cuda:1; it must be that of the host");
  expect_contains(message_of<std::invalid_argument>([&] {
                    PredictParams params;
                    params.execution.n_threads = -2;
                    predict(x.view(), x.view(), params);
                  }),
                  {"n_threads is -2"});
}

TEST(ErrorsNoOracle, BadRowsAreCountedAndTheFirstNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  Random random(65);
  const Matrix good = random_rows(Kind::normal, 300, 4, random);
  Matrix x = good;
  x.row(17)[2] = nan;
  x.row(250)[0] = infinity;
  expect_contains(fit_error(x.view(), params_of(3, {})), {"data", "NaN", "2 rows", "row 17", "column 2"});
  x = good;
  x.row(299)[3] = -infinity;
  expect_contains(fit_error(x.view(), params_of(3, {})), {"data", "infinity", "1 row,", "row 299", "column 3"});
  x.row(299)[3] = 0x1p56f;
  expect_contains(fit_error(x.view(), params_of(3, {})), {"data", "2**56", "row 299", "column 3"});
  x.row(299)[3] = -std::nextafter(0x1p56f, 0.0f);
  EXPECT_NO_THROW(fit(x.view(), params_of(3, {})));

  Matrix bad = good;
  bad.row(5)[1] = nan;
  auto error = [](const Matrix& rows, const Matrix& centroids) {
    return message_of<std::invalid_argument>([&] { predict(rows.view(), centroids.view()); });
  };
  expect_contains(error(bad, good), {"data", "NaN", "row 5", "column 1"});
  expect_contains(error(good, bad), {"centroids", "NaN", "row 5", "column 1"});
  Matrix many(60'000, 4);  // blocks of several threads
  many.row(50'000)[2] = many.row(40'000)[3] = many.row(59'999)[0] = infinity;
  expect_contains(error(good, many), {"centroids", "infinity", "3 rows", "row 40000", "column 3"});
  Params params = params_of(300, {});
  params.init = bad.view();
  expect_contains(fit_error(good.view(), params), {"init", "NaN", "row 5", "column 1"});
}

// A sample is checked by itself, but the row's number is that of the caller's array; labelling all rows finds the
// others.
TEST(ErrorsNoOracle, BadRowsAndSamples) {
  Matrix x(1000, 1);
  for (std::int64_t i = 0; i < 1000; ++i) x.row(i)[0] = static_cast<float>(i);
  Params params = params_of(2, {});
  params.max_points_per_centroid = 10;
  params.labels = false;
  int refused = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const float value = x.row(i)[0];
    x.row(i)[0] = std::numeric_limits<float>::quiet_NaN();
    try {
      fit(x.view(), params);
    } catch (const std::invalid_argument& error) {
      ++refused;
      expect_contains(error.what(), {("row " + std::to_string(i) + " ").c_str(), "1 row,"});
    }
    x.row(i)[0] = value;
  }
  EXPECT_EQ(refused, 20);
  x.row(0)[0] = x.row(1)[0] = std::numeric_limits<float>::quiet_NaN();
  params.labels = true;
  expect_contains(fit_error(x.view(), params), {"NaN", "row 0"});
}

TEST(FitNoOracle, WarnsWhenFloat32LosesTheSpread) {
  std::vector<double> x(400);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 2 ? 1e9 + static_cast<double>(i) : static_cast<double>(i);
  const Result got = fit({x.data(), 200, 2, DType::f64}, params_of(2, {}));
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_EQ(got.warnings[0].kind, Warning::Kind::precision);
  expect_contains(got.warnings[0].message, {"column 1", "float64"});
  for (double& value : x) value = std::fmod(value, 1e9);
  EXPECT_TRUE(fit({x.data(), 200, 2, DType::f64}, params_of(2, {})).warnings.empty());
}

}  // namespace
}  // namespace fastkmeans::testing
