// SPDX-License-Identifier: Apache-2.0
// One case of the fuzz program: data and parameters, and several runs of them, each in a layout and on a path of its
// own. A seed and a number say all of it.
#pragma once

#include <sstream>

#include "layouts.hpp"

namespace fastkmeans::testing {

// One way to compute what the case asks for.
struct FuzzRun {
  Execution execution;
  Layout data, init, centroids;
  std::uint64_t hidden_seed = 0;  // of the plausible hidden values
};

struct FuzzCase {
  std::uint64_t seed, number;
  Kind kind = Kind::normal;
  bool crowded = false;       // so many rows of equal distances that the planner's filter gives up
  double factor = 1;          // values are those of the kind times this
  std::int64_t clusters = 0;  // rows are near this many of them, or 0
  std::int64_t bad = 0;       // elements made NaN, infinite or too large
  std::optional<Overlap> overlap;
  Packed data, init;
  bool with_init = false;
  bool predict = false, predict_init = false;  // whether predict is called, with init or the fit's centroids
  bool distances = false;
  Params params;  // execution and init are the runs'
  std::vector<FuzzRun> runs;

  FuzzCase(std::uint64_t seed_, std::uint64_t number_, const std::vector<Path>& paths);

  std::string text(const FuzzRun& run) const;

 private:
  void draw_shape(Random& random, std::int64_t& n, std::int64_t& d, std::int64_t& k);
  void draw_values(Random& random, std::int64_t n, std::int64_t d, std::int64_t k);
  void draw_params(Random& random);
  FuzzRun draw_run(Random& random, const Path& path);
};

// The oracle's work, multiply-adds of one iteration: most cases must be small, for there to be many of them.
inline constexpr std::int64_t kSmallWork = 400'000, kLargeWork = 6'000'000, kMostElements = 100'000;

// One of the values.
template <class T, std::size_t n>
T one_of(Random& random, const T (&values)[n]) {
  return values[draw(random, 0, static_cast<std::int64_t>(n) - 1)];
}

// Moves the rows to a 64th of their distance from some of themselves: what drift bounds are for.
inline void gather_round(Matrix& x, std::int64_t clusters, Random& random) {
  for (std::int64_t i = clusters; i < x.rows; ++i) {
    const float* centre = x.row(draw(random, 0, clusters - 1));
    for (std::int64_t j = 0; j < x.cols; ++j) x.row(i)[j] = centre[j] + 0x1p-6f * (x.row(i)[j] - centre[j]);
  }
}

inline FuzzCase::FuzzCase(std::uint64_t seed_, std::uint64_t number_, const std::vector<Path>& paths)
    : seed(seed_), number(number_) {
  std::seed_seq words{seed >> 32, seed & 0xffffffff, number >> 32, number & 0xffffffff};
  Random random(words);
  std::int64_t n, d, k;
  draw_shape(random, n, d, k);
  params.k = k;
  draw_values(random, n, d, k);
  draw_params(random);
  // Runs share the oracle's, which is slow.
  constexpr std::uint64_t kRuns = 3;
  for (std::uint64_t i = 0; i < kRuns; ++i)
    runs.push_back(draw_run(random, paths[(number * kRuns + i) % paths.size()]));
}

inline void FuzzCase::draw_shape(Random& random, std::int64_t& n, std::int64_t& d, std::int64_t& k) {
  crowded = one_in(random, 20);
  const bool large = crowded || one_in(random, 10);
  do {
    n = draw(random, 1, large ? 2000 : one_of(random, {8, 60, 150, 400}));
    switch (draw(random, 0, 8)) {
      case 0:
      case 1:
      case 2: d = draw(random, 1, 9); break;
      case 3:
      case 4: d = std::max<std::int64_t>(1, 16 * draw(random, 0, 9) + draw(random, -1, 1)); break;
      case 5: d = draw(random, 63, 65); break;
      case 6: d = draw(random, 119, 129); break;
      case 7: d = draw(random, 1, 150); break;
      default: d = one_in(random, 4) ? draw(random, 200, 800) : draw(random, 10, 40);
    }
    k = draw(random, 1, std::min<std::int64_t>(n, one_of(random, {60, large ? 400 : 60})));
    if (one_in(random, 16)) k = n;
  } while (n * k * d > (large ? kLargeWork : kSmallWork) || n * d > kMostElements ||
           (crowded && n * k * d < kLargeWork / 6));
}

inline void FuzzCase::draw_values(Random& random, std::int64_t n, std::int64_t d, std::int64_t k) {
  kind = crowded ? one_of(random, {Kind::integers, Kind::duplicates}) : one_of(random, kKinds);
  const DType dtype = one_in(random, 3) ? DType::f32 : one_of(random, kDTypes);
  // Integers of all sizes, and fp64 values that fp32 does not have.
  const bool is_float = dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
  factor = is_float ? 1 : dtype == DType::f64 ? 1.1 : std::pow(10.0, static_cast<double>(draw(random, 0, 9)));
  Matrix values;
  if (one_in(random, 12)) {
    overlap = one_of(random, {Overlap{0, 1}, Overlap{1, 0}, Overlap{1, 1}, Overlap{2, 1}, Overlap{1, 2}});
    const Matrix list = random_rows(kind, 1, (n - 1) * overlap->row + (d - 1) * overlap->col + 1, random);
    values = Matrix(n, d);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < d; ++j)
        values.row(i)[j] = list.values[static_cast<std::size_t>(i * overlap->row + j * overlap->col)];
  } else {
    values = random_rows(kind, n, d, random);
    if (one_in(random, 3)) gather_round(values, clusters = draw(random, 1, n), random);
  }
  data = Packed(values, dtype, factor);
  init = Packed(centroids_near(values, k, random), one_in(random, 2) ? dtype : one_of(random, kDTypes), factor);
  with_init = one_in(random, 2);
  if (!one_in(random, 20) || overlap) return;
  bad = draw(random, 1, 3);
  for (std::int64_t i = 0; i < bad; ++i) {
    Packed& where = one_in(random, 4) ? init : data;
    const auto limit = static_cast<double>(magnitude_limit(d));
    const double value = one_of(random, {std::numeric_limits<double>::quiet_NaN(),
                                         std::numeric_limits<double>::infinity(), limit, -limit, -1e300});
    encode(value, where.dtype, where.at(draw(random, 0, where.rows - 1), draw(random, 0, d - 1)));
  }
}

inline void FuzzCase::draw_params(Random& random) {
  params.niter = static_cast<int>(one_in(random, 10) ? draw(random, 9, 20) : draw(random, 1, 8));
  params.tol = one_of(random, {0.0, -1.0, 1e-8, 1e-3, 1.0, 1e30});
  params.seed = random();
  params.nredo = one_in(random, 4) ? 2 : 1;
  params.max_points_per_centroid.reset();
  if (one_in(random, 3)) params.max_points_per_centroid = draw(random, 1, 12);
  params.labels = !one_in(random, 4);
  if (one_in(random, 4)) params.metric = MetricType::inner_product;
  predict = one_in(random, 2);
  predict_init = one_in(random, 2);
  distances = one_in(random, 2);
}

inline FuzzRun FuzzCase::draw_run(Random& random, const Path& path) {
  FuzzRun run;
  run.execution = on(path, static_cast<int>(draw(random, 1, 4)));
  if (crowded) run.execution.filter.clear();
  const std::int64_t sizes[] = {1, 2, draw(random, 3, 100), 64, 51'200, std::numeric_limits<std::int64_t>::max()};
  run.execution.chunk_size_data = one_of(random, sizes);
  run.execution.chunk_size_centroids = one_of(random, sizes);
  run.data = random_layout(data.rows, data.cols, data.dtype, overlap, random);
  run.init = random_layout(init.rows, init.cols, init.dtype, {}, random);
  run.centroids = random_layout(init.rows, init.cols, predict_init ? init.dtype : DType::f32, {}, random);
  run.hidden_seed = random();
  return run;
}

inline std::string FuzzCase::text(const FuzzRun& run) const {
  std::ostringstream out;
  out << "case " << number << ", run " << (&run - runs.data()) << "; again: FUZZ_SEED=" << seed
      << " FUZZ_CASE=" << number << " make fuzz\n  n " << data.rows << " d " << data.cols << " k " << params.k
      << " data " << name_of(kind) << " times " << factor << " as " << name_of(data.dtype) << ", clusters " << clusters
      << ", bad elements " << bad;
  if (overlap) out << ", overlap " << overlap->row << ' ' << overlap->col;
  out << "\n  niter " << params.niter << " tol " << params.tol << " nredo " << params.nredo << " seed " << params.seed
      << " max_points_per_centroid "
      << (params.max_points_per_centroid ? std::to_string(*params.max_points_per_centroid) : "nullopt") << " labels "
      << params.labels << (params.metric ? " by inner products" : "") << "\n  isa " << path_of(run.execution).isa
      << " filter '" << run.execution.filter << "' n_threads " << run.execution.n_threads << " chunk_size_data "
      << run.execution.chunk_size_data << " chunk_size_centroids " << run.execution.chunk_size_centroids
      << "\n  data: " << run.data << "\n  init: ";
  if (with_init)
    out << name_of(init.dtype) << ' ' << run.init;
  else
    out << "none";
  out << "\n  predict: ";
  if (predict)
    out << (predict_init ? "with init" : "with the fit's centroids") << ", distances " << distances << ", "
        << run.centroids;
  else
    out << "none";
  out << '\n';
  return out.str();
}

}  // namespace fastkmeans::testing
