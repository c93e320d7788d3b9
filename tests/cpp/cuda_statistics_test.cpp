// SPDX-License-Identifier: Apache-2.0
// What a CUDA device finds out about rows before anything is assigned, beside plain loops.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda_fits.hpp"

#ifdef FASTKMEANS_CUDA
#include "cuda/statistics.hpp"

namespace fastkmeans::testing {
namespace {

using CudaStatistics = CudaFits;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

// Rows that lie on the device, `ld` apart from element `first` on, in the midst of NaN: what is read beside them is
// seen.
class LaidRows : public cuda::Rows {
 public:
  LaidRows(cuda::Device& device, const Matrix& rows, std::int64_t first, std::int64_t ld)
      : n_(rows.rows), first_(first), ld_(ld), values_(device, first + n_ * ld + 4) {
    std::vector<float> laid(static_cast<std::size_t>(values_.size()), kNaN);
    for (std::int64_t i = 0; i < n_; ++i)
      std::copy_n(rows.row(i), rows.cols, &laid[static_cast<std::size_t>(first + i * ld)]);
    device.upload(values_.data(), laid.data(), values_.bytes());
  }
  cuda::Stored stored() const override { return cuda::Stored::floats; }
  std::optional<cuda::RowsView> all() override { return cuda::RowsView{values_.data() + first_, ld_}; }
  void fetch(const std::int64_t*, std::int64_t, float*) override { FAIL(); }

 private:
  void each(std::int64_t most, bool, const VisitStored& visit) override {
    for (std::int64_t i = 0; i < n_; i += most)
      visit(i, std::min(most, n_ - i), cuda::RowsView{values_.data() + first_ + i * ld_, ld_});
  }

  std::int64_t n_, first_, ld_;
  cuda::DeviceBuffer<float> values_;
};

struct Facts {
  std::vector<std::uint8_t> states;
  Statistics statistics;
};

Facts expected_facts(const Matrix& x, const std::vector<std::int64_t>& weights, bool all_statistics) {
  Facts facts;
  Statistics& of_all = facts.statistics;
  of_all.column_max.resize(static_cast<std::size_t>(x.cols));
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const float* const row = x.row(i);
    const auto below = [&](float limit) {
      return std::all_of(row, row + x.cols, [&](float v) { return std::abs(v) < limit; });
    };
    const bool bad = !below(magnitude_limit(x.cols));
    facts.states.push_back(
        static_cast<std::uint8_t>((bad ? cuda::kBadRow : 0) | (below(kTinyBelow) ? cuda::kTinyRow : 0)));
    if (bad) of_all.check.note(i);
    if (bad || !all_statistics || (!weights.empty() && weights[static_cast<std::size_t>(i)] == 0)) continue;
    float most = 0;
    for (std::int64_t j = 0; j < x.cols; ++j) {
      float& largest = of_all.column_max[static_cast<std::size_t>(j)];
      largest = std::max(largest, std::abs(row[j]));
      most = std::max(most, std::abs(row[j]));
    }
    of_all.zero_rows += most == 0;
    if (most > 0 && (of_all.least_row_max == 0 || most < of_all.least_row_max)) of_all.least_row_max = most;
  }
  return facts;
}

void expect_facts(cuda::Device& device, cuda::Rows& rows, std::int64_t d, std::int64_t batch,
                  const std::vector<std::int64_t>& weights, bool all_statistics, const Facts& expected) {
  const auto n = std::ssize(expected.states);
  const auto of_rows = cuda::uploaded(device, weights.data(), std::ssize(weights));
  const cuda::RowFacts facts(device, rows, n, d, batch, of_rows.data(), all_statistics, false);
  EXPECT_EQ(cuda::downloaded(device, facts.states(), n), expected.states);
  const Statistics &got = facts.statistics(), &wanted = expected.statistics;
  EXPECT_EQ(got.column_max, wanted.column_max);
  EXPECT_EQ(got.least_row_max, wanted.least_row_max);
  EXPECT_EQ(got.zero_rows, wanted.zero_rows);
  EXPECT_EQ(got.check.bad, wanted.check.bad);
  EXPECT_EQ(got.check.first, wanted.check.first);
}

// Rows of all scales; zero rows, of either sign; tiny ones; bad ones, by the first element, the last or any.
Matrix rows_of_all_states(std::int64_t n, std::int64_t d, Random& random) {
  Matrix x = random_rows(Kind::normal, n, d, random);
  for (std::int64_t i = 0; i < n; ++i) {
    float* const row = x.row(i);
    const std::int64_t kind = draw(random, 0, 19);
    const int exponent = kind == 0 ? -140 : kind == 1 ? -40 : static_cast<int>(draw(random, -20, 40));
    for (std::int64_t j = 0; j < d; ++j)
      row[j] = kind == 2 ? std::copysign(0.0f, row[j]) : std::ldexp(row[j], exponent);
    const float limit = magnitude_limit(d);
    if (kind == 3) row[0] = kNaN;
    if (kind == 4) row[d - 1] = -kInf;
    if (kind == 5) row[draw(random, 0, d - 1)] = limit;
    if (kind == 6) row[draw(random, 0, d - 1)] = -std::nextafter(limit, 0.0f);
  }
  return x;
}

// On both sides of parts of a warp, warps, and what a block has in registers; in one piece and in several; with and
// without weights; wherever rows lie.
TEST_F(CudaStatistics, Shapes) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  Random random(501);
  for (const std::int64_t d : {1,   2,   3,   4,   5,   8,   15,  16,   17,   20,   33,   63,   64,   65,   127,  128,
                               129, 132, 252, 256, 260, 511, 768, 1000, 1024, 1535, 1536, 1537, 1540, 3072, 3100, 5001})
    for (const std::int64_t n : {1, 7, 9, 65, 300}) {
      const Matrix x = rows_of_all_states(n, d, random);
      std::vector<std::int64_t> weights;
      for (std::int64_t i = 0; i < n; ++i) weights.push_back(draw(random, 0, 2));
      for (const auto& given : {std::vector<std::int64_t>(), weights})
        for (const bool all : {true, false}) {
          const Facts expected = expected_facts(x, given, all);
          for (const auto& [first, ld, batch] : {std::tuple{std::int64_t{0}, d, n},
                                                 {1, d, n},
                                                 {4, d + 4, n},
                                                 {3, d + 1, 37},
                                                 {0, (d + 3) / 4 * 4, 100}}) {
            SCOPED_TRACE(::testing::Message() << n << " x " << d << " from " << first << " every " << ld << " batch "
                                              << batch << " weights " << given.size() << " all " << all);
            LaidRows rows(device, x, first, ld);
            expect_facts(device, rows, d, batch, given, all, expected);
            if (HasFailure()) return;
          }
        }
    }
}

// More rows than the blocks of a grid take at once, so that each comes back for more; all rows zero, or none used.
TEST_F(CudaStatistics, ManyRowsHeavy) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  Random random(502);
  const std::int64_t blocks = 32 * device.processors();
  for (const auto& [n, d] : {std::pair{2 * 8 * blocks + 5, std::int64_t{132}}, {2048 * blocks + 77, 3}}) {
    SCOPED_TRACE(::testing::Message() << n << " x " << d);
    Matrix x = rows_of_all_states(n, d, random);
    LaidRows rows(device, x, 0, d);
    expect_facts(device, rows, d, n, {}, true, expected_facts(x, {}, true));
    const std::vector<std::int64_t> unused(static_cast<std::size_t>(n));
    expect_facts(device, rows, d, n, unused, true, expected_facts(x, unused, true));
    std::fill(x.values.begin(), x.values.end(), 0.0f);
    LaidRows zeros(device, x, 0, d);
    expect_facts(device, zeros, d, n, {}, true, expected_facts(x, {}, true));
  }
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
