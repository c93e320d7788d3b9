// SPDX-License-Identifier: Apache-2.0
// Narrow sketches: the directions, what is said of a row, the survey, and where the planner takes them.
#include "cpu/narrow.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>

#include "cpu/assigner.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/products.hpp"
#include "low_rank.hpp"
#include "rotated.hpp"
#include "shards.hpp"
#include "sketch/basis.hpp"
#include "sketch/projection.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

using Real = long double;

// The largest eigenvalue of W^T W, by power iteration from a random vector: a little less than the truth, never more.
Real squared_norm(const Basis& basis) {
  const auto h = static_cast<std::size_t>(basis.directions), d = static_cast<std::size_t>(basis.d);
  std::vector<Real> v(h);
  const std::vector<float> start = normals(basis.directions, 4);
  std::copy(start.begin(), start.end(), v.begin());
  Real value = 0;
  for (int round = 0; round < 30; ++round) {
    const Real length = std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), Real{0}));
    if (length == 0) return 0;
    std::vector<Real> next(h);
    for (std::size_t j = 0; j < d; ++j) {
      const float* w = &basis.w[j * h];
      const Real dot = std::inner_product(v.begin(), v.end(), w, Real{0}) / length;
      for (std::size_t a = 0; a < h; ++a) next[a] += dot * static_cast<Real>(w[a]);
    }
    value = std::inner_product(v.begin(), v.end(), next.begin(), Real{0}) / length;
    v = next;
  }
  return value;
}

TEST(NarrowNoOracle, ABasisIsOrthonormalToWithinWhatItSays) {
  Workers workers(2, {});
  for (const auto& [d, h] : {std::pair{70, 63}, {64, 64}, {300, 127}, {5, 1}, {203, 97}}) {
    std::vector<float> w = normals(d * h, 5);
    for (std::int64_t j = 0; j < d; ++j) w[static_cast<std::size_t>(j * h)] *= 1000;  // columns of unlike lengths
    const Basis basis = orthonormal(w, d, h, workers);
    EXPECT_GT(basis.excess, 0);
    EXPECT_LE(basis.excess, 0x1p-16);
    EXPECT_LE(squared_norm(basis), 1 + static_cast<Real>(basis.excess));
    EXPECT_GT(squared_norm(basis), 0.999L);
  }
}

// |W|^2 is 1 + 2^-20 to all directions alike; fp64 sums of squares would be 2^-44 off, nothing hides it.
TEST(NarrowNoOracle, TheExcessIsTheLargestOfSums) {
  Workers workers(1, {});
  std::vector<float> w(64 * 2);
  for (std::size_t j = 0; j < 64; ++j) w[2 * j] = 0.125f, w[2 * j + 1] = j % 2 ? 0.125f : -0.125f;
  const Basis exact = orthonormal(w, 64, 2, workers);
  EXPECT_LT(exact.excess, 1e-12);
  EXPECT_EQ(exact.w, w);
  const Basis one = orthonormal(std::vector<float>(3, 1.0f), 3, 1, workers);  // 1 / sqrt(3) is no fp32 number
  const Real square = 3 * static_cast<Real>(one.w[0]) * static_cast<Real>(one.w[0]);
  EXPECT_GE(one.excess, static_cast<double>(std::abs(square - 1)));
  EXPECT_LT(one.excess, 3e-7);
}

TEST(NarrowNoOracle, DependentColumnsBecomeZero) {
  Workers workers(1, {});
  constexpr std::int64_t d = 40, h = 6;
  std::vector<float> w = normals(d * h, 6);
  for (std::size_t j = 0; j < d; ++j) {
    w[j * h + 2] = w[j * h] + 2 * w[j * h + 1];
    w[j * h + 4] = 0;
  }
  const Basis basis = orthonormal(w, d, h, workers);
  for (std::size_t a = 0; a < h; ++a) {
    double square = 0;
    for (std::size_t j = 0; j < d; ++j) square += std::pow(static_cast<double>(basis.w[j * h + a]), 2);
    EXPECT_NEAR(square, a == 2 || a == 4 ? 0 : 1, 1e-6) << a;
  }
  EXPECT_LE(squared_norm(basis), 1 + static_cast<Real>(basis.excess));
  const Basis none = orthonormal(std::vector<float>(d * h), d, h, workers);
  EXPECT_EQ(none.w, std::vector<float>(d * h));
}

// Whatever the number of threads, whose work begins and ends between other columns; and each column depends on those
// before it alone.
TEST(NarrowNoOracle, ABasisDependsOnNothingElse) {
  constexpr std::int64_t d = 301, h = 195, few = 67;
  std::vector<float> w = normals(d * h, 10), first_of_w;
  for (std::size_t j = 0; j < d; ++j) {
    float* const row = &w[j * h];
    row[40] = row[3] - 2 * row[35];
    for (const std::size_t a : {1, 33, 64, 100}) row[a] += 10 * row[0];  // far from orthogonal
    first_of_w.insert(first_of_w.end(), row, row + few);
  }
  Workers one(1, {}), three(3, {});
  const Basis basis = orthonormal(w, d, h, one), first = orthonormal(first_of_w, d, few, three);
  EXPECT_EQ(orthonormal(w, d, h, three).w, basis.w);
  double square = 0;
  for (std::size_t j = 0; j < d; ++j)
    for (std::size_t a = 0; a < few; ++a) {
      EXPECT_NEAR(first.w[j * few + a], basis.w[j * h + a], 1e-5) << j << ", " << a;
      square += std::pow(static_cast<double>(first.w[j * few + a]), 2);
    }
  EXPECT_NEAR(square, few - 1, 1e-4);
  for (std::size_t j = 0; j < d; ++j) EXPECT_EQ(first.w[j * few + 40], 0);  // it depends on two before it
}

TEST(NarrowNoOracle, ProductsEqualPlainLoops) {
  for (const cpu::Isa* isa : kernel_isas())
    for (const std::int64_t inner : {1, 63, 64, 65, 200}) {
      const cpu::Kernels& kernels = *isa->kernels;
      const std::int64_t rows = cpu::whole_groups(10, kernels.row_group), columns = kernels.panel_width + 3;
      const std::vector<float> a = normals(rows * (inner + 5), 7), b = normals(inner * columns, 8);
      const cpu::PackedMatrix packed(inner, columns, kernels.panel_width, [&](std::int64_t i, std::int64_t j) {
        return b[static_cast<std::size_t>(i * columns + j)];
      });
      for (const std::int64_t wanted : {columns, columns - 1, kernels.panel_width, std::int64_t{1}}) {
        std::vector<float> out(static_cast<std::size_t>(rows * (wanted + 2)), 99.0f);
        cpu::Products(kernels, rows).multiply(a.data(), inner + 5, rows, packed, wanted, out.data(), wanted + 2);
        for (std::int64_t i = 0; i < rows; ++i)
          for (std::int64_t j = 0; j < wanted + 2; ++j) {
            const float got = out[static_cast<std::size_t>(i * (wanted + 2) + j)];
            if (j >= wanted) {
              EXPECT_EQ(got, 99.0f) << isa->name;
              continue;
            }
            double sum = 0, magnitudes = 0;
            for (std::int64_t l = 0; l < inner; ++l) {
              const double product = static_cast<double>(a[static_cast<std::size_t>(i * (inner + 5) + l)]) *
                                     static_cast<double>(b[static_cast<std::size_t>(l * columns + j)]);
              sum += product;
              magnitudes += std::abs(product);
            }
            EXPECT_NEAR(got, sum, magnitudes * cpu::Products::roundings(inner) * kUnitRoundoff) << isa->name;
          }
      }
    }
}

// v of a narrow sketch, turned back, beside f(a) as it would be without rounding.
class Sketched {
 public:
  Sketched(const cpu::Kernels& kernels, const Basis& basis, std::int64_t size, float tail, const std::vector<float>& x)
      : size_(size) {
    const cpu::NarrowSketcher sketcher(basis, size, tail, kernels);
    EXPECT_EQ(sketcher.size(), size);
    std::vector<float> row = x, mu(static_cast<std::size_t>(cpu::padded(basis.d)));
    row.resize(mu.size());
    std::vector<std::int8_t> q(static_cast<std::size_t>(size));
    const float* from = row.data();
    std::int8_t* to = q.data();
    cpu::Sketcher::Scratch scratch;
    sketcher.sketch(&from, 1, mu.data(), cpu::padded(basis.d), scratch, &to, &made_);
    const std::vector<Real> y = rotated(Rotation(size, kernels.sketch->granule), projected(basis, tail, x));
    for (std::size_t j = 0; j < y.size(); ++j) {
      v_.push_back(static_cast<Real>(made_.sketch.scale) * q[j]);
      off_ += (y[j] - v_.back()) * (y[j] - v_.back());
    }
    off_ = std::sqrt(off_);
  }
  Real off() const { return off_; }  // of v from the exact one
  double error() const { return made_.size.error; }
  const std::vector<Real>& v() const { return v_; }

 private:
  std::vector<Real> projected(const Basis& basis, float tail, const std::vector<float>& x) const {
    const std::vector<float> origin(x.size());
    std::vector<Real> z = exact_projection<Real>(basis, size_, x.data(), origin.data());
    z.back() -= static_cast<Real>(tail);
    return z;
  }

  std::int64_t size_;
  cpu::Sketcher::Row made_;
  std::vector<Real> v_;
  Real off_ = 0;
};

Real apart(const std::vector<Real>& v, const std::vector<Real>& w) {
  Real sum = 0;
  for (std::size_t j = 0; j < v.size(); ++j) sum += (v[j] - w[j]) * (v[j] - w[j]);
  return std::sqrt(sum);
}

TEST(NarrowNoOracle, WhatIsSaidOfARowIsTrue) {
  Workers workers(1, {});
  for (const cpu::Isa* isa : sketch_isas())
    for (const std::int64_t d : {20, 65, 300}) {
      const std::int64_t h = std::min<std::int64_t>(d, 127);
      const Basis basis = orthonormal(normals(d * h, 9), d, h, workers);
      for (const std::int64_t size : {64, 128})
        for (const float scale : {1.0f, 0x1p-60f, 0x1p-98f, 0x1p-110f, 0x1p50f})
          for (const float tail : {0.0f, 3 * scale, 1.0f}) {
            std::vector<std::vector<float>> rows = {normals(d, 10), normals(d, 11),
                                                    std::vector<float>(static_cast<std::size_t>(d))};
            rows.push_back(rows[0]);
            rows.back()[0] += 0x1p-6f;  // beside the first
            rows.emplace_back(static_cast<std::size_t>(d));
            for (std::int64_t j = 0; j < d; ++j)  // in the head's span: nothing is left for the tail
              rows.back()[static_cast<std::size_t>(j)] = basis.w[static_cast<std::size_t>(j * h)];
            std::vector<Sketched> sketched;
            for (std::vector<float>& row : rows) {
              for (float& v : row) v *= scale;
              sketched.emplace_back(*isa->kernels, basis, size, tail, row);
              EXPECT_LE(sketched.back().off(), static_cast<Real>(sketched.back().error())) << isa->name << " d " << d;
            }
            for (std::size_t i = 0; i < rows.size(); ++i)
              for (std::size_t c = 0; c < i; ++c) {
                const std::vector<Real> x(rows[i].begin(), rows[i].end()), y(rows[c].begin(), rows[c].end());
                EXPECT_LE(apart(sketched[i].v(), sketched[c].v()),
                          apart(x, y) + static_cast<Real>(sketched[i].error() + sketched[c].error()))
                    << isa->name << " d " << d << " size " << size << " scale " << scale << " rows " << i << ' ' << c;
              }
          }
    }
}

// One direction of one large element and many small ones: a chunk's products are all lost beside the first, so the
// coordinate is short by 31 roundings. All elements of the rotated sketch are equal, so that it is exact otherwise. And
// the row lies along the direction: nothing is left for the tail, of which the loss makes 2^-9 of the row.
TEST(NarrowNoOracle, RoundingOfTheProjection) {
  for (const cpu::Isa* isa : sketch_isas())
    for (const std::int64_t d : {64, 2048}) {
      Basis basis = {.d = d, .directions = 1, .w = std::vector<float>(static_cast<std::size_t>(d), 0), .excess = 0};
      basis.w[0] = 1 - 0x1p-12f;
      for (std::size_t j = 1; j < 64; ++j) basis.w[j] = 0x1.dp-13f;  // squares: 0.82 half ulps of the first one's
      std::vector<float> x = basis.w;
      const Sketched row(*isa->kernels, basis, 64, 0, x);
      EXPECT_LE(row.off(), static_cast<Real>(row.error())) << isa->name << " d " << d;
    }
}

TEST(NarrowNoOracle, ProjectionBoundsOfNumbers) {
  const Basis exact = {.d = 64, .directions = 4, .w = {}, .excess = 0};
  const ProjectionBound bound(exact, 4, 66);
  const double rounding = 66 * kUnitRoundoff * 2;
  const ProjectionBound::Tail half = bound.tail(1, 0.75), none = bound.tail(1, 1 + 0x1p-20), nothing = bound.tail(0, 0);
  EXPECT_EQ(half.norm, 0.5f);
  EXPECT_GE(half.error, rounding + 2 * rounding / (2 * 0.5));
  EXPECT_LE(half.error, 8 * rounding);
  EXPECT_EQ(none.norm, 0);
  EXPECT_GE(none.error, rounding + std::sqrt(2 * rounding));
  EXPECT_EQ(nothing.norm, 0);
  EXPECT_LT(nothing.error, 1e-30);
  Basis longer = exact;
  longer.excess = 0.01;
  EXPECT_GE(ProjectionBound(longer, 4, 66).tail(1, 0.75).error, 0.005 + 0.01 / (2 * 0.5));
}

// Two centroids at the same distance from a row, which has hardly a head: one along the row, so that the lengths of the
// tails differ by all of it, one across, so that they hardly do. The lower index must win, whichever that is.
TEST(NarrowNoOracle, TiesAlongAndAcrossTheTail) {
  const Matrix data = low_rank(512, 256, 4, 0.0f);
  Matrix rows(data.rows + 1, 256);
  std::copy(data.values.begin(), data.values.end(), rows.values.begin());
  for (const std::int64_t swap : {0, 1}) {
    Matrix centroids(2, 256);
    for (std::int64_t c = 0; c < 2; ++c) {
      centroids.row(c)[200] = 64;
      centroids.row(c)[c == swap ? 200 : 201] += 16;
      if (c == swap) centroids.row(c)[200] -= 32;
    }
    rows.row(data.rows)[200] = 64;
    for (const Path& path : kernel_paths(true)) {
      std::vector<std::int32_t> previous(static_cast<std::size_t>(rows.rows), 1);
      EXPECT_EQ(assign(on(path), rows.view(), centroids, previous).labels.back(), 0) << path << swap;
    }
  }
}

// What a survey of x with these centroids finds, and the size of the sketches that there are from then on.
struct Surveyed {
  Narrow found;
  std::int64_t size;
};
Surveyed surveyed(const cpu::Isa& isa, const Matrix& x, const Matrix& centroids) {
  Workers workers(2, {});
  const cpu::Context context = {x.view(), euclidean(), *isa.kernels, workers};
  cpu::NarrowSketches sketches(context, std::vector<float>(static_cast<std::size_t>(x.cols)), centroids.rows);
  const Problem problem = {.rows = x.rows,
                           .d = x.cols,
                           .k = centroids.rows,
                           .size = x.cols,
                           .panel_width = isa.kernels->panel_width,
                           .most_groups = 512,
                           .first = false,
                           .more = true,
                           .sketched = false,
                           .narrow = {},
                           .tiny = false,
                           .forced = {}};
  const Narrow found =
      sketches.choose({centroids.values.data(), centroids.rows, centroids.cols}, problem, isa.kernels->costs);
  return {found, sketches.sketcher()->size()};
}

// Eight directions and a little noise: few centroids survive sketches of the least size.
TEST(NarrowNoOracle, TheSurveyCountsSurvivors) {
  const Matrix x = low_rank(600, 256, 8, 0.05f);
  Matrix centroids(100, 256);
  for (std::int64_t c = 0; c < 100; ++c) std::copy_n(x.row(6 * c), 256, centroids.row(c));
  for (const cpu::Isa* isa : sketch_isas()) {
    const auto [found, size] = surveyed(*isa, x, centroids);
    EXPECT_EQ(found.size, 64) << isa->name << ": eight directions and noise need no more";
    EXPECT_GE(found.survivors, 1);
    EXPECT_LT(found.survivors, 10);
    EXPECT_GE(found.full_survivors, 1);
    EXPECT_LE(found.full_survivors, found.survivors);
    EXPECT_EQ(size, 64);
  }
}

// Rows that the directions were learned from would promise too much: here each of them lies in their span, and no
// other.
TEST(NarrowNoOracle, TriedOnOtherRowsThanLearnedFrom) {
  constexpr std::int64_t n = 8 * kLearnedFrom, d = 256;
  Matrix x(n, d);
  x.values = normals(n * d, 14);
  const Matrix low = low_rank(kLearnedFrom, d, 8, 0.0f);
  for (std::int64_t i = 0; i < kLearnedFrom; ++i) std::copy_n(low.row(i), d, x.row(8 * i));
  Matrix centroids(400, d);
  for (std::int64_t c = 0; c < 400; ++c) std::copy_n(x.row(16 * c + 3), d, centroids.row(c));
  const cpu::Isa* isa = kernel_isas().back();
  if (!isa->kernels->sketch) GTEST_SKIP() << "no int8 here";
  EXPECT_GT(surveyed(*isa, x, centroids).found.survivors, 200);
}

// Each part of the sample has a direction of its own, one is zeros, and the last is short. What an earlier part has
// left where a shorter one is read would turn the directions.
TEST(NarrowNoOracle, DirectionsOfEveryPartOfTheSample) {
  constexpr std::int64_t d = 70, count = 130, together = 30;
  Workers workers(2, {});
  const auto axis = [](std::int64_t i) { return i / together; };
  for (const cpu::Isa* isa : kernel_isas()) {
    const std::int64_t ld = cpu::padded(d);
    std::vector<int> read_rows(count);
    const auto read = [&](std::int64_t first, std::int64_t rows, float* out) {
      std::fill_n(out, rows * ld, 0.0f);
      for (std::int64_t i = first; i < first + rows; ++i, out += ld) {
        ++read_rows[static_cast<std::size_t>(i)];
        if (axis(i) != 2) out[7 * axis(i)] = std::ldexp(static_cast<float>(i % 5 - 2), 3 * static_cast<int>(axis(i)));
      }
    };
    const Basis basis = cpu::principal_directions({count, d, together, read}, 8, *isa->kernels, workers);
    EXPECT_EQ(read_rows, std::vector<int>(count, 2)) << isa->name;
    for (std::int64_t j = 0; j < d; ++j) {
      double sq_length = 0;  // of what the directions see of this one
      for (std::int64_t c = 0; c < 8; ++c) sq_length += std::pow(basis.w[static_cast<std::size_t>(j * 8 + c)], 2);
      EXPECT_NEAR(sq_length, j % 7 == 0 && j <= 28 && j != 14 ? 1 : 0, 1e-3) << isa->name << ' ' << j;
    }
  }
}

TEST(NarrowNoOracle, StructurelessRowsSurviveEverywhere) {
  Matrix x(600, 512);
  x.values = normals(600 * 512, 12);
  Matrix centroids(200, 512);
  std::copy_n(x.values.begin(), 200 * 512, centroids.values.begin());
  for (const cpu::Isa* isa : sketch_isas()) {
    const Narrow found = surveyed(*isa, x, centroids).found;
    EXPECT_GT(found.survivors, 100) << isa->name;
    EXPECT_LT(found.full_survivors, found.survivors);
  }
}

// Rows that cannot be used, or all alike, or all zeros: nothing to learn, and yet the labels are right.
TEST(NarrowNoOracle, NothingToLearn) {
  Matrix bad(40, 70), zeros(40, 70), equal(40, 70);
  for (std::int64_t i = 0; i < 40; ++i) bad.row(i)[i] = i == 5 ? 1.0f : std::numeric_limits<float>::quiet_NaN();
  std::fill(equal.values.begin(), equal.values.end(), 3.0f);
  Matrix centroids(3, 70);
  centroids.row(1)[0] = 1;
  centroids.row(2)[0] = 4;
  for (const Path& path : kernel_paths()) {
    const Assignment of_bad = assign(on(path), bad.view(), centroids);
    EXPECT_EQ(of_bad.check.bad, 39) << path;
    EXPECT_EQ(of_bad.labels[5], 0) << path;
    EXPECT_EQ(assign(on(path), zeros.view(), centroids).labels, std::vector<std::int32_t>(40)) << path;
    EXPECT_EQ(assign(on(path), equal.view(), centroids).labels, std::vector<std::int32_t>(40, 2)) << path;
  }
}

std::int64_t (*scan_of_trial)(const cpu::SketchScan&);
// At least 50 ns a pair, four times what the costs of the test below say.
std::int64_t slow_scan(const cpu::SketchScan& scan) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::nanoseconds(50 * scan.rows * scan.width);
  const std::int64_t hits = scan_of_trial(scan);
  while (Clock::now() < end) {
  }
  return hits;
}

// Costs that say that a survey does not pay, though it does if scores take three times as long: a trial decides. Labels
// are the same either way.
TEST(NarrowNoOracle, LookedForWhereATrialIsSlow) {
  const Environment none("FASTKMEANS_FILTER", nullptr);
  constexpr std::int64_t n = 4096, d = 256, k = 1024;
  Matrix low = low_rank(n, d, 8, 0.01f), structureless(n, d);
  structureless.values = normals(n * d, 15);
  for (const cpu::Isa* isa : sketch_isas()) {
    std::vector<std::int32_t> labels[2];
    for (const auto& [x, slow] : {std::pair{&structureless, true}, {&low, false}, {&low, true}}) {
      Matrix centroids(k, d);
      for (std::int64_t c = 0; c < k; ++c) std::copy_n(x->row(4 * c + 1), d, centroids.row(c));
      cpu::SketchKernels sketch = *isa->kernels->sketch;
      cpu::Kernels kernels = *isa->kernels;
      kernels.costs.fp32 = {.element = 0.01, .pair = 100};
      kernels.costs.int8 = {.element = 0.01, .pair = 10};
      kernels.sketch = &sketch;
      scan_of_trial = sketch.scan;
      if (slow) sketch.scan = slow_scan;
      Execution execution;
      execution.chunk_size_data = 96;  // a tile for each thread is less than a 16th of the rows
      Workers workers(2, {});
      cpu::Assigner assigner({x->view(), euclidean(), kernels, workers}, execution);
      labels[slow].resize(n);
      std::vector<float> distances(n);
      const Assigned got = assigner.assign(centroids.centroids(), nullptr, true, labels[slow].data(), distances.data());
      // Without the slow scan a loaded or emulated machine may be slow as well: the time decides.
      if (slow) {
        EXPECT_EQ(got.filter.filter, x == &low ? "narrow" : "int8") << isa->name;
      }
      EXPECT_EQ(got.changed, n);
    }
    EXPECT_EQ(labels[0], labels[1]) << isa->name;
  }
}

// The planner's own choice, where a pass over all pairs takes much longer than learning.
TEST(Narrow, ChosenWhereItPaysHeavy) {
  const auto isas = sketch_isas();
  if (std::none_of(isas.begin(), isas.end(), [](const cpu::Isa* isa) { return isa->name == "avx2"; }))
    GTEST_SKIP() << "costs are those of AVX2";
  const Environment none("FASTKMEANS_FILTER", nullptr);
  constexpr std::int64_t n = 30'000, d = 512;
  Matrix x = low_rank(n, d, 24, 0.02f);
  Params params = params_of(4096, 3, -1);
  params.execution.isa = "avx2";
  const Result narrow = fit(x.view(), params);
  for (const IterationStats& stats : narrow.iterations) {
    EXPECT_EQ(stats.filter.filter, "narrow");
    EXPECT_LT(stats.filter.refined, 40 * n);
  }
  params.execution.filter = "int8_bounds";
  const Result wide = fit(x.view(), params);
  EXPECT_EQ(narrow.centroids, wide.centroids);
  EXPECT_EQ(narrow.labels, wide.labels);
  params.execution.filter = "";
  x.values = normals(n * d, 13);
  for (const IterationStats& stats : fit(x.view(), params).iterations) EXPECT_EQ(stats.filter.filter, "int8");
}

}  // namespace
}  // namespace fastkmeans::testing
