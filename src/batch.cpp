// SPDX-License-Identifier: Apache-2.0
// Many problems in one call: each is a fit of its own (fit.cpp); here is who makes it, and where its result goes.
#include "batch.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "deadline.hpp"
#include "fastkmeans/fastkmeans.hpp"
#include "fit.hpp"
#include "lockstep.hpp"
#include "make_shard.hpp"
#include "numeric/fp_state.hpp"
#include "plan/filter.hpp"
#include "runtime/buffer.hpp"
#include "runtime/workers.hpp"

namespace fastkmeans {
namespace {

// Multiply-adds of an assignment that keep all threads busy many times longer than it takes to wake them.
constexpr double kManyProducts = 1 << 26;
// A fit of 500 x 64 rows, k = 16, takes a CUDA device 1.6 ms (H200), which is the time to start its kernels: some 60 us
// an iteration. So many multiply-adds does a thread do in an iteration's time, and so many bytes of rows are copied to
// the host in a fit's, at 10 GB/s.
constexpr double kProductsMeanwhile = 1 << 20;
constexpr std::int64_t kBytesMeanwhile = 1 << 24;
// Fewer problems are on the host, and done there, in the milliseconds that 25 launches and their answers took. A launch
// takes 32 iterations since, and fewer problems would do: 32 take 1.3 ms now, 16 on the host 2.0 (H200).
constexpr std::int64_t kFewProblems = 32;
// Of problems in lockstep each has a block, some hundredth of the device, which does about so many multiply-adds in
// those 60 us. So one that takes longer must have others beside it that would have waited for it.
constexpr double kProductsOfBlock = 1 << 21;
// Rows copied from a device at a time, for all threads: 25 ms, between two looks at the interrupt.
constexpr std::int64_t kCopiedBytes = 1 << 28;

// The error of the first problem that is wrong, whichever was tried first.
class FirstError {
 public:
  template <class Call>
  void keep(std::int64_t problem, const Call& call) {
    if (problem > before()) return;  // mutant: lowest_problem
    try {
      call();
    } catch (const std::invalid_argument& error) {
      const std::lock_guard lock(mutex_);
      if (problem > problem_) return;
      problem_ = problem;
      message_ = "problem " + std::to_string(problem) + ": " + error.what();
    }
  }
  void rethrow() const {
    if (!message_.empty()) throw std::invalid_argument(message_);
  }

 private:
  std::int64_t before() {
    const std::lock_guard lock(mutex_);
    return problem_;
  }

  std::mutex mutex_;
  std::int64_t problem_ = std::numeric_limits<std::int64_t>::max();
  std::string message_;
};

class Batch {
 public:
  Batch(std::span<const MatrixView> problems, const BatchParams& params)
      : problems_(problems.begin(), problems.end()),
        init_(params.init.begin(), params.init.end()),
        params_(params),
        deadline_(params.each.max_runtime_secs),
        row_offsets_{0} {
    const auto count = static_cast<std::int64_t>(problems.size());
    for (const auto& [name, given] : {std::pair("k", params.k.size()), std::pair("init", params.init.size())})
      if (given != 0 && given != problems.size())
        refuse(std::string("the length of ") + name, std::to_string(given),
               "that of the problems, " + std::to_string(count));
    if (params.each.callback) refuse("callback", "set", "empty: problems run side by side");
    require_options(params.each);
    if (init_.empty() && params.each.init) init_.assign(problems.size(), *params.each.init);
    for (const MatrixView& x : problems)
      row_offsets_.push_back(row_offsets_.back() + std::max<std::int64_t>(x.rows, 0));
    const auto weights = static_cast<std::int64_t>(params.each.weights.size());
    if (weights != 0 && weights != row_offsets_.back())
      refuse("the length of weights", std::to_string(weights),
             "that of all rows, " + std::to_string(row_offsets_.back()));
    if (!problems.empty()) {
      result_.d = problems[0].cols;
      home_ = problems[0].cuda_device;
    }
    result_.centroid_offsets = {0};
    for (std::int64_t b = 0; b < count; ++b) {
      errors_.keep(b, [&] { require(b); });
      errors_.rethrow();
      result_.centroid_offsets.push_back(result_.centroid_offsets.back() + k(b));
    }
    if (!goes_to_device()) make_room();
    result_.inertia.resize(problems.size());
    result_.n_iter.resize(problems.size());
    result_.converged.resize(problems.size());
    result_.timed_out.resize(problems.size());
    result_.n_used.resize(problems.size());
    result_.n_zero.resize(problems.size());
    result_.n_empty.resize(problems.size());
  }

  BatchResult run(Workers& workers) {
    // A filter that is forced may be one that only a device has.
    const bool forced = !forced_filter(params_.each.execution.filter).empty();
    if (!forced) fit_in_lockstep(workers);
    std::vector<std::int64_t> left;
    for (std::int64_t b = 0; b < std::ssize(problems_); ++b)
      if (result_.n_iter[static_cast<std::size_t>(b)] == 0) left.push_back(b);
    if (!left.empty()) fit_alone(left, forced, workers);
    std::stable_sort(result_.warnings.begin(), result_.warnings.end(),
                     [](const auto& a, const auto& b) { return a.problem < b.problem; });
    return std::move(result_);
  }

 private:
  std::int64_t k(std::int64_t b) const {
    return params_.k.empty() ? params_.each.k : params_.k[static_cast<std::size_t>(b)];
  }
  const MatrixView& rows(std::int64_t b) const { return problems_[static_cast<std::size_t>(b)]; }
  const MatrixView* init(std::int64_t b) const { return init_.empty() ? nullptr : &init_[static_cast<std::size_t>(b)]; }
  bool is_on_device(std::int64_t b) const { return rows(b).cuda_device != MatrixView::kHost; }
  static std::int64_t bytes_of(const MatrixView& x) {
    return x.rows * x.cols * static_cast<std::int64_t>(item_size(x.dtype));
  }
  std::int64_t bytes(std::int64_t b) const { return bytes_of(rows(b)); }
  std::int64_t first_row(std::int64_t b) const { return row_offsets_[static_cast<std::size_t>(b)]; }

  std::int64_t first_value(std::int64_t b) const {  // of its centroids
    return result_.centroid_offsets[static_cast<std::size_t>(b)] * result_.d;
  }

  // Where these go: into the result, or from there to the device, if they were not made on it.
  bool goes_to_device() const { return params_.each.on_device.centroids != nullptr; }
  void make_room() {
    result_.centroids.resize(static_cast<std::size_t>(first_value(std::ssize(problems_))));
    if (params_.each.labels) result_.labels.resize(static_cast<std::size_t>(row_offsets_.back()));
  }
  float* centroids(std::int64_t b) { return result_.centroids.data() + first_value(b); }
  std::int64_t* labels(std::int64_t b) { return params_.each.labels ? result_.labels.data() + first_row(b) : nullptr; }

  // Multiply-adds of an assignment of each of these problems.
  double operations(std::int64_t begin, std::int64_t end) const {
    double sum = 0;
    for (std::int64_t b = begin; b < end; ++b)
      sum += static_cast<double>(rows(b).rows) * static_cast<double>(k(b)) * static_cast<double>(rows(b).cols);
    return sum;
  }

  std::string device(std::int64_t b) const {
    const MatrixView& x = rows(b);
    if (!is_on_device(b) && !worth_a_device(x, k(b))) return "cpu";
    const Params& each = params_.each;
    return device_for(x, k(b), each.execution);
  }

  // As of a fit of the problem alone.
  Params of(std::int64_t b) const {
    Params params = params_.each;
    params.k = k(b);
    params.allow_fewer_rows = true;
    params.on_device = {};  // see give_to_device
    if (init(b)) params.init = *init(b);
    const auto first = static_cast<std::size_t>(first_row(b)), count = static_cast<std::size_t>(rows(b).rows);
    if (!params.weights.empty()) params.weights = params.weights.subspan(first, count);  // mutant: problem_weights
    return params;
  }

  void require(std::int64_t b) {
    require_problem(rows(b), k(b), init(b), 0, true);
    if (rows(b).cols != result_.d)
      refuse("the number of columns of data", std::to_string(rows(b).cols),
             "that of problem 0, " + std::to_string(result_.d));
    const auto place = [](int device) { return device == MatrixView::kHost ? "the host" : std::to_string(device); };
    const int its = rows(b).cuda_device;
    if (init(b) && init(b)->cuda_device != MatrixView::kHost && init(b)->cuda_device != its)
      refuse("the device of init", place(init(b)->cuda_device), "that of data, " + place(its));
    if (goes_to_device() && (its != home_ || its == MatrixView::kHost))
      refuse("the place of data", place(its), "the CUDA device of the results");
    if (!is_on_device(b) || its == known_device_) return;
    device(b);  // or it throws
    known_device_ = its;
  }

  LockstepFit lockstep_fit(std::int64_t b) {
    if (!goes_to_device()) return {rows(b), k(b), init(b), centroids(b), labels(b)};
    const auto& [its_centroids, its_labels] = params_.each.on_device;
    return {rows(b), k(b), init(b), its_centroids + first_value(b),
            params_.each.labels ? its_labels + first_row(b) : nullptr};
  }

  // Of the problems on each device those that can; some may fail, and are not done.
  void fit_in_lockstep(Workers& workers) {
    std::map<std::pair<int, int>, std::vector<std::int64_t>> alike;  // by the device, and where initial centroids lie
    bool takes = false;
    for (std::int64_t b = 0, known_k = 0; b < std::ssize(problems_); ++b) {
      if (!is_on_device(b)) continue;
      if (k(b) != known_k) takes = takes_small_shards(result_.d, known_k = k(b));  // which asks the environment
      if (takes && runs_in_lockstep(lockstep_fit(b), params_.each))
        alike[{rows(b).cuda_device, init(b) ? init(b)->cuda_device : MatrixView::kHost}].push_back(b);
    }
    for (auto& [places, able] : alike) fit_in_lockstep(std::move(able), workers);
  }

  // able: alike; those are fitted whose size suits their number.
  void fit_in_lockstep(std::vector<std::int64_t> able, Workers& workers) {
    const std::int64_t count = std::ssize(able);
    std::erase_if(able, [&](std::int64_t b) { return !is_for_lockstep(operations(b, b + 1), count); });
    std::vector<LockstepFit> fits;
    fits.reserve(able.size());
    for (const std::int64_t b : able) fits.push_back(lockstep_fit(b));
    fastkmeans::fit_in_lockstep(
        fits, {params_.each, goes_to_device(), deadline_}, workers,
        [&](std::int64_t fit, Result&& found) { store(able[static_cast<std::size_t>(fit)], std::move(found)); });
  }

  // Each by a shard of its own. forced: a filter.
  void fit_alone(const std::vector<std::int64_t>& left, bool forced, Workers& workers) {
    if (goes_to_device()) make_room();
    Buffer<char> initial;
    std::vector<MatrixView*> there;
    for (const std::int64_t b : left)
      if (init(b) && init(b)->cuda_device != MatrixView::kHost) there.push_back(&init_[static_cast<std::size_t>(b)]);
    bring_to_host(there, workers, initial);
    const double all = operations(0, std::ssize(problems_));
    std::vector<std::int64_t> small, on_devices;
    for (const std::int64_t b : left) {
      if ((forced && is_on_device(b)) ||
          !is_small(operations(b, b + 1), all, workers.count(), is_on_device(b) ? bytes(b) : 0))
        fit(b, workers);
      else
        (is_on_device(b) ? on_devices : small).push_back(b);
    }
    fit_side_by_side(std::move(small), workers);
    fit_copies(on_devices, workers);
    errors_.rethrow();
    if (goes_to_device()) give_to_device(left, workers);
  }

  // A thread each.
  void fit_side_by_side(std::vector<std::int64_t> small, Workers& workers) {
    // The longest first: short ones fill what is left at the end.
    std::stable_sort(small.begin(), small.end(),
                     [&](std::int64_t a, std::int64_t b) { return operations(a, a + 1) > operations(b, b + 1); });
    workers.for_each(static_cast<std::int64_t>(small.size()), std::numeric_limits<double>::infinity(),
                     [&](std::int64_t i, int worker) {
                       Workers one(workers, worker);
                       fit(small[static_cast<std::size_t>(i)], one);
                     });
  }

  // The same for problems whose rows lie on devices, from copies in host memory.
  void fit_copies(const std::vector<std::int64_t>& on_devices, Workers& workers) {
    Buffer<char> memory;
    for (auto next = on_devices.begin(); next != on_devices.end();) {
      std::vector<std::int64_t> some;
      std::vector<MatrixView*> there;
      std::int64_t size = 0;
      for (; next != on_devices.end() && (some.empty() || size + bytes(*next) <= kCopiedBytes); ++next) {
        some.push_back(*next);
        there.push_back(&problems_[static_cast<std::size_t>(*next)]);
        size += bytes(*next);
      }
      bring_to_host(there, workers, memory);
      fit_side_by_side(std::move(some), workers);
    }
  }

  // Matrices on devices become copies in this memory.
  void bring_to_host(const std::vector<MatrixView*>& matrices, Workers& workers, Buffer<char>& memory) {
    if (matrices.empty()) return;
    std::vector<MatrixView> there;
    std::int64_t size = 0;
    for (const MatrixView* x : matrices) {
      there.push_back(*x);
      size += bytes_of(*x);
    }
    memory.resize(size);
    copy_to_host(there, params_.each.execution, workers, memory.data());
    const char* copy = memory.data();
    for (MatrixView* x : matrices) {
      *x = MatrixView(copy, x->rows, x->cols, x->dtype);
      copy += bytes_of(*x);
    }
  }

  // What was found of these problems, ascending, and is on the host alone; what stands together at once.
  void give_to_device(const std::vector<std::int64_t>& found, Workers& workers) {
    std::vector<DeviceCopy> copies;
    for (auto next = found.begin(); next != found.end();) {
      const std::int64_t first = *next;
      std::int64_t end = first;
      for (; next != found.end() && *next == end; ++next) ++end;
      const auto add = [&](auto* to, const auto& from, std::int64_t at, std::int64_t behind) {
        const auto begin = static_cast<std::size_t>(at), count = static_cast<std::size_t>(behind - at);
        copies.emplace_back(to + begin, std::as_bytes(std::span(from).subspan(begin, count)));
      };
      add(params_.each.on_device.centroids, result_.centroids, first_value(first), first_value(end));
      if (params_.each.labels) add(params_.each.on_device.labels, result_.labels, first_row(first), first_row(end));
    }
    copy_to_device(copies, home_, params_.each.execution, workers);
    result_.centroids = {};
    result_.labels = {};
  }

  void fit(std::int64_t b, Workers& workers) {
    errors_.keep(b, [&] {
      Params params = of(b);
      params.execution.device = device(b);
      params.max_runtime_secs = deadline_.left();  // mutant: time_of_all_problems
      Result found = fit_rows(rows(b), std::move(params), workers);
      std::copy(found.centroids.begin(), found.centroids.end(), centroids(b));
      std::copy(found.labels.begin(), found.labels.end(), labels(b));
      store(b, std::move(found));
    });
  }

  // All but centroids and labels.
  void store(std::int64_t b, Result&& found) {
    const auto at = static_cast<std::size_t>(b);
    result_.inertia[at] = found.inertia;
    result_.n_iter[at] = found.n_iter;
    result_.converged[at] = found.converged;
    result_.timed_out[at] = found.timed_out;
    result_.n_used[at] = found.n_used;
    result_.n_zero[at] = found.n_zero;
    result_.n_empty[at] = found.n_empty;
    const std::lock_guard lock(warnings_mutex_);
    for (Warning& warning : found.warnings) result_.warnings.push_back({b, std::move(warning)});
  }

  std::vector<MatrixView> problems_;  // their rows, or copies of these
  std::vector<MatrixView> init_;      // their initial centroids, or copies of these; empty: none are given
  const BatchParams& params_;
  const Deadline deadline_;
  std::vector<std::int64_t> row_offsets_;  // (B + 1) among the rows of all
  BatchResult result_;
  int home_ = MatrixView::kHost;          // where the rows of the first problem lie
  int known_device_ = MatrixView::kHost;  // can be used
  std::mutex warnings_mutex_;
  FirstError errors_;
};

}  // namespace

bool is_small(double products, double of_all, int threads, std::int64_t bytes_there) {
  // mutant: small_on_device
  if (bytes_there > 0 && (products > kProductsMeanwhile * threads || bytes_there > kBytesMeanwhile)) return false;
  // One that takes longer than its share would keep the other threads waiting.
  return products <= std::min(kManyProducts, of_all / threads);
}

bool is_for_lockstep(double products, std::int64_t problems) {
  // mutant: lockstep_size
  return problems >= kFewProblems &&
         products <= std::min(kManyProducts, kProductsOfBlock * static_cast<double>(problems));
}

BatchResult fit_batch(std::span<const MatrixView> problems, const BatchParams& params) {
  FpState fp_state;
  Batch batch(problems, params);
  const Execution& execution = params.each.execution;
  if (execution.device != "cpu" && !execution.device.empty()) chosen_device(execution.device);  // or it throws
  Workers workers(execution.n_threads, as_caller(fp_state, execution.interrupt));
  return batch.run(workers);
}

}  // namespace fastkmeans
