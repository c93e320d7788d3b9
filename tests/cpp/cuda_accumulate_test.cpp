// SPDX-License-Identifier: Apache-2.0
// Rows that move from sum to sum on a CUDA device, whether blocks have sums of their own or not, beside the same row by
// row. Small enough for compute-sanitizer, but for one test.
#include "cuda_fits.hpp"

#ifdef FASTKMEANS_CUDA
#include "cuda/accumulate.hpp"
#include "cuda/tuning.hpp"

namespace fastkmeans::testing {
namespace {

using Labels = std::vector<std::int32_t>;

class CudaAccumulate : public CudaFits {
 protected:
  void SetUp() override {
    CudaFits::SetUp();
    if (!IsSkipped()) device_.emplace(0, on(Path{"cuda", ""}), workers_);
  }

  static Labels random_labels(std::int64_t n, std::int64_t k, Random& random) {
    Labels labels(static_cast<std::size_t>(n));
    for (auto& label : labels) label = static_cast<std::int32_t>(draw(random, 0, k - 1));
    return labels;
  }
  static std::vector<std::int64_t> random_weights(std::int64_t n, Random& random) {
    std::vector<std::int64_t> weights(static_cast<std::size_t>(n));
    for (auto& weight : weights) weight = draw(random, 0, 3);
    return weights;
  }

  static Sums row_by_row(const Matrix& x, const FixedPoint& scale, std::int64_t k, const Labels& from, const Labels& to,
                         const std::vector<std::int64_t>& weights) {
    Sums sums(k, x.cols, scale.two_limbs(), !weights.empty());
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const std::int64_t times = weights.empty() ? 1 : weights[at];
      if (times == 0 || (!from.empty() && from[at] == to[at])) continue;
      const auto move = [&](std::int32_t c, std::int64_t often) {
        add_row(scale, x.row(i), often, sums.hi_row(c), sums.lo_row(c));
        sums.count(c, often);
      };
      move(to[at], times);
      if (!from.empty()) move(from[at], -times);
    }
    return sums;
  }

  int blocks_with_sums(const cuda::SumsView& sums, std::int64_t moving) const {
    return cuda::blocks_with_sums(cuda::sums_of_block(sums.k, sums.d, sums.lo, sums.members), sums.k, moving,
                                  device_->processors(), device_->shared_memory());
  }

  void expect_values(const cuda::Integer* got, const std::vector<std::uint64_t>& expected) {
    EXPECT_EQ(!got, expected.empty());
    if (!got) return;
    const auto values = cuda::downloaded(*device_, got, static_cast<std::int64_t>(expected.size()));
    EXPECT_TRUE(std::equal(values.begin(), values.end(), expected.begin()));
  }

  // from and weights empty: none. moving: as accumulate() wants it. Returns whether blocks had sums of their own.
  bool expect_same(const Matrix& x, std::int64_t k, const Labels& from, const Labels& to,
                   const std::vector<std::int64_t>& weights, std::int64_t moving) {
    const FixedPoint scale = scale_of(x.view());
    two_limbs_ += scale.two_limbs();
    const cuda::Scale scale_there(*device_, scale);
    const cuda::Sums sums(*device_, k, x.cols, scale.two_limbs(), !weights.empty());
    const auto rows = cuda::uploaded(*device_, x.values.data(), x.rows * x.cols);
    const auto before = cuda::uploaded(*device_, from.data(), static_cast<std::int64_t>(from.size()));
    const auto now = cuda::uploaded(*device_, to.data(), x.rows);
    const auto often = cuda::uploaded(*device_, weights.data(), static_cast<std::int64_t>(weights.size()));
    cuda::accumulate(*device_, cuda::RowsView{rows.data(), x.cols}, x.rows, from.empty() ? nullptr : before.data(),
                     now.data(), weights.empty() ? nullptr : often.data(), moving, scale_there.view(), sums.view());
    const Sums expected = row_by_row(x, scale, k, from, to, weights);
    expect_values(sums.view().hi, expected.hi);
    expect_values(sums.view().lo, expected.lo);
    expect_values(sums.view().weights, expected.weights);
    expect_values(sums.view().counts(), expected.members());
    return blocks_with_sums(sums.view(), moving) > 0;
  }

  static constexpr std::int64_t kFew = 0, kMany = std::int64_t{1} << 50;
  Workers workers_{2, {}};
  std::optional<cuda::Device> device_;
  int two_limbs_ = 0;  // fits that had them
};

// All numbers of lanes of which a row has some, with one limb and two, first labels and later ones, all or few of which
// change, weights of 0 to 3 or none.
TEST_F(CudaAccumulate, AsRowByRow) {
  Random random(401);
  for (const std::int64_t d : {1, 2, 3, 5, 8, 9, 16, 17, 31, 32, 33, 64, 100})
    for (const auto& [n, k] : {std::pair(1, 1), std::pair(31, 3), std::pair(1055, 1), std::pair(1055, 40)})
      for (const Kind kind : {Kind::normal, Kind::outliers, Kind::mixed_rows}) {
        SCOPED_TRACE(::testing::Message()
                     << "d " << d << " n " << n << " k " << k << " kind " << static_cast<int>(kind));
        const Matrix x = random_rows(kind, n, d, random);
        const Labels to = random_labels(n, k, random), from = random_labels(n, k, random);
        Labels few = to;
        for (auto& label : few)
          if (draw(random, 0, 19) == 0) label = static_cast<std::int32_t>(draw(random, 0, k - 1));
        const auto weights = random_weights(n, random);
        for (const Labels& before : {Labels{}, from, few})
          for (const auto& some : {std::vector<std::int64_t>{}, weights}) {
            EXPECT_TRUE(expect_same(x, k, before, to, some, kMany));
            EXPECT_FALSE(expect_same(x, k, before, to, some, kFew));
          }
      }
  EXPECT_GT(two_limbs_, 0);
}

// Many turns of every warp, and clusters that all warps wait for.
TEST_F(CudaAccumulate, ManyRowsHeavy) {
  Random random(402);
  for (const auto& [n, d, k] : {std::tuple(700'001, 3, 5), std::tuple(400'001, 8, 256), std::tuple(100'001, 40, 30)}) {
    SCOPED_TRACE(::testing::Message() << "d " << d << " n " << n << " k " << k);
    const Matrix x = random_rows(Kind::normal, n, d, random);
    const Labels all_in_one(static_cast<std::size_t>(n), k - 1), to = random_labels(n, k, random);
    EXPECT_TRUE(expect_same(x, k, {}, all_in_one, {}, kMany));
    EXPECT_TRUE(expect_same(x, k, all_in_one, to, {}, kMany));
    EXPECT_FALSE(expect_same(x, k, all_in_one, to, {}, kFew));
  }
}

// Sums that just fit into the shared memory of a block, by twos and alone, and that no longer do.
TEST_F(CudaAccumulate, AtTheLimit) {
  Random random(403);
  constexpr std::int64_t k = 2;
  const std::int64_t most = device_->shared_memory() / 8 / k - 1;
  for (const std::int64_t d : {most / 2 - 64, most / 2, most, most + 1}) {
    SCOPED_TRACE(::testing::Message() << "d " << d);
    const Matrix x = random_rows(Kind::normal, 40, d, random);
    const Labels from = random_labels(x.rows, k, random), to = random_labels(x.rows, k, random);
    EXPECT_EQ(expect_same(x, k, from, to, {}, kMany), d <= most);
  }
}

}  // namespace
}  // namespace fastkmeans::testing
#endif
