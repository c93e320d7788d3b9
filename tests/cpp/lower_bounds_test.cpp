// SPDX-License-Identifier: Apache-2.0
// What is carried from one assignment to the next must never promise more than is true.
#include "cpu/lower_bounds.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::size_t room(std::int64_t n) { return static_cast<std::size_t>(cpu::padded(n)); }

TEST(LowerBoundsNoOracle, ChosenAreThoseTheBoundDoesNotExclude) {
  Random random(90);
  std::normal_distribution<float> normal;
  for (const cpu::Isa* isa : kernel_isas())
    for (std::int64_t n = 1; n <= 70; ++n) {
      // Past n: rows that would be chosen.
      std::vector<float> lower(room(n)), radii(room(n), kInfinity);
      const float drift = draw(random, 0, 2) ? std::abs(normal(random)) : 0.0f;
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        lower[i] = drift + std::abs(normal(random));
        radii[i] = draw(random, 0, 1) ? lower[i] - drift : std::abs(normal(random));  // equal is chosen
        if (draw(random, 0, 5) == 0) radii[i] = kInfinity;
        if (draw(random, 0, 5) == 0) radii[i] = std::nextafter(lower[i] - drift, 0.0f);
        if (draw(random, 0, 5) == 0) lower[i] = radii[i] = 0;
      }
      std::vector<std::int32_t> rows(room(n), -1), expected;
      for (std::int32_t i = 0; i < n; ++i)
        if (radii[static_cast<std::size_t>(i)] >= lower[static_cast<std::size_t>(i)] - drift) expected.push_back(i);
      rows.resize(static_cast<std::size_t>(isa->kernels->choose(lower.data(), drift, radii.data(), n, rows.data())));
      EXPECT_EQ(rows, expected) << isa->name << " n " << n;
    }
}

// What lower_bounds is given, and the truth in long double.
struct Radii {
  FilterBound bound;
  std::vector<float> best, sq_norms, errors, lower;
  float drift;

  Radii(const FilterBound& with, std::int64_t n, float drift_)
      : bound(with), best(room(n)), sq_norms(best), errors(best), lower(best), drift(drift_) {}

  // Every centroid whose score is not above best[i] is farther from row i than this.
  long double radius(std::size_t i) const {
    const long double square = (static_cast<long double>(sq_norms[i]) - 2 * static_cast<long double>(best[i]) -
                                static_cast<long double>(bound.inverse_underflow())) *
                               static_cast<long double>(bound.inverse_factor());
    return std::max(0.0L, std::sqrt(std::max(0.0L, square)) - static_cast<long double>(errors[i]));
  }
  void run(const cpu::Kernels& kernels, std::int64_t n) {
    kernels.lower_bounds(best.data(), sq_norms.data(), errors.data(), bound.inverse_underflow(), bound.inverse_factor(),
                         drift, n, lower.data());
  }
};

// Rows of every size, where all that is subtracted matters.
void draw_rows(Radii& radii, std::int64_t n, Random& random) {
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const float scale = std::ldexp(1.0f, static_cast<int>(draw(random, -124, 60)));
    radii.sq_norms[i] = std::abs(normal(random)) * scale;
    radii.best[i] = 0.5f * radii.sq_norms[i] - std::abs(normal(random)) * scale;
    if (draw(random, 0, 3) == 0) radii.best[i] = 0.5f * std::nextafter(radii.sq_norms[i], 0.0f);
    if (draw(random, 0, 9) == 0) radii.best[i] = 0.5f * radii.sq_norms[i] + scale;  // no bound at all
    if (draw(random, 0, 9) == 0) radii.sq_norms[i] = 0;
    radii.errors[i] = 0.01f * std::abs(normal(random)) * std::sqrt(scale);
    if (draw(random, 0, 9) == 0) radii.errors[i] *= 1000;
  }
}

TEST(LowerBoundsNoOracle, NotAboveTheTruth) {
  Random random(91);
  for (const cpu::Isa* isa : kernel_isas())
    for (const FilterBound& bound : {FilterBound::of_rows(20), FilterBound::of_sketches(20, 0.05)})
      for (std::int64_t n = 1; n <= 1000; n += n < 40 ? 1 : 97) {
        const float drifts[] = {0.0f, 1.0f, 0x1p-20f, 0x1.234568p20f};
        Radii radii(bound, n, drifts[draw(random, 0, 3)]);
        draw_rows(radii, n, random);
        radii.run(*isa->kernels, n);
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
          const long double truth = radii.radius(i) + static_cast<long double>(radii.drift);
          ASSERT_LE(static_cast<long double>(radii.lower[i]), truth) << isa->name;
          const long double rounding = 0x1p-19L * (truth + static_cast<long double>(radii.errors[i]));
          if (truth < 0x1p-50L) continue;  // denormals on the way may cost any part of it
          ASSERT_GE(static_cast<long double>(radii.lower[i]), truth - rounding) << isa->name << ": far below";
        }
      }
}

// A centroid at the bound's radius or nearer has a score above `best`: the threshold says so.
TEST(LowerBoundsNoOracle, TurnTheThresholdAround) {
  Random random(92);
  constexpr std::int64_t n = 3000;
  for (const cpu::Isa* isa : kernel_isas())
    for (const FilterBound& bound :
         {FilterBound::of_rows(20), FilterBound::of_rows(8192), FilterBound::of_sketches(20, 0x1p-12),
          FilterBound::of_sketches(20, 0.05), FilterBound::of_sketches(20, 1)}) {
      Radii radii(bound, n, 0);
      draw_rows(radii, n, random);
      radii.run(*isa->kernels, n);
      for (std::size_t i = 0; i < n; ++i) {
        if (radii.lower[i] == 0) continue;
        const auto least = static_cast<double>(radii.lower[i]);
        ASSERT_GE(bound.threshold({radii.sq_norms[i], radii.errors[i]}, least), radii.best[i]) << isa->name;
      }
    }
}

// Bounds, drift and radius in fp32, as one: a row is left out only if the truth in long double allows it.
TEST(LowerBoundsNoOracle, NoRoundingOnTheWayLosesACentroid) {
  Random random(93);
  const FilterBound bound = FilterBound::of_sketches(20, 0.05);
  constexpr std::int64_t n = 4000;
  std::normal_distribution<double> normal;
  for (const cpu::Isa* isa : kernel_isas())
    for (int repeat = 0; repeat < 12; ++repeat) {
      const double before =
          repeat % 4 ? std::ldexp(std::abs(normal(random)), static_cast<int>(draw(random, -8, 12))) : 0;
      Radii radii(bound, n, static_cast<float>(before));
      std::normal_distribution<float> small;
      for (std::size_t i = 0; i < n; ++i) {
        radii.sq_norms[i] = 4 * std::abs(small(random));
        radii.best[i] = -std::abs(small(random));
        radii.errors[i] = 0.01f * std::abs(small(random));
      }
      radii.run(*isa->kernels, n);
      const float after = radii.drift + static_cast<float>(repeat % 3) * 0.125f;
      const long double moved = static_cast<long double>(after) - static_cast<long double>(radii.drift);
      std::vector<float> compared(room(n));
      std::vector<double> truth(n);
      for (std::size_t i = 0; i < n; ++i) {
        // A row's radius about as large as the bound, by a few roundings.
        const long double least = radii.radius(i) - moved;
        truth[i] = static_cast<double>(std::max(0.0L, least)) * (1 + 0x1p-24 * normal(random));
        compared[i] = cpu::LowerBounds::compared(truth[i]);
      }
      std::vector<std::int32_t> rows(room(n));
      rows.resize(
          static_cast<std::size_t>(isa->kernels->choose(radii.lower.data(), after, compared.data(), n, rows.data())));
      const std::set<std::int32_t> chosen(rows.begin(), rows.end());
      for (std::int32_t i = 0; i < n; ++i)
        if (!chosen.count(i)) {
          const auto s = static_cast<std::size_t>(i);
          ASSERT_LT(static_cast<long double>(truth[s]), radii.radius(s) - moved) << isa->name << " drift " << after;
        }
    }
}

double center_shift(const float* a, const float* b, std::int64_t d) {
  long double sum = 0;
  for (std::int64_t j = 0; j < d; ++j) {
    const long double t = static_cast<long double>(a[j]) - static_cast<long double>(b[j]);
    sum += t * t;
  }
  return static_cast<double>(std::sqrt(sum));
}

TEST(LowerBoundsNoOracle, FitTheirTilesAndCentroids) {
  Workers workers(1, {});
  const Matrix centroids(40, 3), fewer(39, 3);
  const cpu::LowerBounds bounds(100, 32, centroids.centroids(), 8, workers);
  EXPECT_TRUE(bounds.fits(32, centroids.centroids()));
  EXPECT_FALSE(bounds.fits(16, centroids.centroids())) << "another filter has other tiles";
  EXPECT_FALSE(bounds.fits(32, fewer.centroids()));
}

// What fastkmeans.hpp promises, for short tiles too: they are filled up to whole vectors.
TEST(LowerBoundsNoOracle, BytesOfARow) {
  Random random(95);
  Workers workers(1, {});
  for (const std::int64_t d : {1, 40, 300}) {
    const Matrix centroids = random_rows(Kind::normal, 2100, d, random);  // more panels than bounds
    const std::int64_t most = d == 1 ? 64 : d == 40 ? 160 : 1024;
    for (const std::int64_t tile_rows : {1, 2, 5, 12, 16, 17, 33, 160, 512})
      for (const std::int64_t rows : {1, 16, 17, 700}) {
        const cpu::LowerBounds bounds(rows, tile_rows, centroids.centroids(), 8, workers);
        const std::int64_t last = (rows - 1) % tile_rows + 1, places = rows - last + (last + 15) / 16 * 16;
        EXPECT_LE(bounds.bytes(), most * places) << "d " << d << " tile " << tile_rows << " rows " << rows;
        EXPECT_GE(bounds.groups().count(), 1);
      }
    EXPECT_EQ(cpu::LowerBounds(700, 1, centroids.centroids(), 8, workers).bytes(),
              most / 64 * 64 * 700);  // 16 places a group
  }
}

TEST(LowerBoundsNoOracle, OrderAndDrift) {
  Random random(94);
  struct Shape {
    std::int64_t k, d, width;
  };
  // Several panels a group: more panels than 16 at d = 1, than 256 at d = 300.
  for (const Shape& s : {Shape{1, 5, 8},
                         {8, 5, 8},
                         {9, 5, 8},
                         {100, 7, 16},
                         {333, 3, 32},
                         {1000, 1, 8},
                         {4000, 1, 16},
                         {3000, 300, 8}}) {
    SCOPED_TRACE(::testing::Message() << "k " << s.k << " d " << s.d << " width " << s.width);
    Matrix centroids = random_rows(s.k % 2 ? Kind::normal : Kind::duplicates, s.k, s.d, random);
    Workers workers(3, {});
    cpu::LowerBounds bounds(100, 32, centroids.centroids(), s.width, workers);
    std::vector<std::int32_t> order = bounds.groups().order;
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> all(static_cast<std::size_t>(s.k));
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(order, all);
    const std::int64_t panels = (s.k + s.width - 1) / s.width;
    ASSERT_GE(bounds.groups().count() * bounds.panels_per_group(), panels);
    ASSERT_LT((bounds.groups().count() - 1) * bounds.panels_per_group(), panels);
    EXPECT_EQ(bounds.panels_per_group() > 1, panels > (s.d == 1 ? 16 : 256));

    const auto group_of = [&](std::int64_t slot) { return slot / (bounds.panels_per_group() * s.width); };
    std::vector<double> travelled(static_cast<std::size_t>(s.k)),
        most(static_cast<std::size_t>(bounds.groups().count()));
    for (std::int64_t group = 0; group < bounds.groups().count(); ++group) EXPECT_EQ(bounds.drift(group), 0.0f);
    const int moves = s.d == 300 ? 2 : 12;
    for (int move = 0; move < moves; ++move) {
      Matrix next = centroids;
      const float scale = std::ldexp(1.0f, static_cast<int>(draw(random, -30, 20)));
      const Matrix steps = random_rows(Kind::normal, s.k, s.d, random);
      for (std::size_t i = 0; i < next.values.size(); ++i)
        if (draw(random, 0, 3)) next.values[i] += scale * steps.values[i];
      bounds.move_to(next.centroids(), workers);
      std::vector<double> step(most.size());
      for (std::int64_t slot = 0; slot < s.k; ++slot) {
        const std::int64_t c = bounds.groups().order[static_cast<std::size_t>(slot)];
        const double distance = center_shift(next.row(c), centroids.row(c), s.d);
        travelled[static_cast<std::size_t>(c)] += distance;
        auto& largest = step[static_cast<std::size_t>(group_of(slot))];
        largest = std::max(largest, distance);
      }
      for (std::size_t group = 0; group < step.size(); ++group) most[group] += step[group];
      centroids = next;
    }
    for (std::int64_t slot = 0; slot < s.k; ++slot) {
      const std::int64_t c = bounds.groups().order[static_cast<std::size_t>(slot)];
      ASSERT_GE(static_cast<double>(bounds.drift(group_of(slot))), travelled[static_cast<std::size_t>(c)]);
    }
    for (std::int64_t group = 0; group < bounds.groups().count(); ++group) {
      const double truth = most[static_cast<std::size_t>(group)];
      EXPECT_LE(static_cast<double>(bounds.drift(group)), truth * (1 + moves * 0x1p-23));
      EXPECT_GE(static_cast<double>(bounds.drift(group)), truth);
    }
  }
}

// A sum in fp32 to nearest would stand still: each step is less than half an ulp of the first.
TEST(LowerBoundsNoOracle, SmallStepsAddUp) {
  const Matrix start(1, 1, {0}), far(1, 1, {1});
  Workers workers(1, {});
  cpu::LowerBounds bounds(1, 1, start.centroids(), 8, workers);
  bounds.move_to(far.centroids(), workers);
  for (int step = 1; step <= 50; ++step)
    bounds.move_to(Matrix(1, 1, {1 - 0x1p-24f * static_cast<float>(step % 2)}).centroids(), workers);
  EXPECT_GE(bounds.drift(0), 1 + 50 * 0x1p-24f);
}

TEST(LowerBoundsNoOracle, NearCentroidsShareAPanel) {
  Matrix centroids(64, 3);
  Random random(95);
  for (std::int64_t c = 0; c < 64; ++c)
    for (std::int64_t j = 0; j < 3; ++j)
      centroids.row(c)[j] = static_cast<float>(draw(random, -9, 9)) + 1000.0f * static_cast<float>(c % 4);
  Workers workers(1, {});
  const cpu::LowerBounds bounds(10, 10, centroids.centroids(), 16, workers);
  for (std::size_t slot = 0; slot < 64; ++slot)
    EXPECT_EQ(bounds.groups().order[slot] % 4, bounds.groups().order[slot / 16 * 16] % 4) << slot;
}

}  // namespace
}  // namespace fastkmeans::testing
