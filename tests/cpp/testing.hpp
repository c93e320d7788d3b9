// SPDX-License-Identifier: Apache-2.0
// What the C++ tests share.
//
// Names: a suite ending in NoOracle never compares with the scalar backend (scripts/mutation_check.py runs those
// against broken copies of the source); a test with Heavy in its name is left out where everything is many times
// slower.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "backend.hpp"
#include "cpu/dispatch.hpp"
#include "fastkmeans/fastkmeans.hpp"
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

// An instruction set and a filter (Execution::filter); which filter the planner takes for small data is its own affair.
struct Path {
  std::string isa, filter;
};
inline std::ostream& operator<<(std::ostream& out, const Path& path) { return out << path.isa << ' ' << path.filter; }

// Every filter of every instruction set that this machine has; bounded: those with lower bounds too.
inline std::vector<Path> kernel_paths(bool bounded = false) {
  std::vector<Path> paths;
  for (const cpu::Isa* isa : kernel_isas())
    for (const char* filter : {"fp32", "narrow", "fp32_bounds", "int8", "int8_bounds"}) {
      const std::string_view name = filter;
      if ((isa->kernels->sketch || !name.starts_with("int8")) && (bounded || !name.ends_with("_bounds")))
        paths.push_back({std::string(isa->name), filter});
    }
  return paths;
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
};

inline Execution on(std::string_view isa, int n_threads = 1) {
  Execution execution;
  execution.isa = isa;
  execution.n_threads = n_threads;
  return execution;
}

inline Execution on(const Path& path, int n_threads = 1) {
  Execution execution = on(path.isa, n_threads);
  execution.filter = path.filter;
  return execution;
}

inline Assignment assign(const Execution& execution, const MatrixView& x, const Matrix& centroids,
                         const std::vector<std::int32_t>& previous = {}) {
  Workers workers(execution.n_threads, execution.interrupt);
  Assignment out;
  out.labels.assign(static_cast<std::size_t>(x.rows), -7);
  out.distances.assign(out.labels.size(), -7);
  out.check = make_backend(execution, workers)
                  ->assign(x, centroids.centroids(), previous.empty() ? nullptr : previous.data(), false,
                           out.labels.data(), out.distances.data())
                  .check;
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

}  // namespace fastkmeans::testing
