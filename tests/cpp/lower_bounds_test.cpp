// SPDX-License-Identifier: Apache-2.0
// What is carried from one assignment to the next must never promise more than is true.
#include "cpu/lower_bounds.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <set>
#include <utility>

#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::size_t room(std::int64_t n) { return static_cast<std::size_t>(cpu::padded(n)); }

TEST(LowerBoundsNoOracle, ChosenAreThoseTheBoundDoesNotExclude) {
  Random random(90);
  for (const cpu::Isa* isa : kernel_isas())
    for (std::int64_t n = 1; n <= 70; ++n) {
      // Past n: rows that would be chosen.
      std::vector<StoredBound> lower(room(n));
      std::vector<float> radii(room(n), kInfinity);
      const std::int32_t drift = draw(random, 0, 2) ? static_cast<std::int32_t>(draw(random, 0, kMostDrift)) : 0;
      const float inverse = std::ldexp(1.0f, static_cast<int>(draw(random, -60, 86)));
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        lower[i] = static_cast<StoredBound>(draw(random, 0, 2) ? draw(random, 0, kMostBound) : kMostBound);
        const float units = static_cast<float>(lower[i] - drift + draw(random, -2, 2));  // equal is chosen
        radii[i] = std::max(0.0f, draw(random, 0, 1) ? units : std::nextafter(units, 0.0f)) / inverse;
        if (draw(random, 0, 5) == 0) radii[i] = kInfinity;
        if (draw(random, 0, 5) == 0) lower[i] = 0, radii[i] = 0;
      }
      std::vector<std::int32_t> rows(room(n), -1), expected;
      for (std::int32_t i = 0; i < n; ++i)
        if (!excludes(lower[static_cast<std::size_t>(i)], drift, radii[static_cast<std::size_t>(i)] * inverse))
          expected.push_back(i);
      rows.resize(
          static_cast<std::size_t>(isa->kernels->choose(lower.data(), drift, inverse, radii.data(), n, rows.data())));
      EXPECT_EQ(rows, expected) << isa->name << " n " << n;
    }
}

// The rule in integers, as section 6.5 of docs/algorithm.md has it.
TEST(LowerBoundsNoOracle, TheRuleInIntegers) {
  EXPECT_EQ(stored_bound(0.99f, 0), 0);
  EXPECT_EQ(stored_bound(3.0f, 7), 10);
  EXPECT_EQ(stored_bound(65533.9f, 0), 65533);
  EXPECT_EQ(stored_bound(kInfinity, 0), kMostBound);
  EXPECT_EQ(stored_bound(65000, 32768), kMostBound);
  EXPECT_EQ(drift_after(5, 0), 5);
  EXPECT_EQ(drift_after(5, 0.001f), 6) << "a sum of ceilings";
  EXPECT_EQ(drift_after(5, kInfinity), 5 + kMostBound);
  EXPECT_TRUE(excludes(10, 3, 6.9f));
  EXPECT_FALSE(excludes(10, 3, 7)) << "a tie is looked at";
  EXPECT_FALSE(excludes(3, 10, 0));
  EXPECT_FALSE(excludes(kMostBound, 0, kInfinity));
  EXPECT_EQ(rebased(10, 3), 7);
  EXPECT_EQ(rebased(3, 10), 0);
  EXPECT_EQ(lowered(10, 3, 6), 9);
  EXPECT_EQ(lowered(10, 3, 8), 10);
  for (const double distance : {0.0, 0x1p-75, 0.7, 1.0, 1.5, 0x1p58}) {
    const float inverse = inverse_bound_unit(distance);
    EXPECT_EQ(std::ldexp(0.5f, std::ilogb(inverse) + 1), inverse) << "a power of two";
    if (distance == 0) continue;
    EXPECT_GE(distance * static_cast<double>(inverse), 512);
    EXPECT_LT(distance * static_cast<double>(inverse), 1024);
  }
}

// What lower_bounds is given, and the truth in long double.
struct Radii {
  FilterBound bound;
  std::vector<float> best, sq_norms, errors;
  std::vector<StoredBound> lower;
  float inverse_unit;
  std::int32_t drift;

  Radii(const FilterBound& with, std::int64_t n, float inverse, std::int32_t drift_)
      : bound(with),
        best(room(n)),
        sq_norms(best),
        errors(best),
        lower(best.size()),
        inverse_unit(inverse),
        drift(drift_) {}

  // Every centroid whose score is not above best[i] is farther from row i than this.
  long double radius(std::size_t i) const {
    const long double square = (static_cast<long double>(sq_norms[i]) - 2 * static_cast<long double>(best[i]) -
                                static_cast<long double>(bound.inverse_underflow())) *
                               static_cast<long double>(bound.inverse_factor());
    return std::max(0.0L, std::sqrt(std::max(0.0L, square)) - static_cast<long double>(errors[i]));
  }
  StoredBound alone(const cpu::Kernels& kernels, std::size_t i) const {
    StoredBound out[cpu::kPadding] = {};
    const float one_best[cpu::kPadding] = {best[i]}, sq_norm[cpu::kPadding] = {sq_norms[i]},
                error[cpu::kPadding] = {errors[i]};
    kernels.lower_bounds(one_best, sq_norm, error, bound.inverse_underflow(), bound.inverse_factor(), inverse_unit,
                         drift, 1, out);
    return out[0];
  }
  void run(const cpu::Kernels& kernels, std::int64_t n) {
    kernels.lower_bounds(best.data(), sq_norms.data(), errors.data(), bound.inverse_underflow(), bound.inverse_factor(),
                         inverse_unit, drift, n, lower.data());
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
        const std::int32_t drifts[] = {0, 1, 12345, kMostDrift};
        Radii radii(bound, n, std::ldexp(1.0f, static_cast<int>(draw(random, -30, 60))), drifts[draw(random, 0, 3)]);
        draw_rows(radii, n, random);
        radii.run(*isa->kernels, n);
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
          const long double truth = radii.radius(i) * static_cast<long double>(radii.inverse_unit) + radii.drift;
          ASSERT_LE(static_cast<long double>(radii.lower[i]), truth) << isa->name;
          ASSERT_LE(radii.lower[i], kMostBound);
          const long double error = static_cast<long double>(radii.errors[i] * radii.inverse_unit);
          const long double rounding = 1 + 0x1p-19L * (truth + error);
          ASSERT_GE(static_cast<long double>(radii.lower[i]), std::min<long double>(kMostBound, truth - rounding))
              << isa->name << ": far below";
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
      // Each row alone, so that its bound is of about 2^15 units: the unit then hides no rounding.
      Radii radii(bound, n, 1, 0);
      draw_rows(radii, n, random);
      for (std::size_t i = 0; i < n; ++i) {
        const auto radius = static_cast<double>(radii.radius(i));
        if (radius < 0x1p-60) continue;
        radii.inverse_unit = 64 * inverse_bound_unit(radius);
        const StoredBound lower = radii.alone(*isa->kernels, i);
        ASSERT_LE(lower, radii.radius(i) * static_cast<long double>(radii.inverse_unit)) << isa->name;
        const double least = lower / static_cast<double>(radii.inverse_unit);
        ASSERT_GE(bound.threshold({radii.sq_norms[i], radii.errors[i]}, least), radii.best[i]) << isa->name;
      }
    }
}

// Bounds, drift and radius, as one: a row is left out only if the truth in long double allows it.
TEST(LowerBoundsNoOracle, NoRoundingOnTheWayLosesACentroid) {
  Random random(93);
  const FilterBound bound = FilterBound::of_sketches(20, 0.05);
  constexpr std::int64_t n = 4000;
  std::normal_distribution<double> normal;
  for (const cpu::Isa* isa : kernel_isas())
    for (int repeat = 0; repeat < 12; ++repeat) {
      const std::int32_t before = repeat % 4 ? static_cast<std::int32_t>(draw(random, 0, kMostDrift)) : 0;
      Radii radii(bound, n, 0x1p13f, before);
      std::normal_distribution<float> small;
      for (std::size_t i = 0; i < n; ++i) {
        radii.sq_norms[i] = 4 * std::abs(small(random));
        radii.best[i] = -std::abs(small(random));
        radii.errors[i] = 0.01f * std::abs(small(random));
      }
      radii.run(*isa->kernels, n);
      const std::int32_t after = before + repeat % 3 * 1000;
      const long double moved = (after - before) / static_cast<long double>(radii.inverse_unit);
      std::vector<float> compared(room(n));
      std::vector<double> truth(n);
      for (std::size_t i = 0; i < n; ++i) {
        // A row's radius about as large as the bound, by a few roundings.
        const long double least = radii.radius(i) - moved;
        truth[i] = static_cast<double>(std::max(0.0L, least)) * (1 + 0x1p-24 * normal(random));
        compared[i] = round_up(truth[i]);
      }
      std::vector<std::int32_t> rows(room(n));
      rows.resize(static_cast<std::size_t>(
          isa->kernels->choose(radii.lower.data(), after, radii.inverse_unit, compared.data(), n, rows.data())));
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
  const cpu::LowerBounds bounds(100, 32, centroids.centroids(), 8, 1.0, workers);
  EXPECT_TRUE(bounds.fits(32, centroids.centroids()));
  EXPECT_FALSE(bounds.fits(16, centroids.centroids())) << "another filter has other tiles";
  EXPECT_FALSE(bounds.fits(32, fewer.centroids()));
}

// What fastkmeans.hpp promises, for short tiles too: they are filled up to whole vectors.
TEST(LowerBoundsNoOracle, BytesOfARow) {
  Random random(95);
  Workers workers(1, {});
  for (const std::int64_t d : {1, 40, 300}) {
    const Matrix centroids = random_rows(Kind::normal, d == 300 ? 4200 : 2100, d, random);  // more panels than bounds
    const std::int64_t most = d == 1 ? 64 : d == 40 ? 160 : 1024;
    // Groups of many long centroids take a while to make, under an emulator above all.
    const auto tiles =
        d == 300 ? std::vector<std::int64_t>{5, 33} : std::vector<std::int64_t>{1, 2, 12, 16, 17, 160, 512};
    for (const std::int64_t tile_rows : tiles)
      for (const std::int64_t rows : {1, 16, 17, 700}) {
        const cpu::LowerBounds bounds(rows, tile_rows, centroids.centroids(), 8, 1.0, workers);
        const std::int64_t last = (rows - 1) % tile_rows + 1, places = rows - last + (last + 15) / 16 * 16;
        EXPECT_LE(bounds.bytes(), most * places) << "d " << d << " tile " << tile_rows << " rows " << rows;
        EXPECT_GE(bounds.groups().count(), 1);
      }
    EXPECT_GE(cpu::LowerBounds(700, 1, centroids.centroids(), 8, 1.0, workers).bytes(), most / 2 * 700);
  }
}

TEST(LowerBoundsNoOracle, OrderAndDrift) {
  Random random(94);
  struct Shape {
    std::int64_t k, d, width;
  };
  // Several panels a group: more panels than 32 at d = 1, than 512 at d = 300.
  for (const Shape& s : {Shape{1, 5, 8},
                         {8, 5, 8},
                         {9, 5, 8},
                         {100, 7, 16},
                         {333, 3, 32},
                         {1000, 1, 8},
                         {4000, 1, 16},
                         {4200, 300, 8}}) {
    SCOPED_TRACE(::testing::Message() << "k " << s.k << " d " << s.d << " width " << s.width);
    Matrix centroids = random_rows(s.k % 2 ? Kind::normal : Kind::duplicates, s.k, s.d, random);
    Workers workers(3, {});
    cpu::LowerBounds bounds(100, 32, centroids.centroids(), s.width, 0x1p23, workers);  // the drift stays in its range
    std::vector<std::int32_t> order = bounds.groups().order;
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> all(static_cast<std::size_t>(s.k));
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(order, all);
    const std::int64_t panels = (s.k + s.width - 1) / s.width;
    ASSERT_GE(bounds.groups().count() * bounds.panels_per_group(), panels);
    ASSERT_LT((bounds.groups().count() - 1) * bounds.panels_per_group(), panels);
    EXPECT_EQ(bounds.panels_per_group() > 1, panels > (s.d == 1 ? 32 : 512));

    const auto group_of = [&](std::int64_t slot) { return slot / (bounds.panels_per_group() * s.width); };
    const auto drift_of = [&](std::int64_t group) {
      return bounds.drift(group) / static_cast<double>(bounds.inverse_unit());
    };
    std::vector<double> travelled(static_cast<std::size_t>(s.k)),
        most(static_cast<std::size_t>(bounds.groups().count()));
    for (std::int64_t group = 0; group < bounds.groups().count(); ++group) EXPECT_EQ(bounds.drift(group), 0);
    const int moves = s.d == 300 ? 2 : 12;
    for (int move = 0; move < moves; ++move) {
      Matrix next = centroids;
      const float scale = std::ldexp(1.0f, static_cast<int>(draw(random, -30, 20)));
      const Matrix steps = random_rows(Kind::normal, s.k, s.d, random);
      for (std::size_t i = 0; i < next.values.size(); ++i)
        if (draw(random, 0, 3)) next.values[i] += scale * steps.values[i];
      bounds.move_to(next.centroids(), {}, workers);
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
      ASSERT_GE(drift_of(group_of(slot)), travelled[static_cast<std::size_t>(c)]);
    }
    for (std::int64_t group = 0; group < bounds.groups().count(); ++group) {
      const double truth = most[static_cast<std::size_t>(group)];
      EXPECT_LE(drift_of(group), truth * (1 + 0x1p-22) + moves / static_cast<double>(bounds.inverse_unit()));
      EXPECT_GE(drift_of(group), truth);
    }
  }
}

// Each step is far below a unit: a sum of floors would stand still, the ceiling of a sum would lag behind what a bound
// that was stored on the way was rounded by.
TEST(LowerBoundsNoOracle, SmallStepsAddUp) {
  Workers workers(1, {});
  const Matrix start(1, 1, {0});
  cpu::LowerBounds bounds(1, 1, start.centroids(), 8, 1.0, workers);
  for (int step = 1; step <= 50; ++step)
    bounds.move_to(Matrix(1, 1, {0x1p-24f * static_cast<float>(step % 2)}).centroids(), {}, workers);
  EXPECT_EQ(bounds.drift(0), 50);
}

// The drift goes beyond what 16 bits hold: bounds are lowered by it, and it begins again.
TEST(LowerBoundsNoOracle, DriftIsTakenFromTheBounds) {
  Workers workers(2, {});
  Matrix centroids(20, 1);
  constexpr std::int64_t kRows = 21, kTile = 8;
  cpu::LowerBounds bounds(kRows, kTile, centroids.centroids(), 8, 1.0, workers);  // 2^9 units
  const auto fill = [&](StoredBound value) {
    for (std::int64_t row = 0; row < kRows; ++row)
      for (std::int64_t group = 0; group < bounds.groups().count(); ++group)
        bounds.values(row / kTile * kTile, group)[row % kTile] = value;
  };
  const auto move = [&](float by) {
    for (std::int64_t c = 0; c < 8; ++c) centroids.row(bounds.groups().order[static_cast<std::size_t>(c)])[0] += by;
    bounds.move_to(centroids.centroids(), {}, workers);
  };
  fill(40000);
  move(62);
  EXPECT_EQ(bounds.drift(0), 62 * 512 + 1) << "rounded up";
  EXPECT_EQ(bounds.values(16, 0)[4], 40000);
  move(4);
  EXPECT_EQ(bounds.drift(0), 0);
  for (std::int64_t row = 0; row < kRows; ++row) {
    EXPECT_EQ(bounds.values(row / kTile * kTile, 0)[row % kTile], 40000 - 66 * 512 - 2);
    EXPECT_EQ(bounds.values(row / kTile * kTile, 1)[row % kTile], 40000) << "another group";
  }
  fill(kMostBound);
  move(0x1p40f);
  EXPECT_EQ(bounds.drift(0), 0);
  EXPECT_EQ(bounds.values(0, 0)[0], 0);
}

// One centroid of each second group goes far: scored apart, it costs its group nothing. Number 0 moves a little, and
// there is room for it.
TEST(LowerBoundsNoOracle, MoversAreThoseThatMovedFarthest) {
  Workers workers(2, {});
  constexpr std::int64_t k = 256, kRows = 64, kGroup = 16;
  Matrix centroids(k, 1);
  for (std::int64_t c = 0; c < k; ++c) centroids.row(c)[0] = static_cast<float>(c);
  const auto bounds_of = [&](StoredBound value) {
    auto bounds = std::make_unique<cpu::LowerBounds>(kRows, kRows, centroids.centroids(), kGroup, 1.0, workers);
    for (std::int64_t group = 0; group < bounds->groups().count(); ++group)
      std::fill_n(bounds->values(0, group), kRows, value);
    return bounds;
  };
  const std::vector<cpu::SampledRow> sample = {{.row = 3, .radius = 1}, {.row = 40, .radius = 1}};
  const auto bounds = bounds_of(2048), far = bounds_of(40000), near = bounds_of(0);
  for (std::int64_t c = 5; c < k; c += 32) centroids.row(c)[0] += 10;
  centroids.row(0)[0] += 0.5f;
  bounds->move_to(centroids.centroids(), sample, workers);
  const std::vector<std::int32_t> places = bounds->places();
  ASSERT_EQ(bounds->mover_panels(), 1);
  ASSERT_EQ(places.size(), static_cast<std::size_t>(k + 9));
  std::set<std::int32_t> movers(places.begin() + k, places.end());
  EXPECT_EQ(movers, (std::set<std::int32_t>{0, 5, 37, 69, 101, 133, 165, 197, 229}));
  for (std::int64_t group = 0; group < k / kGroup; ++group) {
    std::set<std::int32_t> mine(places.begin() + k + bounds->movers_of(group),
                                places.begin() + k + bounds->movers_of(group + 1));
    for (std::int64_t i = group * kGroup; i < (group + 1) * kGroup; ++i)
      EXPECT_EQ(mine.erase(places[static_cast<std::size_t>(i)]), movers.count(places[static_cast<std::size_t>(i)]));
    EXPECT_EQ(bounds->drift(group), 0);
  }
  far->move_to(centroids.centroids(), sample, workers);
  EXPECT_EQ(far->mover_panels(), 0) << "nothing to win";
  near->move_to(centroids.centroids(), sample, workers);
  EXPECT_EQ(near->mover_panels(), 0) << "nothing to save";
}

// Of few centroids, and of so many that threads share the distances of one part.
TEST(LowerBoundsNoOracle, NearCentroidsShareAPanel) {
  Random random(95);
  for (const auto& [k, d] : {std::pair<std::int64_t, std::int64_t>{64, 3}, {1024, 200}}) {
    Matrix centroids(k, d);
    for (std::int64_t c = 0; c < k; ++c)
      for (std::int64_t j = 0; j < d; ++j)
        centroids.row(c)[j] = static_cast<float>(draw(random, -9, 9)) + 1000.0f * static_cast<float>(c % 4);
    std::vector<std::int32_t> of_one_thread;
    for (const int threads : {1, 4}) {
      Workers workers(threads, {});
      const cpu::LowerBounds bounds(10, 10, centroids.centroids(), 16, 1.0, workers);
      const std::vector<std::int32_t>& order = bounds.groups().order;
      for (std::size_t slot = 0; slot < order.size(); ++slot)
        EXPECT_EQ(order[slot] % 4, order[slot / 16 * 16] % 4) << slot;
      if (threads == 1) of_one_thread = order;
      EXPECT_EQ(order, of_one_thread);
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
