// SPDX-License-Identifier: Apache-2.0
#include "sketch/basis.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fastkmeans {
namespace {

// Columns with less than this share of their square left, once those before are taken away, are noise of fp32.
constexpr double kDependent = 1e-12;
// What W may be off by. The filter's bound pays half of it, as a share of a row's length: less than its own roundings.
constexpr double kMostExcess = 0x1p-16;
constexpr int kMostRounds = 4;

class CholeskyQr {
 public:
  CholeskyQr(std::vector<float>& w, std::int64_t d, std::int64_t columns, Workers& workers)
      : w_(w),
        d_(d),
        columns_(columns),
        workers_(workers),
        values_(w.size()),
        gram_(static_cast<std::size_t>(columns * columns)),
        is_zero_(static_cast<std::size_t>(columns)) {}

  // The excess, or a negative number if it stays too large.
  double run() {
    for (int round = 0; round < kMostRounds; ++round) {
      std::copy(w_.begin(), w_.end(), values_.begin());
      if (round == 0) normalise();
      form_gram();
      if (const double found = excess(); round > 0 && found <= kMostExcess) return found;
      factorise();
      solve();
      std::transform(values_.begin(), values_.end(), w_.begin(), [](double v) { return static_cast<float>(v); });
    }
    return -1;
  }

 private:
  double* row(std::int64_t j) { return values_.data() + j * columns_; }
  double* gram(std::int64_t a) { return gram_.data() + a * columns_; }
  double operations() const { return static_cast<double>(d_ * columns_ * columns_); }

  // Columns of length 1, or 0.
  void normalise() {
    std::vector<double> squares(static_cast<std::size_t>(columns_));
    for (std::int64_t j = 0; j < d_; ++j)
      for (std::int64_t a = 0; a < columns_; ++a) squares[static_cast<std::size_t>(a)] += row(j)[a] * row(j)[a];
    for (double& s : squares) s = s > 0 ? 1 / std::sqrt(s) : 0;
    for (std::int64_t j = 0; j < d_; ++j)
      for (std::int64_t a = 0; a < columns_; ++a) row(j)[a] *= squares[static_cast<std::size_t>(a)];
  }

  // W^T W, its upper triangle.
  void form_gram() {
    constexpr std::int64_t kBlock = 16;
    workers_.for_blocks(columns_, kBlock, operations(), [&](std::int64_t first, std::int64_t count, int worker) {
      for (std::int64_t a = first; a < first + count; ++a) std::fill_n(gram(a), columns_, 0.0);
      std::int64_t j = 0;
      for (; j + 4 <= d_; j += 4) {  // four at a time: one pass over the sums for four products
        if (j % 256 == 0) workers_.checkpoint(worker);
        const double *r0 = row(j), *r1 = row(j + 1), *r2 = row(j + 2), *r3 = row(j + 3);
        for (std::int64_t a = first; a < first + count; ++a) {
          const double w0 = r0[a], w1 = r1[a], w2 = r2[a], w3 = r3[a];
          double* out = gram(a);
          for (std::int64_t b = a; b < columns_; ++b) out[b] += (w0 * r0[b] + w1 * r1[b]) + (w2 * r2[b] + w3 * r3[b]);
        }
      }
      for (; j < d_; ++j)
        for (std::int64_t a = first; a < first + count; ++a)
          for (std::int64_t b = a; b < columns_; ++b) gram(a)[b] += row(j)[a] * row(j)[b];
    });
  }

  // |W|^2 - 1 is at most the largest sum of a row of |W^T W - P|, P the identity but for columns of zeros, and what the
  // sums of d products lost.
  double excess() {
    std::vector<double> sums(static_cast<std::size_t>(columns_));
    for (std::int64_t a = 0; a < columns_; ++a)
      for (std::int64_t b = a; b < columns_; ++b) {
        const double one = a == b && gram(a)[a] != 0 ? 1 : 0;
        const double off = std::abs(gram(a)[b] - one);
        sums[static_cast<std::size_t>(a)] += off;
        if (a != b) sums[static_cast<std::size_t>(b)] += off;
      }
    const double lost = static_cast<double>(columns_ * d_) * 0x1p-52;
    return *std::max_element(sums.begin(), sums.end()) + lost;  // mutant: basis_excess
  }

  // U with U^T U = W^T W, in its place.
  void factorise() {
    for (std::int64_t a = 0; a < columns_; ++a) {
      workers_.checkpoint(0);
      double* of_a = gram(a);
      is_zero_[static_cast<std::size_t>(a)] = !(of_a[a] > kDependent);
      if (is_zero_[static_cast<std::size_t>(a)]) {
        std::fill(of_a + a, of_a + columns_, 0.0);
        continue;
      }
      const double root = std::sqrt(of_a[a]);
      for (std::int64_t b = a; b < columns_; ++b) of_a[b] /= root;
      for (std::int64_t c = a + 1; c < columns_; ++c) {
        const double factor = of_a[c];
        double* of_c = gram(c);
        for (std::int64_t b = c; b < columns_; ++b) of_c[b] -= factor * of_a[b];
      }
    }
  }

  // W := W U^-1.
  void solve() {
    constexpr std::int64_t kRows = 4;
    workers_.for_blocks(d_, kRows, operations(), [&](std::int64_t first, std::int64_t count, int) {
      for (std::int64_t a = 0; a < columns_; ++a) {
        const double* u = gram(a);
        const bool is_zero = is_zero_[static_cast<std::size_t>(a)];
        for (std::int64_t j = first; j < first + count; ++j) {
          double* r = row(j);
          r[a] = is_zero ? 0 : r[a] / u[a];
          const double factor = r[a];
          for (std::int64_t b = a + 1; b < columns_; ++b) r[b] -= factor * u[b];
        }
      }
    });
  }

  std::vector<float>& w_;
  std::int64_t d_, columns_;
  Workers& workers_;
  std::vector<double> values_, gram_;  // (d, columns), (columns, columns)
  std::vector<std::uint8_t> is_zero_;  // (columns)
};

}  // namespace

Basis orthonormal(std::vector<float> w, std::int64_t d, std::int64_t directions, Workers& workers) {
  double excess = CholeskyQr(w, d, directions, workers).run();
  if (!(excess >= 0)) {
    std::fill(w.begin(), w.end(), 0.0f);
    excess = 0;
  }
  return {.d = d, .directions = directions, .w = std::move(w), .excess = excess};
}

}  // namespace fastkmeans
