// SPDX-License-Identifier: Apache-2.0
// Rows that are slices of wider arrays: the same bits as packed ones, whatever stands in the columns that a slice does
// not show, and no byte is read behind the last row.
#include "layouts.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {
namespace {

constexpr std::int64_t kMostGap = 40;  // elements: more than a vector of padding, in every type

// Small numbers of any type.
Packed random_elements(std::int64_t rows, std::int64_t cols, DType dtype, Random& random) {
  Matrix values(rows, cols);
  for (float& value : values.values) value = static_cast<float>(draw(random, 0, 60)) / 4;
  return Packed(values, dtype, 1);
}

// A slice of an array with `gap` bytes more a row; behind its last row nobody may read. Gaps and offsets take turns
// with what they hide.
Layout slice(const Packed& x, std::int64_t gap, std::int64_t turn) {
  Layout layout;
  layout.col_stride = static_cast<std::int64_t>(item_size(x.dtype));
  layout.row_stride = x.cols * layout.col_stride + gap;
  layout.place = Place::before_guard;
  layout.hidden = static_cast<Hidden>(turn % 5);
  return layout;
}

TEST(LayoutNoOracle, RowsAreLoadedAcrossEveryGapAndOffset) {
  Random random(130);
  constexpr std::int64_t rows = 4;
  Arena memory;
  for (const DType dtype : kDTypes)
    for (const std::int64_t d : {1, 7, 8, 15, 16, 17, 30, 33, 120}) {
      const auto item = static_cast<std::int64_t>(item_size(dtype)), ld = cpu::padded(d);
      const Packed packed = random_elements(rows, d, dtype, random);
      std::vector<float> expected(static_cast<std::size_t>(rows * ld));
      for (std::int64_t i = 0; i < rows; ++i) read_row(packed.view(), i, &expected[static_cast<std::size_t>(i * ld)]);
      const auto expect_loaded = [&](const Layout& layout) {
        const MatrixView x = memory.place(packed, layout, random);
        for (const cpu::Isa* isa : kernel_isas()) {
          std::vector<float> out(expected.size(), -7.0f);
          isa->kernels->load_rows(x, 0, rows, out.data(), ld);
          ASSERT_TRUE(same_bits(out, expected)) << isa->name << ' ' << name_of(dtype) << " d " << d << ' ' << layout;
        }
      };
      for (std::int64_t gap = 0; gap <= kMostGap; ++gap) {
        ASSERT_NO_FATAL_FAILURE(expect_loaded(slice(packed, gap * item, gap)));
        Layout layout = slice(packed, gap * item, gap + 1);
        layout.place = Place::anywhere;
        for (layout.offset = 0; layout.offset < 64; layout.offset += gap % 8 == 0 ? 1 : 9)
          ASSERT_NO_FATAL_FAILURE(expect_loaded(layout));
      }
    }
}

struct Fit {
  Result result;
  Prediction prediction;
};

// Statistics, sketches or rows, distances, sums, and the last labels: every reader of rows.
Fit fit_and_predict(const MatrixView& x, const Execution& execution) {
  Params params;
  params.k = 4;
  params.niter = 3;
  params.tol = 0;
  params.execution = execution;
  Fit fit;
  fit.result = fastkmeans::fit(x, params);
  for (const IterationStats& stats : fit.result.iterations) expect_ran(path_of(execution), stats.filter, x.cols, false);
  fit.prediction = predict(x, MatrixView(fit.result.centroids.data(), params.k, x.cols), {true, execution});
  return fit;
}

void expect_same(const Fit& got, const Fit& expected) {
  ASSERT_TRUE(same_bits(got.result.centroids, expected.result.centroids));
  ASSERT_EQ(got.result.labels, expected.result.labels);
  ASSERT_EQ(got.result.inertia, expected.result.inertia);
  ASSERT_EQ(got.prediction.labels, expected.prediction.labels);
  ASSERT_TRUE(same_bits(got.prediction.distances, expected.prediction.distances));
}

// A gap of a few bytes more than whole elements makes rows misaligned.
TEST(LayoutNoOracle, FitsAcrossEveryGap) {
  Random random(131);
  constexpr std::int64_t rows = 30;
  Arena memory;
  for (const Path& path : fit_paths()) {
    const Execution execution = on(path);
    for (const DType dtype : kDTypes)
      for (const std::int64_t d : {3, 16, 28, 56}) {
        const Packed packed = random_elements(rows, d, dtype, random);
        const Fit expected = fit_and_predict(packed.view(), execution);
        const std::int64_t step = dtype == DType::f32 ? 1 : 4;  // rows of other types are always converted
        for (std::int64_t gap = 0; gap <= kMostGap; gap += step)
          for (const std::int64_t odd : {0, 1, 2}) {
            const Layout layout = slice(packed, gap * static_cast<std::int64_t>(item_size(dtype)) + odd, gap + odd);
            SCOPED_TRACE(::testing::Message() << path << ' ' << name_of(dtype) << " d " << d << ' ' << layout);
            const MatrixView x = memory.place(packed, layout, random);
            ASSERT_NO_FATAL_FAILURE(expect_same(fit_and_predict(x, execution), expected));
          }
      }
  }
}

// Initial centroids and those of a prediction: where they lie as floats without gaps, shards take them from there.
TEST(LayoutNoOracle, GivenCentroidsInEveryLayout) {
  Random random(131);
  Arena memory;
  Params params = params_of(5, 2, -1);
  for (const DType dtype : kDTypes)
    for (int turn = 0; turn < (dtype == DType::f32 ? 60 : 6); ++turn) {
      const std::int64_t d = draw(random, 1, 40);
      const Packed x = random_elements(30, d, DType::f32, random), packed = random_elements(5, d, dtype, random);
      Matrix same(5, d);
      for (std::int64_t c = 0; c < 5; ++c) read_row(packed.view(), c, same.row(c));
      params.init = same.view();
      const Result expected = fit(x.view(), params);
      Layout layout = random_layout(5, d, dtype, {}, random);
      if (turn < 3)
        layout = {d * static_cast<std::int64_t>(item_size(dtype)), static_cast<std::int64_t>(item_size(dtype)),
                  Place::before_guard, 0, Hidden::nan};
      params.init = memory.place(packed, layout, random);
      const Result got = fit(x.view(), params);
      ASSERT_TRUE(same_bits(got.centroids, expected.centroids)) << name_of(dtype) << " d " << d << ' ' << layout;
      ASSERT_EQ(predict(x.view(), *params.init).labels, predict(x.view(), same.view()).labels);
    }
}

TEST(LayoutNoOracle, OnlyAlignedFloatsAreReadInPlace) {
  alignas(16) const float values[16] = {};
  const char* bytes = reinterpret_cast<const char*>(values);
  const auto view = [&](std::int64_t offset, std::int64_t row_stride) {
    return MatrixView(bytes + offset, 3, 2, DType::f32, row_stride, 4);
  };
  for (const std::int64_t stride : {0, 4, 8, 12, -8})
    EXPECT_EQ(cpu::row_in_place(view(32, stride), 1), reinterpret_cast<const float*>(bytes + 32 + stride));
  for (const std::int64_t odd : {1, 2, 3}) {
    EXPECT_EQ(cpu::row_in_place(view(odd, 8), 1), nullptr) << odd;
    EXPECT_EQ(cpu::row_in_place(view(0, 8 + odd), 1), nullptr) << odd;
    EXPECT_EQ(cpu::row_in_place(view(32, -8 - odd), 1), nullptr) << odd;
  }
  EXPECT_EQ(cpu::row_in_place(MatrixView(bytes, 3, 2, DType::f32, 8, 8), 0), nullptr);
  EXPECT_EQ(cpu::row_in_place(MatrixView(bytes, 3, 2, DType::i32, 8, 4), 0), nullptr);
}

}  // namespace
}  // namespace fastkmeans::testing
