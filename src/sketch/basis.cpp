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

// out[b] += sign (factors[0] rows[b] + factors[stride] rows[ld + b] + ...), `count` products, for b in [begin, end):
// four at a time, so that one pass over out does for four.
void add_products(double sign, const double* factors, std::int64_t stride, const double* rows, std::int64_t ld,
                  std::int64_t count, double* __restrict out, std::int64_t begin, std::int64_t end) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const double *r0 = rows + i * ld, *r1 = r0 + ld, *r2 = r1 + ld, *r3 = r2 + ld, *f = factors + i * stride;
    const double f0 = sign * f[0], f1 = sign * f[stride], f2 = sign * f[2 * stride], f3 = sign * f[3 * stride];
    for (std::int64_t b = begin; b < end; ++b) out[b] += (f0 * r0[b] + f1 * r1[b]) + (f2 * r2[b] + f3 * r3[b]);
  }
  for (; i < count; ++i) {
    const double factor = sign * factors[i * stride];
    for (std::int64_t b = begin; b < end; ++b) out[b] += factor * rows[i * ld + b];
  }
}

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
    constexpr std::int64_t kBlock = 8;  // rows of it, the first of which are the longest
    workers_.for_blocks(columns_, kBlock, operations(), [&](std::int64_t first, std::int64_t count, int worker) {
      for (std::int64_t a = first; a < first + count; ++a) std::fill_n(gram(a), columns_, 0.0);
      for (std::int64_t j = 0; j < d_; j += 4) {
        if (j % 256 == 0) workers_.checkpoint(worker);
        for (std::int64_t a = first; a < first + count; ++a)
          add_products(1, row(j) + a, columns_, row(j), columns_, std::min<std::int64_t>(4, d_ - j), gram(a), a,
                       columns_);
      }
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

  // U with U^T U = W^T W, in its place: some rows, by the caller alone, and what they take from all further ones.
  void factorise() {
    constexpr std::int64_t kPanel = 32, kRows = 4;
    for (std::int64_t first = 0, last = 0; first < columns_; first = last) {
      workers_.checkpoint(0);
      last = std::min(first + kPanel, columns_);
      for (std::int64_t a = first; a < last; ++a) {
        take_away(first, a, a);
        scale(a);
      }
      const double left = static_cast<double>(columns_ - last);
      workers_.for_blocks(columns_ - last, kRows, left * left * kPanel, [&](std::int64_t c, std::int64_t count, int) {
        for (std::int64_t i = 0; i < count; ++i) take_away(first, last, last + c + i);
      });
    }
  }
  // Row c less the part of it that lies along rows [first, last) of U.
  void take_away(std::int64_t first, std::int64_t last, std::int64_t c) {
    add_products(-1, gram(first) + c, columns_, gram(first), columns_, last - first, gram(c), c, columns_);
  }
  // Row a of U from what the rows before have left of it.
  void scale(std::int64_t a) {
    double* of_a = gram(a);
    const bool is_zero = !(of_a[a] > kDependent);
    is_zero_[static_cast<std::size_t>(a)] = is_zero;
    const double root = is_zero ? 1 : std::sqrt(of_a[a]);
    for (std::int64_t b = a; b < columns_; ++b) of_a[b] = is_zero ? 0 : of_a[b] / root;
  }

  // W := W U^-1.
  void solve() {
    constexpr std::int64_t kRows = 8, kTogether = 4;  // columns, whose rows of U stay in the cache for kRows
    workers_.for_blocks(d_, kRows, operations(), [&](std::int64_t first, std::int64_t count, int) {
      for (std::int64_t some = 0; some < columns_; some += kTogether) {
        const std::int64_t next = std::min(some + kTogether, columns_);
        for (std::int64_t j = first; j < first + count; ++j) {
          double* r = row(j);
          for (std::int64_t a = some; a < next; ++a) {
            add_products(-1, r + some, 1, gram(some), columns_, a - some, r, a, a + 1);
            r[a] = is_zero_[static_cast<std::size_t>(a)] ? 0 : r[a] / gram(a)[a];
          }
          add_products(-1, r + some, 1, gram(some), columns_, next - some, r, next, columns_);
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
