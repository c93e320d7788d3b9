// SPDX-License-Identifier: Apache-2.0
// Fits over several shards in one process: each has a thread, and they meet in a reducer. Fits of rows with weights.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "fit.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {

// Where the threads of a fit wait for each other.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size) {}
  int size() const { return size_; }

  // values[i] of all, joined by `join` in the order in which they come. Throws if somebody gave up.
  void join(std::uint64_t* values, std::int64_t count,
            const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& join) {
    std::unique_lock lock(mutex_);
    // Nobody begins the meeting after next before all have left this one, so two memories are enough, and one wake-up.
    const std::int64_t meeting = meetings_;
    std::vector<std::uint64_t>& joined = joined_[meeting % 2];
    if (arrived_ == 0)
      joined.assign(values, values + count);
    else
      for (std::int64_t i = 0; i < count && static_cast<std::size_t>(count) == joined.size(); ++i)
        joined[static_cast<std::size_t>(i)] = join(joined[static_cast<std::size_t>(i)], values[i]);
    // Shards that are not at the same call would give nonsense.
    if (joined.size() != static_cast<std::size_t>(count)) gave_up_ = true;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++meetings_;
    }
    if (arrived_ == 0 || gave_up_) changed_.notify_all();
    changed_.wait(lock, [&] { return meetings_ != meeting || gave_up_; });
    if (gave_up_) throw std::runtime_error("another shard gave up");
    std::copy(joined.begin(), joined.end(), values);
  }

  void give_up() {
    const std::lock_guard lock(mutex_);
    gave_up_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::vector<std::uint64_t>, 2> joined_;  // of this meeting and the one before it
  std::int64_t meetings_ = 0;
  int size_, arrived_ = 0;
  bool gave_up_ = false;
};

class ThreadReducer final : public Reducer {
 public:
  ThreadReducer(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }
  void sum(std::uint64_t* values, std::int64_t count) override { meeting_.join(values, count, std::plus<>()); }
  void max(std::uint64_t* values, std::int64_t count) override {
    meeting_.join(values, count, [](std::uint64_t a, std::uint64_t b) { return std::max(a, b); });
  }
  void min(std::uint64_t* values, std::int64_t count) override {
    meeting_.join(values, count, [](std::uint64_t a, std::uint64_t b) { return std::min(a, b); });
  }

 private:
  Meeting& meeting_;
  int rank_;
};

// How rows are spread: shard s has rows [ends[s - 1], ends[s]).
using Ends = std::vector<std::int64_t>;

// Runs call(rows, reducer, rank) on each shard; the first exception that is not about another shard's is rethrown.
inline void on_shards(const MatrixView& x, const std::int64_t* weights, const Ends& ends,
                      const std::function<void(const Source&, Reducer&, int)>& call) {
  Meeting meeting(static_cast<int>(ends.size()));
  std::vector<std::exception_ptr> errors(ends.size());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < meeting.size(); ++rank)
    threads.emplace_back([&, rank] {
      const auto s = static_cast<std::size_t>(rank);
      const std::int64_t first = rank ? ends[s - 1] : 0;
      const MatrixView part(static_cast<const char*>(x.data) + first * x.row_stride, ends[s] - first, x.cols, x.dtype,
                            x.row_stride, x.col_stride);
      ThreadReducer reducer(meeting, rank);
      try {
        call(HostArray(part, first, weights ? weights + first : nullptr), reducer, rank);
      } catch (...) {
        errors[s] = std::current_exception();
        meeting.give_up();
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::exception_ptr about_others;
  for (const std::exception_ptr& error : errors) {
    if (!error) continue;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      if (std::string(e.what()) != "another shard gave up") throw;
      about_others = error;
    }
  }
  if (about_others) std::rethrow_exception(about_others);
}

// What each shard of a fit returned, with the labels of all in the first.
inline std::vector<Result> fit_on_shards(const MatrixView& x, const Ends& ends, const Params& params,
                                         const Metric& metric = euclidean(), const std::int64_t* weights = nullptr) {
  std::vector<Result> results(ends.size());
  on_shards(x, weights, ends, [&](const Source& rows, Reducer& reducer, int rank) {
    Params own = params;
    if (rank > 0) own.callback = {};
    Workers workers(own.execution.n_threads, {});
    results[static_cast<std::size_t>(rank)] = fit_shard(rows, metric, own, reducer, workers);
  });
  for (std::size_t s = 1; s < results.size(); ++s)
    results[0].labels.insert(results[0].labels.end(), results[s].labels.begin(), results[s].labels.end());
  return results;
}

// Two, three and seven shards of n rows: uneven, some smaller than k, some empty.
inline std::vector<Ends> spreads(std::int64_t n) {
  return {{n / 3, n}, {0, n - 3, n}, {n / 9, n / 9, n / 9 + 1, n / 2, n - n / 4, n - n / 4, n}};
}

inline Params params_of(std::int64_t k, int niter, double tol) {
  Params params;
  params.k = k;
  params.niter = niter;
  params.tol = tol;
  return params;
}

// The same by inner products, on all rows.
inline Params of_products(std::int64_t k, int niter) {
  Params params = params_of(k, niter, -1);
  params.metric = MetricType::inner_product;
  params.max_points_per_centroid.reset();
  return params;
}

// Rows near k others, one each in turn, and of eight lengths.
inline Matrix clusters_of_many_lengths(std::int64_t n, std::int64_t k, std::int64_t d, Random& random) {
  const Matrix around = random_rows(Kind::normal, k, d, random);
  Matrix x = random_rows(Kind::normal, n, d, random);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < d; ++j)
      x.row(i)[j] = (around.row(i % k)[j] + 0x1p-4f * x.row(i)[j]) * (0.5f + 0x1p-4f * static_cast<float>(i % 8));
  return x;
}

// By hand: the nearest centroid of (2, 1) is (2, 2), its largest inner product is with (9, 0).
inline void expect_products_by_hand(const Execution& execution) {
  const Matrix x(4, 2, {2, 1, 0, 3, -1, -1, 0, 0}), centroids(3, 2, {2, 2, 9, 0, 2, 2});
  PredictParams params;
  params.metric = MetricType::inner_product;
  params.distances = true;
  params.execution = execution;
  const Prediction got = predict(x.view(), centroids.view(), params);
  EXPECT_EQ(got.labels, (std::vector<std::int64_t>{1, 0, 0, 0}));
  EXPECT_EQ(got.distances, (std::vector<double>{18, 6, -4, 0}));
  EXPECT_FALSE(std::signbit(got.distances[3]));
}

// At least 5 candidates as k-means++ draws them, one of them twice; may_be_tiny: otherwise none is.
inline Matrix candidates_near(const Matrix& x, std::int64_t count, bool may_be_tiny, Random& random) {
  Matrix candidates = centroids_near(x, count, random);
  if (!may_be_tiny)
    for (std::int64_t c = 0; c < count; ++c)
      candidates.row(c)[0] = std::copysign(std::max(std::abs(candidates.row(c)[0]), kTinyBelow), candidates.row(c)[0]);
  std::copy_n(candidates.row(0), x.cols, candidates.row(4));
  return candidates;
}

// Rows as often as their weights say, and which row of x each is.
inline Matrix repeated(const Matrix& x, const std::vector<std::int64_t>& weights) {
  std::vector<float> values;
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t w = 0; w < weights[static_cast<std::size_t>(i)]; ++w, ++rows)
      values.insert(values.end(), x.row(i), x.row(i) + x.cols);
  return Matrix(rows, x.cols, values);
}

}  // namespace fastkmeans::testing
