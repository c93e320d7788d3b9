// SPDX-License-Identifier: Apache-2.0
#include "scalar/scalar_backend.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "numeric/distance.hpp"
#include "runtime/workers.hpp"
#include "source/element.hpp"

namespace fastkmeans {

float scalar_distance(const float* x, const float* c, std::int64_t d, float factor) {
  float lane[kLanes] = {};
  for (std::int64_t j = 0; j < d; ++j) {
    const float t = x[j] * factor - c[j] * factor;
    lane[j % kLanes] = std::fma(t, t, lane[j % kLanes]);
  }
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

namespace {

float largest_magnitude(const float* values, std::int64_t count) {
  float largest = 0;
  for (std::int64_t j = 0; j < count; ++j) largest = std::max(largest, std::abs(values[j]));
  return largest;
}

bool is_valid(const std::vector<float>& row) {
  return std::all_of(row.begin(), row.end(), [limit = magnitude_limit(static_cast<std::int64_t>(row.size()))](float v) {
    return std::abs(v) < limit;  // false for NaN
  });
}

class ScalarBackend final : public Backend {
 public:
  explicit ScalarBackend(Workers& workers) : workers_(workers) {}

  Statistics statistics(const MatrixView& x) override {
    Statistics result;
    result.column_max.assign(static_cast<std::size_t>(x.cols), 0.0f);
    std::vector<float> row(static_cast<std::size_t>(x.cols));
    for (std::int64_t i = 0; i < x.rows; ++i) {
      workers_.checkpoint(0);
      read_row(x, i, row.data());
      if (!is_valid(row)) {
        result.check.note(i);
        continue;
      }
      for (std::size_t j = 0; j < row.size(); ++j)
        result.column_max[j] = std::max(result.column_max[j], std::abs(row[j]));
      const float row_max = largest_magnitude(row.data(), x.cols);
      if (row_max > 0 && (result.least_row_max == 0 || row_max < result.least_row_max)) result.least_row_max = row_max;
    }
    return result;
  }

  Assigned assign(const MatrixView& x, CentroidsView centroids, const std::int32_t*, bool, std::int32_t* labels,
                  float* distances) override {
    RowCheck check;
    const bool tiny = largest_magnitude(centroids.values, centroids.k * centroids.d) < kTinyBelow;
    std::vector<float> row(static_cast<std::size_t>(x.cols));
    for (std::int64_t i = 0; i < x.rows; ++i) {
      read_row(x, i, row.data());
      labels[i] = 0;
      distances[i] = 0;
      if (!is_valid(row)) {
        check.note(i);
        continue;
      }
      const bool scaled = tiny && largest_magnitude(row.data(), x.cols) < kTinyBelow;
      float best = 0;
      for (std::int64_t c = 0; c < centroids.k; ++c) {
        workers_.checkpoint(0);
        const float distance = scalar_distance(row.data(), centroids.row(c), x.cols, scaled ? kTinyScale : 1.0f);
        if (c == 0 || distance < best) {
          best = distance;
          labels[i] = static_cast<std::int32_t>(c);
        }
      }
      distances[i] = store_distance(best, scaled);
    }
    return {.check = check, .filter = {}, .abandoned = {}};
  }

  void accumulate(const MatrixView& x, const std::int32_t* from, const std::int32_t* to, const FixedPoint& scale,
                  Sums& sums) override {
    std::vector<float> row(static_cast<std::size_t>(x.cols));
    auto move = [&](std::int32_t c, std::int64_t sign) {
      add_row(scale, row.data(), sign, sums.hi_row(c), sums.lo_row(c));
      sums.counts[static_cast<std::size_t>(c)] += sign;
    };
    for (std::int64_t i = 0; i < x.rows; ++i) {
      workers_.checkpoint(0);
      if (from && from[i] == to[i]) continue;
      read_row(x, i, row.data());
      if (from) move(from[i], -1);
      move(to[i], 1);
    }
  }

  void moved(CentroidsView a, CentroidsView b, float* distances) override {
    const bool tiny = largest_magnitude(b.values, b.k * b.d) < kTinyBelow;
    for (std::int64_t c = 0; c < a.k; ++c) {
      const bool scaled = tiny && largest_magnitude(a.row(c), a.d) < kTinyBelow;
      distances[c] = store_distance(scalar_distance(a.row(c), b.row(c), a.d, scaled ? kTinyScale : 1.0f), scaled);
    }
  }

 private:
  Workers& workers_;
};

}  // namespace

std::unique_ptr<Backend> make_scalar_backend(Workers& workers) { return std::make_unique<ScalarBackend>(workers); }

}  // namespace fastkmeans
