// SPDX-License-Identifier: Apache-2.0
// Rows of a CUDA device as kernels get them: where they lie, if they can be read there, else in fp32. And that filters
// read rows of 16 bits where they lie, with the oracle's bits.
#ifdef FASTKMEANS_CUDA

#include "cuda/rows.hpp"
#include "cuda_fits.hpp"
#include "layouts.hpp"
#include "low_rank.hpp"
#include "make_shard.hpp"

namespace fastkmeans::testing {
namespace {

class CudaRows : public CudaFits {
 protected:
  static constexpr std::int64_t kRows = 300, kBatch = 128;

  // Rows of `cols` elements that begin `offset` bytes into an allocation, every `row` bytes, an element every `col`.
  struct There {
    std::int64_t cols;
    DType dtype;
    std::int64_t row, col, offset;
  };
  static There side_by_side(std::int64_t cols, DType dtype, std::int64_t gap = 0, std::int64_t offset = 0) {
    const auto item = static_cast<std::int64_t>(item_size(dtype));
    return {cols, dtype, (cols + gap) * item, item, offset};
  }

  // `test` gets the rows on the device, as Rows, and their values.
  template <class Test>
  void with_rows(const There& there, const Metric& metric, const Test& test) {
    Random random(43);
    Packed values(random_rows(Kind::normal, kRows, there.cols, random), there.dtype, 1);
    const std::size_t item = item_size(there.dtype);
    std::vector<char> bytes(static_cast<std::size_t>(there.offset + (kRows - 1) * there.row + there.cols * there.col),
                            '\x7f');
    for (std::int64_t i = 0; i < kRows; ++i)
      for (std::int64_t j = 0; j < there.cols; ++j)
        std::memcpy(&bytes[static_cast<std::size_t>(there.offset + i * there.row + j * there.col)], values.at(i, j),
                    item);
    const auto memory = cuda::uploaded(*device_, bytes.data(), std::ssize(bytes));
    device_->wait();
    MatrixView x(memory.data() + there.offset, kRows, there.cols, there.dtype, there.row, there.col);
    x.cuda_device = 0;
    const auto source = make_source(x, nullptr, on(Path{"cuda", ""}), workers_);
    const auto rows = cuda::make_rows(*device_, *source, metric, true, 1 << 20);
    SCOPED_TRACE(name_of(there.dtype));
    test(*rows, x, values.view());
    device_->wait();
  }

  // As they are stored: where they lie, or elsewhere in fp32. In fp32: the values.
  void expect_stored(const There& there, const Metric& metric, cuda::Stored stored) {
    with_rows(there, metric, [&](cuda::Rows& rows, const MatrixView& x, const MatrixView& values) {
      EXPECT_EQ(rows.stored(), stored);
      std::int64_t seen = 0;
      rows.each_stored(kBatch, [&](std::int64_t first, std::int64_t count, const cuda::StoredRows& view) {
        EXPECT_EQ(first, seen);
        seen += count;
        const char* const here = static_cast<const char*>(x.data) + first * x.row_stride;
        EXPECT_EQ(view.x == here, stored != cuda::Stored::otherwise);
        EXPECT_EQ(view.dtype, stored == cuda::Stored::halves ? x.dtype : DType::f32);
        EXPECT_EQ(view.row(1).at - view.row(0).at, stored == cuda::Stored::otherwise ? 4 * x.cols : x.row_stride);
      });
      EXPECT_EQ(seen, kRows);
      if (!metric.keeps_rows()) return;
      rows.each_batch(kBatch, [&](std::int64_t first, std::int64_t count, cuda::RowsView view) {
        for (std::int64_t i = 0; i < count; ++i) {
          const std::vector<float> got = cuda::downloaded(*device_, view.row(i), x.cols);
          for (std::int64_t j = 0; j < x.cols; ++j)
            ASSERT_EQ(got[static_cast<std::size_t>(j)], element(values, first + i, j)) << first + i << ", " << j;
        }
      });
    });
  }

  void SetUp() override {
    CudaFits::SetUp();
    if (!IsSkipped()) device_.emplace(0, on(Path{"cuda", ""}), workers_);
  }

  Workers workers_{1, {}};
  std::optional<cuda::Device> device_;  // there may be none
};

TEST_F(CudaRows, ThatLieSideBySideAreReadThere) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const std::int64_t cols : {1, 7, 64, 100})
      for (const std::int64_t gap : {0, 1, 4, 24})
        for (const std::int64_t offset : {0, 1, 8})
          expect_stored(side_by_side(cols, dtype, gap, offset * static_cast<std::int64_t>(item_size(dtype))),
                        euclidean(), dtype == DType::f32 ? cuda::Stored::floats : cuda::Stored::halves);
}

TEST_F(CudaRows, OthersAreMadeFp32) {
  for (const DType dtype : {DType::f16, DType::bf16, DType::f64, DType::u8})
    expect_stored(side_by_side(48, dtype), spherical(), cuda::Stored::otherwise);
  for (const DType dtype : {DType::f64, DType::i8, DType::i64})
    expect_stored(side_by_side(48, dtype), euclidean(), cuda::Stored::otherwise);
  expect_stored(side_by_side(48, DType::f16, 0, 1), euclidean(), cuda::Stored::otherwise);  // at an odd address
  expect_stored({48, DType::bf16, 97, 2, 0}, euclidean(), cuda::Stored::otherwise);         // and every second one
  expect_stored({48, DType::f16, 192, 4, 0}, euclidean(), cuda::Stored::otherwise);         // with gaps
  expect_stored({48, DType::f16, 2, 2 * kRows, 0}, euclidean(), cuda::Stored::otherwise);   // Fortran order
  expect_stored({1, DType::f16, 6, 400, 0}, euclidean(), cuda::Stored::halves);             // of one element
}

// Four elements at a time, or one by one: the same bits as the oracle, by each filter but that of narrow sketches, with
// much memory and with little.
TEST_F(CudaRows, OfSixteenBits) {
  Random random(44);
  for (const DType dtype : {DType::f16, DType::bf16})
    for (const std::int64_t cols : {5, 66, 128, 200}) {
      const Packed x(random_rows(Kind::normal, 2100, cols, random), dtype, 0.25);
      Params params = params_of(140, 4, -1);
      params.execution = on("scalar");
      const Result expected = fit(x.view(), params);
      for (const char* filter : {"none", "int8", "int8_lists", "low_dim"})
        for (const std::int64_t limit : {0, 3 << 20}) {
          if (std::string_view(filter) == "low_dim" && cols > 64) continue;
          SCOPED_TRACE(std::string(name_of(dtype)) + " " + std::to_string(cols) + " " + filter);
          params.execution = on(Path{"cuda", filter});
          params.execution.memory_limit = limit;
          const Result got = fit(x.view(), params);
          expect_same(got, expected);
          if (limit == 0) {  // with little memory there are no lists
            EXPECT_EQ(got.iterations.front().filter.filter, filter);
          }
        }
    }
}

// On the device, where no row begins at a multiple of 16 bytes, or of 8, or of 4; and from the last row to the first.
TEST_F(CudaRows, OfSixteenBitsAtAnyAddress) {
  for (const DType dtype : {DType::f16, DType::bf16})
    for (const std::int64_t cols : {128, 131})
      for (const std::int64_t gap : {0, 1, 2})
        for (const std::int64_t offset : {1, 2})
          with_rows(side_by_side(cols, dtype, gap, 2 * offset), euclidean(),
                    [&](cuda::Rows& rows, const MatrixView& x, const MatrixView& values) {
                      EXPECT_EQ(rows.stored(), cuda::Stored::halves);
                      for (const bool reversed : {false, true}) {
                        SCOPED_TRACE(::testing::Message() << cols << " columns, gap " << gap << ", offset " << offset
                                                          << (reversed ? ", reversed" : ""));
                        const auto turned = [&](MatrixView view) {
                          if (!reversed) return view;
                          view.data = static_cast<const char*>(view.data) + (view.rows - 1) * view.row_stride;
                          view.row_stride = -view.row_stride;
                          return view;
                        };
                        Params params = params_of(140, 3, -1);
                        params.execution = on("scalar");
                        const Result expected = fit(turned(values), params);
                        for (const char* filter : {"int8", "int8_lists"}) {
                          params.execution = on(Path{"cuda", filter});
                          const Result got = fit(turned(x), params);
                          expect_same(got, expected);
                          EXPECT_EQ(got.iterations.front().filter.filter, filter);
                        }
                      }
                    });
}

// Narrow sketches take fp32 until all rows have theirs, and the rest of the fit what is stored; a second run begins
// with sketches that are there. With much memory and with little.
TEST_F(CudaRows, OfSixteenBitsWithNarrowSketches) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const Packed x(low_rank(2100, 515, 12, 0.05f), dtype, 1);
    Params params = params_of(140, 4, -1);
    params.nredo = 2;
    params.execution = on("scalar");
    const Result expected = fit(x.view(), params);
    for (const std::int64_t limit : {0, 8 << 20}) {
      SCOPED_TRACE(::testing::Message() << name_of(dtype) << ", limit " << limit);
      params.execution = on(Path{"cuda", "narrow"});
      params.execution.memory_limit = limit;
      const Result got = fit(x.view(), params);
      expect_same(got, expected);
      for (const IterationStats& stats : got.iterations) EXPECT_EQ(stats.filter.filter, "narrow");
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
