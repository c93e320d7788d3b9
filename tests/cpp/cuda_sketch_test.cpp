// SPDX-License-Identifier: Apache-2.0
// Sketches on a CUDA device beside plain loops on the host: the same integers and scales, so the same bits of the
// rotation; and what is said of them.
#include "cuda_fits.hpp"

#ifdef FASTKMEANS_CUDA

#include <numeric>

#include "cuda/sketches.hpp"
#include "cuda/statistics.hpp"
#include "low_rank.hpp"

namespace fastkmeans::testing {
namespace {

using CudaSketch = CudaFits;
using Floats = std::vector<float>;
using Bytes = std::vector<std::int8_t>;

// Sizes for groups of 8, 16 and 128 threads, or of a warp; one round and two; blocks from 64 to 16384.
constexpr std::int64_t kSizes[] = {64,  128, 192,  256,  320,  448,  512,  576,  704,  768,
                                   960, 984, 1024, 1088, 1984, 2048, 3072, 4160, 8256, 16384};

// x - mu, rotated, level by level.
Floats rotated_in_fp32(const Rotation& rotation, const float* x, const Floats& mu) {
  Floats y(static_cast<std::size_t>(rotation.size));
  for (std::size_t j = 0; j < mu.size(); ++j) y[j] = x[j] - mu[j];
  for (const Rotation::Round& round : rotation.rounds) {
    for (std::size_t j = 0; j < y.size(); ++j) y[j] *= round.factors[j];
    auto block = y.begin();
    for (const std::int64_t length : round.blocks) {
      for (std::int64_t h = 1; h < length; h *= 2)
        for (std::int64_t j = 0; j < length; ++j)
          if (!(j & h)) {
            const float a = block[j], b = block[j + h];
            block[j] = a + b;
            block[j + h] = a - b;
          }
      block += length;
    }
  }
  return y;
}

float largest(const Floats& y) {
  float most = 0;
  for (const float v : y) most = std::max(most, std::abs(v));
  return most;
}

// Both digits of y in whole steps of `scale`.
struct Digits {
  Bytes first, second;
  float fine;

  Digits(const Floats& y, float scale) : fine(scale / static_cast<float>(levels_of(y))) {
    const int levels = levels_of(y);
    for (const float v : y) {
      const float inverse = scale > 0 ? 1 / scale : 0, fine_inverse = scale > 0 ? 1 / fine : 0;
      const int steps = clamped(static_cast<int>(std::nearbyint(v * inverse)));
      first.push_back(static_cast<std::int8_t>(steps));
      second.push_back(
          static_cast<std::int8_t>(clamped(static_cast<int>(std::nearbyint(v * fine_inverse)) - levels * steps)));
    }
  }

 private:
  static int levels_of(const Floats& y) { return cuda::second_levels(std::ssize(y)); }
  static int clamped(int v) { return std::clamp(v, -cuda::kLevels, cuda::kLevels); }
};

// |y - scale q| and |scale q|^2.
std::pair<double, double> error_and_square(const Floats& y, float scale, const Bytes& q) {
  double error = 0, square = 0;
  for (std::size_t j = 0; j < y.size(); ++j) {
    const double v = static_cast<double>(scale) * q[j];
    error += std::pow(static_cast<double>(y[j]) - v, 2);
    square += v * v;
  }
  return {std::sqrt(error), square};
}

// Rows of one length, `count` of them, every ld floats; some of all scales, one bad, one at the centre.
struct Rows {
  std::int64_t count, d, ld;
  Floats centre, values;
  std::vector<std::uint8_t> states;

  Rows(std::int64_t count_, std::int64_t d_, std::int64_t ld_)
      : count(count_),
        d(d_),
        ld(ld_),
        centre(normals(d, 11)),
        values(normals(count * ld, 12)),
        states(static_cast<std::size_t>(count)) {
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < d; ++j) {
        if (i % 7 == 5) values[static_cast<std::size_t>(i * ld + j)] *= i % 2 ? 0x1p40f : 0x1p-8f;
        if (i % 11 == 9) values[static_cast<std::size_t>(i * ld + j)] = centre[static_cast<std::size_t>(j)];
      }
    for (std::int64_t i = 2; i < count; i += 13) {
      states[static_cast<std::size_t>(i)] = cuda::kBadRow;
      values[static_cast<std::size_t>(i * ld)] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const float* row(std::int64_t i) const { return &values[static_cast<std::size_t>(i * ld)]; }
};

// What RowSketches holds, in both memories. More rows than there are must stay as they were.
struct Sketched {
  static constexpr std::int64_t kBeyond = 20;
  std::int64_t count, row_bytes;
  cuda::Device& device;
  cuda::DeviceBuffer<std::int8_t> q;
  cuda::DeviceBuffer<float> half_inverse, sq_norms, errors;

  Sketched(cuda::Device& device_, std::int64_t count_, std::int64_t row_bytes_)
      : count(count_),
        row_bytes(row_bytes_),
        device(device_),
        q(cuda::uploaded(device, Bytes(static_cast<std::size_t>((count + kBeyond) * row_bytes), 99).data(),
                         (count + kBeyond) * row_bytes)),
        half_inverse(device, count),
        sq_norms(device, count),
        errors(device, count) {}
  cuda::RowSketches view() const { return {q.data(), half_inverse.data(), sq_norms.data(), errors.data()}; }
  // (count) rows of sketches, (row_bytes) each.
  std::vector<Bytes> rows() const {
    const Bytes all = cuda::downloaded(device, q.data(), q.size());
    EXPECT_TRUE(std::all_of(all.begin() + count * row_bytes, all.end(), [](std::int8_t v) { return v == 99; }));
    std::vector<Bytes> out;
    for (std::int64_t i = 0; i < count; ++i)
      out.emplace_back(all.begin() + i * row_bytes, all.begin() + (i + 1) * row_bytes);
    return out;
  }
};

void expect_said(float sq_norm, float error, const std::pair<double, double>& truth, double length) {
  EXPECT_LE(sq_norm, truth.second);
  EXPECT_GE(sq_norm, truth.second * (1 - 0x1p-12) - 1e-37);
  EXPECT_GE(error, truth.first * (1 - 0x1p-20));
  EXPECT_LE(error, truth.first * 1.003 + 1e-4 * length + 0x1p-64);
}

double length_of(const Floats& y) { return std::sqrt(std::inner_product(y.begin(), y.end(), y.begin(), 0.0)); }

void expect_rows(std::int64_t count, std::int64_t d, std::int64_t ld) {
  SCOPED_TRACE(::testing::Message() << count << " rows, d " << d << ", ld " << ld);
  const Rows rows(count, d, ld);
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  const auto x = cuda::uploaded(device, rows.values.data(), std::ssize(rows.values));
  const auto states = cuda::uploaded(device, rows.states.data(), count);
  const cuda::Sketcher sketcher(device, d, cuda::uploaded(device, rows.centre.data(), d));
  const Rotation rotation(d, cuda::kGranule);
  ASSERT_EQ(sketcher.size(), rotation.size);

  const Sketched once(device, count, rotation.size), again(device, count, 2 * rotation.size);
  sketcher.sketch_rows(cuda::RowsView{x.data(), ld}, count, states.data(), once.view());
  // The good ones from the last to the first, after one that is skipped.
  std::vector<std::int32_t> order = {0};
  for (std::int64_t i = count - 1; i >= 0; --i)
    if (!rows.states[static_cast<std::size_t>(i)]) order.push_back(static_cast<std::int32_t>(i));
  const auto good = std::ssize(order) - 1;
  const auto chosen = cuda::uploaded(device, order.data(), good + 1);
  const std::int32_t number = static_cast<std::int32_t>(good + 1);
  const auto chosen_count = cuda::uploaded(device, &number, 1);
  sketcher.sketch_again(cuda::RowsView{x.data(), ld}, {chosen.data(), chosen_count.data(), 1, static_cast<int>(count)},
                        again.view());

  const std::vector<Bytes> q = once.rows(), both = again.rows();
  const Floats inverse = cuda::downloaded(device, once.half_inverse.data(), count),
               norms = cuda::downloaded(device, once.sq_norms.data(), count),
               errors = cuda::downloaded(device, once.errors.data(), count),
               fine_inverse = cuda::downloaded(device, again.half_inverse.data(), good),
               fine_norms = cuda::downloaded(device, again.sq_norms.data(), good),
               fine_errors = cuda::downloaded(device, again.errors.data(), good);
  std::size_t place = static_cast<std::size_t>(good);
  for (std::size_t i = 0; i < q.size() && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(::testing::Message() << "row " << i);
    if (rows.states[i]) {
      EXPECT_EQ(q[i], Bytes(q[i].size()));
      EXPECT_EQ(inverse[i], std::numeric_limits<float>::infinity());
      EXPECT_EQ(norms[i], cuda::kFarAway);
      EXPECT_EQ(errors[i], 0);
      continue;
    }
    const Floats y = rotated_in_fp32(rotation, rows.row(static_cast<std::int64_t>(i)), rows.centre);
    const float scale = largest(y) / cuda::kLevels;
    const Digits digits(y, scale);
    EXPECT_EQ(q[i], digits.first);
    EXPECT_EQ(inverse[i], 0.5f / scale);
    expect_said(norms[i], errors[i], error_and_square(y, scale, digits.first), length_of(y));

    --place;  // from the last to the first
    EXPECT_EQ(Bytes(both[place].begin(), both[place].begin() + rotation.size), digits.first);
    EXPECT_EQ(Bytes(both[place].begin() + rotation.size, both[place].end()), digits.second);
    EXPECT_EQ(fine_inverse[place], 0.5f / digits.fine);
    Floats rest = y;  // of what both digits say, and its square less f^2 |q2|^2
    double square = 0;
    for (std::size_t j = 0; j < y.size(); ++j) {
      const double f = digits.fine, low = f * digits.second[j],
                   all = f * cuda::second_levels(rotation.size) * digits.first[j] + low;
      rest[j] = static_cast<float>(static_cast<double>(y[j]) - all);
      square += all * all - low * low;
    }
    expect_said(fine_norms[place], fine_errors[place], {length_of(rest), square}, length_of(y));
  }
}

TEST_F(CudaSketch, RowsOfAllSizes) {
  for (const std::int64_t size : kSizes) {
    expect_rows(40, size, size);
    expect_rows(40, size - 3, size - 3);   // neither rows nor their number in fours
    expect_rows(19, size - 4, size - 1);   // fours, but not every row begins with one
    expect_rows(19, size - 60, size + 4);  // many zeros behind the row
  }
}

// On both sides of what a block has groups for, and more rows than a grid takes at a time.
TEST_F(CudaSketch, NumbersOfRows) {
  for (const std::int64_t count : {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 129})
    for (const std::int64_t d : {64, 384, 768, 1100}) expect_rows(count, d, d);
  expect_rows(200'000, 64, 64);
}

// Tiles have the scale of their largest centroid; places without one have zeros.
TEST_F(CudaSketch, Centroids) {
  for (const std::int64_t d : {61, 64, 128, 192, 384, 448, 512, 700, 768, 1024, 1088, 2048, 4160})
    for (const std::int64_t k : {1, 16, 130}) {
      SCOPED_TRACE(::testing::Message() << "d " << d << " k " << k);
      Workers workers(1, {});
      cuda::Device device(0, on(Path{"cuda", ""}), workers);
      const Floats values = normals(k * d, 13), centre = normals(d, 14);
      const auto centroids = cuda::uploaded(device, values.data(), k * d);
      const cuda::Sketcher sketcher(device, d, cuda::uploaded(device, centre.data(), d));
      const Rotation rotation(d, cuda::kGranule);
      cuda::CentroidTiles tiles(device, k, rotation.size);
      tiles.prepare(sketcher, centroids.data(), cuda::NoHeights{});

      const cuda::CentroidSketches view = tiles.view();
      ASSERT_EQ(view.count, (k + cuda::kTile - 1) / cuda::kTile);
      const std::int64_t places = std::int64_t{view.count} * cuda::kTile;
      const auto q = cuda::downloaded(device, view.q, 2 * places * rotation.size);
      const auto order = cuda::downloaded(device, view.order, places);
      const auto sizes = cuda::downloaded(device, view.sizes, places);
      const auto info = cuda::downloaded(device, view.tiles, view.count);
      const auto where = cuda::downloaded(device, tiles.places(), k);
      std::vector<Floats> y;
      for (std::int64_t c = 0; c < k; ++c)
        y.push_back(rotated_in_fp32(rotation, &values[static_cast<std::size_t>(c * d)], centre));
      for (std::int64_t tile = 0; tile < view.count; ++tile) {
        float most = 0;
        for (std::int64_t place = tile * cuda::kTile; place < (tile + 1) * cuda::kTile; ++place)
          if (const std::int32_t c = order[static_cast<std::size_t>(place)]; c >= 0)
            most = std::max(most, largest(y[static_cast<std::size_t>(c)]));
        const float inverse = info[static_cast<std::size_t>(tile)].inverse_scale, scale = 1 / inverse;
        ASSERT_EQ(inverse, 1 / (most / cuda::kLevels));
        for (std::int64_t place = tile * cuda::kTile; place < (tile + 1) * cuda::kTile; ++place) {
          const std::int32_t c = order[static_cast<std::size_t>(place)];
          Bytes got[2];
          for (std::int64_t digit = 0; digit < 2; ++digit)
            for (std::int64_t j = 0; j < rotation.size; ++j)
              got[digit].push_back(q[static_cast<std::size_t>(
                  (2 * tile + digit) * cuda::kTile * rotation.size + j / cuda::kGranule * cuda::kStepBytes +
                  cuda::place_in_step(static_cast<int>(place % cuda::kTile),
                                      static_cast<int>(j % cuda::kGranule / 16)) +
                  j % 16)]);
          const cuda::OwnSize own = sizes[static_cast<std::size_t>(place)];
          if (c < 0) {
            ASSERT_EQ(got[0], Bytes(got[0].size()));
            ASSERT_EQ(got[1], Bytes(got[1].size()));
            ASSERT_EQ(own.sq_norm, cuda::kFarAway);
            continue;
          }
          ASSERT_EQ(where[static_cast<std::size_t>(c)], place);
          const Floats& mine = y[static_cast<std::size_t>(c)];
          const Digits digits(mine, scale);
          ASSERT_EQ(got[0], digits.first) << "place " << place;
          ASSERT_EQ(got[1], digits.second) << "place " << place;
          expect_said(own.sq_norm, own.error, error_and_square(mine, scale, digits.first), length_of(mine));
        }
      }
    }
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
