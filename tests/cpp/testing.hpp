// SPDX-License-Identifier: Apache-2.0
// What the C++ tests share.
//
// Names: a suite ending in NoOracle never compares with the scalar oracle (scripts/mutation_check.py runs those
// against broken copies of the source); a test with Heavy in its name is left out where everything is many times
// slower.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/assigner.hpp"
#include "cpu/dispatch.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "initial_rows.hpp"
#include "make_shard.hpp"
#include "numeric/distance.hpp"
#include "runtime/workers.hpp"
#include "sketch/rotation.hpp"

namespace fastkmeans::testing {

// The instruction sets of this machine that have kernels; scalar, the oracle, has none.
inline std::vector<const cpu::Isa*> kernel_isas() {
  std::vector<const cpu::Isa*> usable;
  for (const cpu::Isa& isa : cpu::isas())
    if (isa.kernels && cpu::available(isa)) usable.push_back(&isa);
  return usable;
}

// Those of them that have int8.
inline std::vector<const cpu::Isa*> sketch_isas() {
  std::vector<const cpu::Isa*> found = kernel_isas();
  std::erase_if(found, [](const cpu::Isa* isa) { return !isa->kernels->sketch; });
  return found;
}

// An instruction set, or cuda, and a filter (Execution::filter); which filter the planner takes for small data is its
// own affair.
struct Path {
  std::string isa, filter;
};
inline std::ostream& operator<<(std::ostream& out, const Path& path) { return out << path.isa << ' ' << path.filter; }

// Every filter of every instruction set that this machine has; bounded: those with lower bounds too.
inline std::vector<Path> kernel_paths(bool bounded = false) {
  std::vector<Path> paths;
  for (const cpu::Isa* isa : kernel_isas())
    for (const char* filter : {"fp32", "low_dim", "fp32_bounds", "int8", "int8_bounds", "narrow", "narrow_bounds"}) {
      const std::string_view name = filter;
      if ((isa->kernels->sketch || !(name.starts_with("int8") || name.starts_with("narrow"))) &&
          (bounded || !name.ends_with("_bounds")))
        paths.push_back({std::string(isa->name), filter});
    }
  return paths;
}

// The same for fits: those of a CUDA device too, if there is one.
inline std::vector<Path> fit_paths(bool bounded = false) {
  std::vector<Path> paths = kernel_paths(bounded);
  if (cuda_state().status == CudaStatus::ready)
    for (const char* filter : {"none", "low_dim", "int8", "narrow"}) paths.push_back({"cuda", filter});
  return paths;
}

// The filter that must run on this path, as FilterStats names it. fp32, on a CUDA device all distances, takes over
// where rows are too long for a sketch (16384 elements) and where all centroids are tiny, so that rows are multiplied
// by 2^64 (docs/filter.md section 6); fp32, there int8, where rows are too long for low_dim (64), and for inner
// products where a filter does not serve them.
inline std::string filter_that_runs(const Path& path, std::int64_t d, bool all_tiny, bool products = false) {
  if (path.isa == "scalar") return "none";
  if (path.isa == "cuda") {
    if ((all_tiny && !products) || path.filter == "none" || d > 16384) return "none";
    const bool is_there = path.filter == "int8" || (!products && (path.filter != "low_dim" || d <= 64));
    return is_there ? path.filter : "int8";
  }
  const std::string scores = path.filter.substr(0, path.filter.rfind("_bounds"));
  if (products && (scores == "low_dim" || scores == "narrow")) return "fp32";
  if (all_tiny || ((scores == "int8" || scores == "narrow") && d > 16384) || (scores == "low_dim" && d > 64))
    return "fp32";
  return scores;
}

// Fails unless the path that was forced, instruction set and filter, is the one that ran. all_tiny: of the centroids;
// nullopt: it depends on which rows became centroids. A path without a filter is the planner's choice, and anything may
// have run.
inline void expect_ran(const Path& path, const FilterStats& stats, std::int64_t d, std::optional<bool> all_tiny,
                       bool products = false) {
  if (!path.isa.empty()) {
    EXPECT_EQ(stats.isa, path.isa);
  }
  if (path.filter.empty()) return;
  if (all_tiny || stats.filter != (path.isa == "cuda" ? "none" : "fp32")) {
    EXPECT_EQ(stats.filter, filter_that_runs(path, d, all_tiny.value_or(false), products)) << path << " d " << d;
  }
}

struct Matrix {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(std::int64_t rows_, std::int64_t cols_)
      : rows(rows_), cols(cols_), values(static_cast<std::size_t>(rows_ * cols_)) {}
  Matrix(std::int64_t rows_, std::int64_t cols_, std::vector<float> values_)
      : rows(rows_), cols(cols_), values(std::move(values_)) {}

  float* row(std::int64_t i) { return values.data() + i * cols; }
  const float* row(std::int64_t i) const { return values.data() + i * cols; }
  MatrixView view() const { return {values.data(), rows, cols}; }
  CentroidsView centroids() const { return {values.data(), rows, cols}; }
};

// Whether centroids that are some of these rows, or means of some, are all tiny; nullopt: it depends on which.
inline std::optional<bool> all_tiny(const Matrix& x) {
  std::int64_t tiny = 0;
  for (std::int64_t i = 0; i < x.rows; ++i)
    tiny += std::all_of(x.row(i), x.row(i) + x.cols, [](float v) { return std::abs(v) < kTinyBelow; });
  if (tiny == 0 || tiny == x.rows) return tiny > 0;
  return std::nullopt;
}
// Whether all of these centroids are.
inline bool are_tiny(const Matrix& centroids) { return all_tiny(centroids).value_or(false); }

using Random = std::mt19937_64;
inline std::int64_t draw(Random& random, std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random);
}

enum class Kind { normal, integers, duplicates, offset, tiny, denormal, huge, mixed_rows, half_tiny, outliers };
inline constexpr Kind kKinds[] = {Kind::normal,   Kind::integers, Kind::duplicates, Kind::offset,    Kind::tiny,
                                  Kind::denormal, Kind::huge,     Kind::mixed_rows, Kind::half_tiny, Kind::outliers};

// Rows of a kind that is hard on one part or another of the rules.
inline Matrix random_rows(Kind kind, std::int64_t rows, std::int64_t cols, Random& random) {
  Matrix x(rows, cols);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < rows; ++i) {
    float scale = 1, offset = 0;
    if (kind == Kind::offset) offset = 1e6f;
    if (kind == Kind::tiny) scale = 0x1p-70f;
    if (kind == Kind::denormal) scale = 0x1p-140f;
    if (kind == Kind::huge) scale = 0x1p52f;
    if (kind == Kind::mixed_rows) scale = std::ldexp(1.0f, static_cast<int>(draw(random, -60, 40)));
    if (kind == Kind::half_tiny) scale = draw(random, 0, 1) ? 0x1p-40f : 0x1p-32f;
    if (kind == Kind::outliers && draw(random, 0, 9) == 0) scale = 1e8f;
    for (std::int64_t j = 0; j < cols; ++j) {
      float value = scale * normal(random) + offset;
      if (kind == Kind::integers) value = std::round(2 * value);
      x.row(i)[j] = value;
    }
    if (kind == Kind::duplicates && i > 0 && draw(random, 0, 3))
      std::copy_n(x.row(draw(random, 0, i - 1)), cols, x.row(i));
  }
  return x;
}

// k of the rows of x, with repetition, each kept, or moved a little, as centroids.
inline Matrix centroids_near(const Matrix& x, std::int64_t k, Random& random) {
  Matrix c(k, x.cols);
  for (std::int64_t i = 0; i < k; ++i) {
    std::copy_n(x.row(draw(random, 0, x.rows - 1)), x.cols, c.row(i));
    if (draw(random, 0, 1))
      for (std::int64_t j = 0; j < x.cols; ++j) c.row(i)[j] *= 1 + 0x1p-10f * static_cast<float>(draw(random, -9, 9));
  }
  return c;
}

// The row of 64 elements that the rotation makes (first, other, other, ...), exactly if these have few bits. 64 is one
// block on every instruction set; the transform is its own inverse.
inline std::vector<float> unrotated(double first, double other) {
  const Rotation rotation(64, 64);
  std::vector<float> x(64);
  for (std::size_t j = 0; j < 64; ++j) {
    const double sum = j == 0 ? first + 63 * other : first - other;  // row j of the transform: 64 signs
    x[j] = static_cast<float>(rotation.rounds[0].factors[j] > 0 ? sum / 8 : -sum / 8);
  }
  return x;
}

struct Assignment {
  std::vector<std::int32_t> labels;
  std::vector<float> distances;
  RowCheck check;
  FilterStats filter;
};

inline Execution on(std::string_view isa, int n_threads = 1) {
  Execution execution;
  if (isa == "cuda")
    execution.device = isa;
  else
    execution.isa = isa;
  execution.n_threads = n_threads;
  return execution;
}

inline Execution on(const Path& path, int n_threads = 1) {
  Execution execution = on(path.isa, n_threads);
  execution.filter = path.filter;
  return execution;
}

// Assignments of one shard's rows, one after the other, with hints of the caller's choice. The oracle takes none.
class Assigner {
 public:
  Assigner(const Execution& execution, const MatrixView& x)
      : isa_(cpu::choose(execution.isa)),
        execution_(execution),
        workers_(execution.n_threads, execution.interrupt),
        rows_(x),
        x_(x) {
    if (isa_.kernels)
      cpu_.emplace(cpu::Context{x, euclidean(), *isa_.kernels, workers_}, execution_);
    else
      scalar_ = make_shard(rows_, euclidean(), execution_, workers_);
  }

  Assigned assign(const Matrix& centroids, const std::int32_t* previous, bool more, std::int32_t* labels,
                  float* distances) {
    if (cpu_) {
      Assigned assigned = cpu_->assign(centroids.centroids(), previous, more, labels, distances);
      assigned.filter.isa = isa_.name;
      return assigned;
    }
    scalar_->start_run({centroids.values});
    scalar_->assign(more);
    std::vector<std::int64_t> all(static_cast<std::size_t>(x_.rows));
    std::iota(all.begin(), all.end(), 0);
    scalar_->look_up(all.data(), x_.rows, labels, distances);
    return scalar_->assigned();
  }

 private:
  const cpu::Isa& isa_;
  const Execution execution_;
  Workers workers_;
  const HostArray rows_;
  const MatrixView x_;
  std::optional<cpu::Assigner> cpu_;
  std::unique_ptr<Shard> scalar_;
};

inline Statistics statistics_of(const Execution& execution, const MatrixView& x) {
  Workers workers(execution.n_threads, {});
  const HostArray rows(x);
  return make_shard(rows, euclidean(), execution, workers)->statistics();
}

// The scale of all rows, each of which counts once.
inline FixedPoint scale_of(const MatrixView& x) {
  const Statistics statistics = statistics_of(on("scalar"), x);
  return FixedPoint(statistics.column_max, statistics.least_row_max, x.rows);
}

inline Path path_of(const Execution& execution) {
  return {execution.device == "cuda" ? execution.device : execution.isa, execution.filter};
}

// One assignment of x, by the filter that `execution` forces.
inline Assignment assign(const Execution& execution, const MatrixView& x, const Matrix& centroids,
                         const std::vector<std::int32_t>& previous = {}) {
  Assignment out;
  out.labels.assign(static_cast<std::size_t>(x.rows), -7);
  out.distances.assign(out.labels.size(), -7);
  const Assigned assigned = Assigner(execution, x)
                                .assign(centroids, previous.empty() ? nullptr : previous.data(), false,
                                        out.labels.data(), out.distances.data());
  out.check = assigned.check;
  out.filter = assigned.filter;
  expect_ran(path_of(execution), out.filter, x.cols, are_tiny(centroids));
  return out;
}

// Sets an environment variable, and puts back what was there.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_ ? old_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) { value ? setenv(name_, value, 1) : unsetenv(name_); }

  const char* name_;
  std::optional<std::string> old_;
};

// Equal to the bit: tells -0 from 0, and NaN equals itself.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// What a fit and a batch have in common, under the same names.
template <class Found>
void expect_same_outcome(const Found& got, const Found& expected) {
  EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
  EXPECT_EQ(got.n_iter, expected.n_iter);
  EXPECT_EQ(got.n_empty, expected.n_empty);
  EXPECT_EQ(got.n_used, expected.n_used);
  EXPECT_EQ(got.n_zero, expected.n_zero);
  EXPECT_EQ(got.converged, expected.converged);
}

// All of a fit but its times and how it was computed. with_labels: a shard has its own rows' alone.
inline void expect_same(const Result& got, const Result& expected, bool with_labels = true) {
  expect_same_outcome(got, expected);
  if (with_labels) {
    EXPECT_EQ(got.labels, expected.labels);
  }
  EXPECT_EQ(got.inertia, expected.inertia);
  ASSERT_EQ(got.warnings.size(), expected.warnings.size());
  for (std::size_t i = 0; i < got.warnings.size(); ++i)
    EXPECT_EQ(got.warnings[i].message, expected.warnings[i].message);
  ASSERT_EQ(got.iterations.size(), expected.iterations.size());
  for (std::size_t i = 0; i < got.iterations.size(); ++i) {
    const IterationStats &mine = got.iterations[i], &theirs = expected.iterations[i];
    EXPECT_EQ(mine.redo, theirs.redo);
    EXPECT_EQ(mine.inertia, theirs.inertia) << "iteration " << i;
    EXPECT_EQ(mine.shift, theirs.shift) << "iteration " << i;
    EXPECT_EQ(mine.changed, theirs.changed) << "iteration " << i;
    EXPECT_EQ(mine.empty, theirs.empty) << "iteration " << i;
    EXPECT_EQ(mine.relocated, theirs.relocated) << "iteration " << i;
  }
}

// All of a batch.
inline void expect_same_batch(const BatchResult& got, const BatchResult& expected) {
  expect_same_outcome(got, expected);
  EXPECT_EQ(got.labels, expected.labels);
  EXPECT_EQ(got.centroid_offsets, expected.centroid_offsets);
  EXPECT_TRUE(same_bits(got.inertia, expected.inertia));
  EXPECT_EQ(got.timed_out, expected.timed_out);
  ASSERT_EQ(got.warnings.size(), expected.warnings.size());
  for (std::size_t i = 0; i < got.warnings.size(); ++i) {
    EXPECT_EQ(got.warnings[i].problem, expected.warnings[i].problem);
    EXPECT_EQ(got.warnings[i].warning.message, expected.warnings[i].warning.message);
  }
}

// The text of the exception of type E that `call` must throw.
template <class E, class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another type of exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

inline void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << '"' << part << "\" is not in: " << text;
}

// (k, d) rows that random initialisation takes.
inline std::vector<float> initial_centroids(const Source& rows, std::int64_t k, std::uint64_t seed,
                                            std::uint32_t redo = 0, const Metric& metric = euclidean()) {
  Workers workers(2, {});
  NoReducer reducer;
  const auto shard = make_shard(rows, metric, {}, workers);
  Params params;
  params.k = k;
  params.seed = seed;
  shard->start_run(initial_rows({}, *shard, rows, metric, params, redo, reducer, workers));
  return shard->take_centroids();
}

}  // namespace fastkmeans::testing
