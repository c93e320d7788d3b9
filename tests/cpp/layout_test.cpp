// SPDX-License-Identifier: Apache-2.0
// Rows that are slices of wider arrays: the same bits as packed ones, whatever stands in the columns that a slice does
// not show, and no byte is read behind the last row.
#include "guarded.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i8,  DType::u8,
                            DType::i16, DType::u16, DType::i32, DType::u32,  DType::i64, DType::u64};
constexpr std::int64_t kMostGap = 40;  // elements: more than a vector of padding, in every type

// Small numbers of any type.
std::vector<char> random_elements(DType dtype, std::int64_t count, Random& random) {
  const std::size_t item = item_size(dtype);
  std::vector<char> bytes(static_cast<std::size_t>(count) * item);
  for (std::size_t at = 0; at < bytes.size(); at += item) {
    const auto number = draw(random, 0, 60);
    const auto put = [&](auto value) { std::memcpy(&bytes[at], &value, sizeof value); };
    switch (dtype) {
      case DType::f32: put(static_cast<float>(number) / 7); break;
      case DType::f64: put(static_cast<double>(number) / 7); break;
      case DType::f16: put(static_cast<std::uint16_t>(0x3c00 + 37 * number)); break;  // 1 to 8
      case DType::bf16: put(static_cast<std::uint16_t>(0x3f80 + 5 * number)); break;  // 1 to 20
      default: std::memcpy(&bytes[at], &number, item);                                // little endian
    }
  }
  return bytes;
}

TEST(LayoutNoOracle, RowsAreLoadedAcrossEveryGapAndOffset) {
  Random random(130);
  constexpr std::int64_t rows = 4;
  GuardedMemory memory(1 << 14);
  for (const DType dtype : kTypes)
    for (const std::int64_t d : {1, 7, 8, 15, 16, 17, 30, 33, 120}) {
      const auto item = static_cast<std::int64_t>(item_size(dtype)), ld = cpu::padded(d);
      const std::vector<char> bytes = random_elements(dtype, rows * d, random);
      const MatrixView packed(bytes.data(), rows, d, dtype);
      std::vector<float> expected(static_cast<std::size_t>(rows * ld));
      for (std::int64_t i = 0; i < rows; ++i) read_row(packed, i, &expected[static_cast<std::size_t>(i * ld)]);
      for (std::int64_t gap = 0; gap <= kMostGap; ++gap)
        for (std::int64_t offset = 0; offset < 9; ++offset) {
          const Hidden hidden = (gap + offset) % 2 ? Hidden::ones : Hidden::large;
          const MatrixView x = slice_of(packed, gap * item, offset, hidden, memory);
          for (const cpu::Isa* isa : kernel_isas()) {
            std::vector<float> out(expected.size(), -7.0f);
            isa->kernels->load_rows(x, 0, rows, out.data(), ld);
            ASSERT_TRUE(same_bits(out, expected)) << isa->name << " dtype " << static_cast<int>(dtype) << " d " << d
                                                  << " gap " << gap << " offset " << offset;
          }
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

// A gap of a few bytes more than whole elements makes every other row misaligned.
TEST(LayoutNoOracle, FitsAcrossEveryGapAndOffset) {
  Random random(131);
  constexpr std::int64_t rows = 30;
  GuardedMemory memory(1 << 15);
  for (const Path& path : kernel_paths()) {
    const Execution execution = on(path);
    for (const DType dtype : kTypes)
      for (const std::int64_t d : {3, 16, 28, 56}) {
        const auto item = static_cast<std::int64_t>(item_size(dtype));
        const std::vector<char> bytes = random_elements(dtype, rows * d, random);
        const MatrixView packed(bytes.data(), rows, d, dtype);
        const Fit expected = fit_and_predict(packed, execution);
        const std::int64_t step = dtype == DType::f32 ? 1 : 4;  // rows of other types are always converted
        for (std::int64_t gap = 0; gap <= kMostGap; gap += step)
          for (const std::int64_t odd : {0, 1, 2}) {
            SCOPED_TRACE(::testing::Message()
                         << path << " dtype " << static_cast<int>(dtype) << " d " << d << " gap " << gap << '+' << odd);
            const Hidden hidden = gap % 2 ? Hidden::ones : Hidden::large;
            const std::int64_t offset = gap % 4 + odd;
            const MatrixView x = slice_of(packed, gap * item + odd, offset, hidden, memory);
            ASSERT_NO_FATAL_FAILURE(expect_same(fit_and_predict(x, execution), expected));
          }
      }
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
