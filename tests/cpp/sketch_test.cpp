// SPDX-License-Identifier: Apache-2.0
// int8 sketches: the rotation, the integers with what is said of them, and their scores.
#include <algorithm>
#include <limits>
#include <numeric>

#include "cpu/sketcher.hpp"
#include "rotated.hpp"
#include "sketch/rotation.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

double norm(const std::vector<double>& v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }

double distance_of(const std::vector<double>& v, const float* w) {
  double sum = 0;
  for (std::size_t j = 0; j < v.size(); ++j) sum += std::pow(v[j] - static_cast<double>(w[j]), 2);
  return std::sqrt(sum);
}

// A row as the kernels make it.
struct Made {
  RowSketch row;
  SketchSize size;
  std::vector<float> y;  // rotated, fp32
  std::vector<std::int8_t> q;

  Made(const cpu::SketchKernels& kernels, const std::vector<float>& x, const std::vector<float>& mu)
      : Made(cpu::FullSketcher(static_cast<std::int64_t>(x.size()), kernels), x, mu) {}

 private:
  Made(const cpu::Sketcher& sketcher, std::vector<float> x, std::vector<float> mu)
      : q(static_cast<std::size_t>(sketcher.size()), std::int8_t{99}) {
    const std::int64_t ld = cpu::padded(static_cast<std::int64_t>(x.size()));
    x.resize(static_cast<std::size_t>(ld));
    mu.resize(x.size());
    const float* at = x.data();
    std::int8_t* to = q.data();
    cpu::Sketcher::Scratch scratch;
    cpu::Sketcher::Row made;
    sketcher.sketch(&at, 1, mu.data(), ld, scratch, &to, &made);
    row = made.sketch;
    size = made.size;
    y.assign(scratch.rotated.data(), scratch.rotated.data() + q.size());
  }
};

std::vector<double> difference(const std::vector<float>& x, const std::vector<float>& mu) {
  std::vector<double> out(x.size());
  for (std::size_t j = 0; j < x.size(); ++j) out[j] = static_cast<double>(x[j]) - static_cast<double>(mu[j]);
  return out;
}

constexpr std::int64_t kSizes[] = {1, 15, 16, 17, 33, 64, 80, 100, 129, 384, 784, 1000};

TEST(SketchNoOracle, BlocksAndFactorsOfTheRotation) {
  for (const std::int64_t granule : {16, 64})
    for (const std::int64_t d : kSizes) {
      const Rotation rotation(d, granule);
      EXPECT_EQ(rotation.size, (d + granule - 1) / granule * granule);
      std::vector<std::int64_t> blocks = rotation.rounds[0].blocks;
      EXPECT_EQ(std::accumulate(blocks.begin(), blocks.end(), std::int64_t{0}), rotation.size);
      ASSERT_EQ(rotation.rounds.size(), blocks.size() > 1 ? 2u : 1u) << "one block mixes all at once";
      for (const Rotation::Round& round : rotation.rounds) {
        EXPECT_EQ(round.blocks, blocks);
        std::reverse(blocks.begin(), blocks.end());
        ASSERT_EQ(static_cast<std::int64_t>(round.factors.size()), rotation.size);
        const auto negative = std::count_if(round.factors.begin(), round.factors.end(), [](float f) { return f < 0; });
        EXPECT_GT(negative, rotation.size / 8);
        EXPECT_LT(negative, rotation.size * 7 / 8);
        auto factor = round.factors.begin();
        for (const std::int64_t block : round.blocks) {
          EXPECT_EQ(block & (block - 1), 0);
          for (std::int64_t j = 0; j < block; ++j)
            EXPECT_NEAR(std::abs(*factor++) * std::sqrt(static_cast<double>(block)), 1, 2.1 * kUnitRoundoff);
        }
      }
    }
  EXPECT_EQ(Rotation(64, 16).rounds[0].blocks.size(), 1u);
  EXPECT_EQ(Rotation(80, 16).rounds[0].blocks.size(), 2u);
  EXPECT_EQ(Rotation(784, 16).rounds[0].blocks.size(), 3u);
}

// Of the matrix as it is defined: (-1)^(number of ones in i & j).
TEST(SketchNoOracle, TheExactRotationOfTheseTestsIsHadamards) {
  for (const std::int64_t d : {16, 32, 64}) {
    const Rotation rotation(d, 16);
    for (std::int64_t i = 0; i < d; ++i) {
      std::vector<double> one(static_cast<std::size_t>(d));
      one[static_cast<std::size_t>(i)] = 1;
      one = rotated(rotation, one);
      const double sign = rotation.rounds[0].factors[static_cast<std::size_t>(i)] > 0 ? 1 : -1;
      for (std::int64_t j = 0; j < d; ++j)
        ASSERT_NEAR(one[static_cast<std::size_t>(j)] * std::sqrt(static_cast<double>(d)),
                    std::popcount(static_cast<std::uint64_t>(i & j)) % 2 ? -sign : sign, 1e-12);
    }
  }
}

// A row that the rotation makes one large element and nothing else: all the energy of a block in one place.
std::vector<float> concentrated(const Rotation& rotation, std::int64_t d, float value) {
  std::vector<float> x(static_cast<std::size_t>(d));
  for (std::int64_t j = 0; j < std::min(d, rotation.rounds[0].blocks[0]); ++j)
    x[static_cast<std::size_t>(j)] = rotation.rounds[0].factors[static_cast<std::size_t>(j)] > 0 ? value : -value;
  return x;
}

struct Row {
  const char* name;
  std::vector<float> x, mu;
};

// Rows of d dimensions that are hard on the arithmetic.
std::vector<Row> rows_of(std::int64_t d, std::int64_t granule, Random& random) {
  const auto size = static_cast<std::size_t>(d);
  std::normal_distribution<float> normal;
  const auto drawn = [&](float scale) {
    std::vector<float> x(size);
    std::generate(x.begin(), x.end(), [&] { return scale * normal(random); });
    return x;
  };
  const auto one = [&](std::vector<float> x, float value) {
    x[size / 2] = value;
    return x;
  };
  const auto all = [&](float value) { return std::vector<float>(size, value); };
  const std::vector<float> zero(size);
  const Rotation rotation(d, granule);
  std::vector<Row> rows = {
      {"normal", drawn(1), zero},
      {"about a centre", drawn(1), drawn(1)},
      {"far from 0", drawn(1), drawn(1)},
      {"zero", zero, zero},
      {"at the centre", all(3.7f), all(3.7f)},
      {"constant", all(0.3f), zero},
      {"one element", one(zero, 5), zero},
      {"one huge element", one(drawn(1), 0x1p50f), zero},
      {"one element of the rotated row", concentrated(rotation, d, 1.1f), zero},
      {"denormal", drawn(0x1p-140f), zero},
      {"the least denormal", one(zero, 0x1p-149f), zero},
      {"about 2^-100", drawn(0x1p-100f), zero},
      {"squares underflow", drawn(0x1p-70f), zero},
      {"near the limit", drawn(1), zero},
      {"at the limit, centre opposite", all(0x1.fffffep54f), all(-0x1.fffffep54f)},
  };
  for (float& v : rows[2].x) v += 1e6f;
  for (float& v : rows[2].mu) v += 1e6f;
  for (float& v : rows[13].x) v = std::copysign(0x1p55f, v);
  return rows;
}

TEST(SketchNoOracle, RotatedToWithinItsRounding) {
  Random random(80);
  for (const cpu::Isa* isa : sketch_isas())
    for (const std::int64_t d : {1, 16, 33, 80, 100, 384, 784, 2047, 8192}) {
      const std::int64_t granule = isa->kernels->sketch->granule;
      const Rotation rotation(d, granule);
      for (const Row& row : rows_of(d, granule, random)) {
        if (std::any_of(row.mu.begin(), row.mu.end(), [](float v) { return v != 0; })) continue;
        const std::vector<double> x = difference(row.x, row.mu), exact = rotated(rotation, x);
        ASSERT_NEAR(norm(exact), norm(x), 1e-13 * norm(x)) << "not orthogonal";
        const Made made(*isa->kernels->sketch, row.x, row.mu);
        EXPECT_LE(distance_of(exact, made.y.data()), rotation.rounding() * norm(x) + Rotation::kUnderflow)
            << isa->name << " d " << d << ' ' << row.name;
      }
      EXPECT_LT(rotation.rounding(), 60 * kUnitRoundoff);
    }
}

TEST(SketchNoOracle, WhatIsSaidOfARowIsTrue) {
  Random random(81);
  for (const cpu::Isa* isa : sketch_isas()) {
    const cpu::SketchKernels& kernels = *isa->kernels->sketch;
    for (const std::int64_t d : {1, 7, 16, 32, 100, 128, 384, 1000, 2048, 16384})
      for (const Row& row : rows_of(d, kernels.granule, random)) {
        SCOPED_TRACE(::testing::Message() << isa->name << " d " << d << ' ' << row.name);
        const Made made(kernels, row.x, row.mu);
        const std::vector<double> a = difference(row.x, row.mu);
        std::vector<double> rest = rotated(Rotation(d, kernels.granule), a);
        std::int64_t sum = 0, sq_sum = 0, largest = 0;
        for (std::size_t j = 0; j < made.q.size(); ++j) {
          const std::int64_t q = made.q[j];
          sum += q;
          sq_sum += q * q;
          largest = std::max(largest, std::abs(q));
          rest[j] -= static_cast<double>(made.row.scale) * static_cast<double>(q);
        }
        EXPECT_LE(largest, kernels.levels);
        EXPECT_EQ(largest, made.row.scale > 0 ? kernels.levels : 0) << "the scale is not that of the largest element";
        EXPECT_EQ(made.row.sum, sum);
        EXPECT_EQ(made.row.sq_sum, static_cast<double>(sq_sum));
        const double scale = made.row.scale;
        EXPECT_EQ(made.size.sq_norm, scale * scale * static_cast<double>(sq_sum));
        // Not below the truth, and not far above.
        EXPECT_GE(made.size.error, norm(rest) * (1 - 0x1p-33));
        EXPECT_LE(made.size.error, norm(rest) * 1.003 + 1e-4 * norm(a) + 0x1p-64);
        // Too small to be inverted, or too large for finite scores: all is error.
        const float most = std::abs(*std::max_element(made.y.begin(), made.y.end(),
                                                      [](float v, float w) { return std::abs(v) < std::abs(w); }));
        EXPECT_EQ(made.row.scale > 0, most >= 0x1p-100f && most <= 0x1p55f);
        // As good as quantisation can be: half a step an element, and no step where the scale is 0.
        if (made.row.scale > 0) {
          EXPECT_LE(norm(rest), (0.5 * scale + 1e-5 * norm(a)) * std::sqrt(static_cast<double>(rest.size())));
        }
      }
  }
}

TEST(SketchNoOracle, TheCentreIsTakenFromEveryRow) {
  const std::int64_t d = 50;
  const std::vector<float> mu(50, 7.25f);
  for (const cpu::Isa* isa : sketch_isas()) {
    std::vector<float> x = mu;
    const Made none(*isa->kernels->sketch, x, mu);
    EXPECT_EQ(none.row.scale, 0.0f);
    EXPECT_TRUE(std::all_of(none.q.begin(), none.q.end(), [](std::int8_t q) { return q == 0; })) << d;
    EXPECT_LT(none.size.error, 0x1p-60);
  }
}

// The signs, the order of additions and the scale are the same everywhere: only the levels differ.
TEST(SketchNoOracle, TheSameOnAllInstructionSets) {
  Random random(82);
  const auto isas = sketch_isas();
  for (const std::int64_t d : {64, 320, 1024})  // multiples of every granule
    for (const Row& row : rows_of(d, 64, random))
      for (const cpu::Isa* isa : isas) {
        const Made made(*isa->kernels->sketch, row.x, row.mu), first(*isas[0]->kernels->sketch, row.x, row.mu);
        EXPECT_TRUE(same_bits(made.y, first.y)) << isa->name << ' ' << row.name;
        for (const cpu::Isa* other : isas)
          if (other->kernels->sketch->levels == isa->kernels->sketch->levels) {
            EXPECT_EQ(made.q, Made(*other->kernels->sketch, row.x, row.mu).q) << isa->name << ' ' << other->name;
          }
      }
}

// --- Scores ---

enum class Fill { random, extremes, highest, lowest, alternating };

// A scan, and its scores by plain loops.
struct ScanCase {
  const cpu::Kernels& kernels;
  std::int64_t rows, width, size;
  std::vector<std::int8_t> q, panel_q;  // (rows, size), (width, size)
  std::vector<std::int32_t> sums;
  std::vector<std::uint8_t> panel;
  std::vector<float> scales, panel_scales, starts, thresholds, scores, best;
  std::vector<cpu::Hit> hits;

  ScanCase(const cpu::Kernels& with, std::int64_t rows_, std::int64_t width_, std::int64_t size_, Fill fill,
           Random& random)
      : kernels(with),
        rows(rows_),
        width(width_),
        size(size_),
        q(static_cast<std::size_t>(rows * size)),
        panel_q(static_cast<std::size_t>(width * size)),
        sums(static_cast<std::size_t>(rows)),
        panel(panel_q.size()),
        scales(sums.size()),
        panel_scales(static_cast<std::size_t>(width)),
        starts(panel_scales.size()),
        thresholds(sums.size(), std::numeric_limits<float>::lowest()),
        scores(static_cast<std::size_t>(rows * width)),
        best(sums.size()),
        hits(sums.size()) {
    const std::int64_t most = kernels.sketch->levels;
    const auto element = [&](std::int64_t j, bool point) -> std::int64_t {
      switch (fill) {
        case Fill::random: return draw(random, -most, most);
        case Fill::extremes: return draw(random, 0, 1) ? most : -most;
        case Fill::highest: return most;
        case Fill::lowest: return point ? -most : most;
        case Fill::alternating: return (j % 2 ? most : -most) * (point ? 1 : -1);
      }
      return 0;
    };
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = static_cast<std::int8_t>(element(static_cast<std::int64_t>(i), true));
      sums[i / static_cast<std::size_t>(size)] += q[i];
    }
    for (std::int64_t v = 0; v < width; ++v)
      for (std::int64_t j = 0; j < size; ++j) {
        const std::int64_t value = element(j, false);
        panel_q[static_cast<std::size_t>(v * size + j)] = static_cast<std::int8_t>(value);
        panel[static_cast<std::size_t>((j / 4 * width + v) * 4 + j % 4)] =
            static_cast<std::uint8_t>(value + kernels.sketch->panel_offset);
      }
    std::uniform_real_distribution<float> uniform(0.5f, 2.0f);
    for (float& v : scales) v = draw(random, 0, 9) ? uniform(random) * 0.01f : 0.0f;
    for (float& v : panel_scales) v = uniform(random);
    for (float& v : starts)
      v = draw(random, 0, 9) ? -uniform(random) * static_cast<float>(size) : -std::numeric_limits<float>::infinity();
    starts[0] = -uniform(random);  // one score at least is finite
  }

  std::int64_t run(bool with_best) {
    std::fill(best.begin(), best.end(), 99.0f);
    return kernels.sketch->scan(
        {.points = q.data(),
         .size = size,
         .rows = rows,
         .scales = scales.data(),
         .sums = sums.data(),
         .width = width,
         .panel = panel.data(),
         .panel_scales = panel_scales.data(),
         .starts = starts.data(),
         .thresholds = thresholds.data(),
         .out = {.scores = scores.data(), .hits = hits.data(), .best = with_best ? best.data() : nullptr}});
  }

  // The exact score, and what rounding may do to it.
  std::pair<double, double> exact(std::int64_t row, std::int64_t v) const {
    std::int64_t dot = 0;
    for (std::int64_t j = 0; j < size; ++j)
      dot += q[static_cast<std::size_t>(row * size + j)] * panel_q[static_cast<std::size_t>(v * size + j)];
    const double start = starts[static_cast<std::size_t>(v)];
    const double term = static_cast<double>(scales[static_cast<std::size_t>(row)]) *
                        static_cast<double>(panel_scales[static_cast<std::size_t>(v)]) * static_cast<double>(dot);
    return {start + term, 4.01 * kUnitRoundoff * (std::abs(start) + std::abs(term))};
  }
};

void check_scan(const cpu::Isa& isa, std::int64_t rows, std::int64_t width, std::int64_t size, Fill fill,
                Random& random) {
  SCOPED_TRACE(::testing::Message() << isa.name << " rows " << rows << " width " << width << " size " << size
                                    << " fill " << static_cast<int>(fill));
  ScanCase c(*isa.kernels, rows, width, size, fill, random);
  ASSERT_EQ(c.run(true), rows);  // finite scores pass, -infinity does not
  const std::vector<float> scores = c.scores, best = c.best;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    ASSERT_EQ(c.hits[r].row, row);
    for (std::int64_t v = 0; v < c.width; ++v) {
      const float score = scores[static_cast<std::size_t>(row * c.width + v)];
      const auto [exact, rounding] = c.exact(row, v);
      ASSERT_EQ(c.hits[r].passed >> v & 1, std::isfinite(exact) ? 1u : 0u) << v;
      if (std::isfinite(exact)) {
        ASSERT_NEAR(static_cast<double>(score), exact, rounding) << row << ' ' << v;
      } else {
        ASSERT_EQ(score, -std::numeric_limits<float>::infinity());
      }
    }
    const auto first = scores.begin() + row * c.width;
    ASSERT_EQ(best[r], *std::max_element(first, first + c.width));
  }
  // Thresholds: some score of the row itself, or just above its best, or none passes.
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    c.thresholds[r] = scores[static_cast<std::size_t>(row * c.width + draw(random, 0, c.width - 1))];
    if (draw(random, 0, 3) == 0) c.thresholds[r] = std::nextafter(best[r], std::numeric_limits<float>::infinity());
    if (draw(random, 0, 3) == 0) c.thresholds[r] = std::numeric_limits<float>::infinity();
  }
  for (const bool with_best : {true, false}) {
    const std::int64_t found = c.run(with_best);
    if (with_best) {
      EXPECT_EQ(c.best, best);
    }
    std::int64_t expected = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* mine = scores.data() + row * c.width;
      std::uint32_t passed = 0;
      for (std::int64_t v = 0; v < c.width; ++v)
        passed |= static_cast<std::uint32_t>(mine[v] >= c.thresholds[static_cast<std::size_t>(row)]) << v;
      if (!passed) continue;
      ASSERT_LT(expected, found);
      ASSERT_EQ(c.hits[static_cast<std::size_t>(expected)].row, row);
      ASSERT_EQ(c.hits[static_cast<std::size_t>(expected)].passed, passed);
      ASSERT_TRUE(std::equal(mine, mine + c.width, c.scores.begin() + expected * c.width));
      ++expected;
    }
    ASSERT_EQ(found, expected);
  }
}

// Of panels as they are, and of half their width.
void check_scans(const cpu::Isa& isa, std::int64_t rows, std::int64_t size, Fill fill, Random& random) {
  for (const std::int64_t parts : {1, 2}) check_scan(isa, rows, isa.kernels->panel_width / parts, size, fill, random);
}

TEST(SketchNoOracle, ScoresEqualPlainLoops) {
  Random random(83);
  for (const cpu::Isa* isa : sketch_isas()) {
    const cpu::SketchKernels& kernels = *isa->kernels->sketch;
    for (std::int64_t groups = 1; groups <= 5; ++groups)
      for (std::int64_t size = kernels.granule; size <= 12 * kernels.granule; size += kernels.granule)
        check_scans(*isa, groups * kernels.row_group, size, Fill::random, random);
    check_scans(*isa, 20 * kernels.row_group, 784 / kernels.granule * kernels.granule, Fill::extremes, random);
  }
}

// Every product as large as it can be: sums in 16 bits would saturate, sums in fp32 would round.
TEST(SketchNoOracle, ScoresOfExtremeIntegers) {
  Random random(84);
  for (const cpu::Isa* isa : sketch_isas())
    for (const Fill fill : {Fill::extremes, Fill::highest, Fill::lowest, Fill::alternating}) {
      for (const std::int64_t size : {64, 128, 4096})
        check_scans(*isa, isa->kernels->sketch->row_group, size, fill, random);
      check_scans(*isa, 2 * isa->kernels->sketch->row_group, 16384, fill, random);
    }
}

// The best score that a lower bound is made from, of the fp32 scan too.
TEST(SketchNoOracle, BestScoresOfTheFloatScan) {
  Random random(85);
  for (const cpu::Isa* isa : kernel_isas()) {
    const cpu::Kernels& kernels = *isa->kernels;
    const std::int64_t width = kernels.panel_width;
    for (std::int64_t groups = 1; groups <= 4; ++groups)
      for (const std::int64_t d : {1, 3, 40}) {
        const Matrix points = random_rows(Kind::normal, groups * kernels.row_group, d, random);
        const Matrix panel = random_rows(Kind::normal, d, width, random);
        Matrix starts = random_rows(Kind::normal, 1, width, random);
        starts.values[static_cast<std::size_t>(draw(random, 0, width - 1))] = -std::numeric_limits<float>::infinity();
        const auto n = static_cast<std::size_t>(points.rows);
        const std::vector<float> thresholds(n, std::numeric_limits<float>::lowest());
        std::vector<float> scores(n * static_cast<std::size_t>(width)), best(n, 99.0f);
        std::vector<cpu::Hit> hits(n);
        const std::int64_t found =
            kernels.scan({.points = points.values.data(),
                          .ld = d,
                          .rows = points.rows,
                          .d = d,
                          .panel = panel.values.data(),
                          .starts = starts.values.data(),
                          .thresholds = thresholds.data(),
                          .out = {.scores = scores.data(), .hits = hits.data(), .best = best.data()}});
        ASSERT_EQ(found, points.rows);
        for (std::int64_t i = 0; i < points.rows; ++i) {
          const auto first = scores.begin() + i * width;
          EXPECT_EQ(best[static_cast<std::size_t>(i)], *std::max_element(first, first + width)) << isa->name;
        }
      }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
