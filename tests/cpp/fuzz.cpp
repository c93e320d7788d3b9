// SPDX-License-Identifier: Apache-2.0
// Random fits and predictions, on every path and in the worst of memory, beside the scalar oracle on a packed copy: all
// bits must be the same (make fuzz).
//
//   fastkmeans_fuzz SECONDS
//   FUZZ_SEED=7 FUZZ_CASE=123 fastkmeans_fuzz SECONDS   that case alone, until it is wrong or the time is over: what
//                                                       depends on threads may need more than one try
//
// Exit status: 0 if nothing was wrong, and every filter of every instruction set really ran; else 1. Lower bounds leave
// out pairs in one fit of twenty, so a run of less than some 10 seconds may not see them.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <tuple>
#include <typeinfo>

#include "fuzz_case.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::testing {
namespace {

constexpr int kMostWrong = 5;           // cases, then we stop
constexpr unsigned kMostSilence = 120;  // seconds after the end until a case counts as endless

// --- What each host thread is at, for the signal handler ---

constexpr int kMostHosts = 64;
struct Running {
  char text[2048];
  const Arena* arenas[2];
} running[kMostHosts];

// An access that is forbidden, or a case that never ends. The case is the one whose memory it is, where that can be
// told.
void on_signal(int signal, siginfo_t* info, void*) {
  const auto say = [](const char* text) { static_cast<void>(!write(STDOUT_FILENO, text, std::strlen(text))); };
  const bool memory = signal == SIGSEGV || signal == SIGBUS;
  const auto touched = [&](const Running& one) {
    return std::any_of(one.arenas, one.arenas + 2,
                       [&](const Arena* arena) { return memory && arena && arena->contains(info->si_addr); });
  };
  const bool known = std::any_of(running, running + kMostHosts, touched);
  say(memory ? "WRONG: forbidden memory" : signal == SIGALRM ? "WRONG: no end" : "WRONG: the program was ended");
  say(known ? ", in " : ", in one of these\n");
  for (const Running& one : running)
    if (!known || touched(one)) say(one.text);
  _exit(1);
}

void watch_signals() {
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM}) sigaction(signal, &action, nullptr);
}

// --- Comparison; each returns what differs first, or "" ---

template <class T>
std::string difference(const char* what, const std::vector<T>& got, const std::vector<T>& expected) {
  std::ostringstream out;
  out.precision(17);
  if (got.size() != expected.size()) {
    out << what << ": " << got.size() << " of them, not " << expected.size();
  } else if (!same_bits(got, expected)) {
    std::size_t i = 0;
    while (std::memcmp(&got[i], &expected[i], sizeof(T)) == 0) ++i;
    out << what << '[' << i << "] is " << got[i] << ", not " << expected[i];
  }
  return out.str();
}

// All of a result but for the arrays, and for the time and the filter of iterations; a line for each part.
std::vector<std::string> lines_of(const Result& result) {
  std::ostringstream out;
  out.precision(17);  // tells all doubles apart
  out << "k " << result.k << " d " << result.d << " n_used " << result.n_used << " n_zero " << result.n_zero << '\n';
  for (const IterationStats& stats : result.iterations)
    out << "run " << stats.redo << " iteration " << stats.iteration << ": inertia " << stats.inertia << " changed "
        << stats.changed << " empty " << stats.empty << " relocated " << stats.relocated << " shift " << stats.shift
        << '\n';
  out << "n_iter " << result.n_iter << " inertia " << result.inertia << " converged " << result.converged << " n_empty "
      << result.n_empty << '\n';
  for (const Warning& warning : result.warnings)
    out << "warning " << static_cast<int>(warning.kind) << ' ' << warning.message << '\n';
  std::vector<std::string> lines;
  std::istringstream in(out.str());
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string difference(const Result& got, const Result& expected) {
  const auto mine = lines_of(got), theirs = lines_of(expected);
  for (std::size_t i = 0; i < std::min(mine.size(), theirs.size()); ++i)
    if (mine[i] != theirs[i]) return '"' + mine[i] + "\", not \"" + theirs[i] + '"';
  if (mine.size() != theirs.size()) return "the number of warnings";
  const std::string found = difference("centroids", got.centroids, expected.centroids);
  return found.empty() ? difference("labels", got.labels, expected.labels) : found;
}

std::string difference(const Prediction& got, const Prediction& expected) {
  const std::string found = difference("labels", got.labels, expected.labels);
  return found.empty() ? difference("distances", got.distances, expected.distances) : found;
}

// A result or the exception in its place.
template <class T>
struct Outcome {
  std::optional<T> value;
  std::string error;
};

template <class Call>
auto outcome_of(const Call& call) {
  Outcome<decltype(call())> outcome;
  try {
    outcome.value = call();
  } catch (const std::exception& error) {
    outcome.error = std::string(typeid(error).name()) + ": " + error.what();
  }
  return outcome;
}

template <class T>
std::string difference(const Outcome<T>& got, const Outcome<T>& expected) {
  if (got.error != expected.error) return "it throws \"" + got.error + "\", not \"" + expected.error + '"';
  return got.value ? difference(*got.value, *expected.value) : "";
}

// --- The oracle itself, against fp64 ---

// Whether the labels are those of the nearest centroids, as well as D can tell. With Delta the true distance, D's
// rounding g, and l the label: Delta_l^2 <= D_l (1 + g) + s, D_l <= D_m and D_m <= Delta_m^2 (1 + g) + s for every m,
// where s = d 2^-148 (docs/algorithm.md section 1.1). So Delta_l^2 <= Delta_m^2 (1 + g)^2 + 3 s. Sums of d squares in
// fp64 are good to (d + 2) 2^-53 on each side, for which 1e-12 is enough. Where D is that of rows and centroids
// multiplied by 2^64, so is this. Inner products: each is good to g |x| |c| + d 2^-148 (section 8).
std::string labels_against_fp64(const MatrixView& x, const Result& result, bool products) {
  const std::int64_t d = x.cols;
  const auto largest = [](const float* values, std::size_t count) {
    return std::accumulate(values, values + count, 0.0f,
                           [](float most, float v) { return std::max(most, std::abs(v)); });
  };
  const bool tiny = !products && largest(result.centroids.data(), result.centroids.size()) < kTinyBelow;
  const double factor = products ? 1 : std::pow(1 + distance_rounding(d), 2) + 1e-12;
  std::vector<float> row(static_cast<std::size_t>(d));
  const std::vector<float> origin(row.size());
  double longest = 0;
  for (std::int64_t c = 0; c < result.k; ++c)
    longest = std::max(longest, sq_distance(result.centroids.data() + c * d, origin.data(), d));
  std::vector<double> losses(static_cast<std::size_t>(result.k));
  for (std::size_t i = 0; i < result.labels.size(); ++i) {
    read_row(x, static_cast<std::int64_t>(i), row.data());
    const double scale = tiny && largest(row.data(), row.size()) < kTinyBelow ? kTinyScale : 1;
    double slack = 3 * static_cast<double>(d) * 0x1p-148;
    if (products)
      slack += 2 * (distance_rounding(d) + 1e-12) * std::sqrt(longest * sq_distance(row.data(), origin.data(), d));
    for (std::int64_t c = 0; c < result.k; ++c) {
      const float* centroid = result.centroids.data() + c * d;
      double sum = 0;
      for (std::int64_t j = 0; j < d; ++j) {
        const auto value = static_cast<double>(row[static_cast<std::size_t>(j)]),
                   its = static_cast<double>(centroid[j]);
        const double t = (value - its) * scale;
        sum += products ? -value * its : t * t;
      }
      losses[static_cast<std::size_t>(c)] = sum;
    }
    const double own = losses[static_cast<std::size_t>(result.labels[i])];
    const auto nearest = std::min_element(losses.begin(), losses.end());
    if (own <= *nearest * factor + slack) continue;
    std::ostringstream out;
    out << "the oracle's label of row " << i << " is " << result.labels[i] << ", and " << (nearest - losses.begin())
        << " is nearer: squared distances, or negated products, in fp64 " << own << " and " << *nearest;
    return out.str();
  }
  return "";
}

// --- Which filter ran ---

// Whether a filter that was asked for did something in this fit. Bounds did if they left out pairs.
bool really_ran(const Path& path, std::int64_t d, const Result& result) {
  const bool bounds = path.filter.ends_with("_bounds");
  const std::string scores = filter_that_runs(path, d, false);
  if (!path.filter.starts_with(scores)) return false;
  return std::any_of(result.iterations.begin(), result.iterations.end(), [&](const IterationStats& stats) {
    return stats.filter.filter == scores && (!bounds || stats.filter.scored < result.iterations[0].filter.scored);
  });
}

// A filter that was asked for must do the first iteration, or fp32 where it cannot; unless the rows may be tiny.
bool fell_back(const FuzzCase& fuzz, const Path& path, const Result& result) {
  if (path.filter.empty()) return false;
  const MatrixView initial = (fuzz.with_init ? fuzz.init : fuzz.data).view();
  for (std::int64_t i = 0; i < initial.rows; ++i) {
    bool tiny = true;
    for (std::int64_t j = 0; j < initial.cols && tiny; ++j) tiny = std::abs(element(initial, i, j)) < kTinyBelow;
    if (tiny) return false;
  }
  return result.iterations[0].filter.filter !=
         filter_that_runs(path, initial.cols, false, fuzz.params.metric.has_value());
}

struct Counts {
  struct Wish {
    std::int64_t asked = 0, ran = 0;
  };
  using IsaAndFilter = std::pair<std::string, std::string>;

  std::int64_t fits = 0, predicts = 0, refused = 0, wrong = 0;
  std::map<IsaAndFilter, Wish> wishes;
  std::map<IsaAndFilter, std::int64_t> chosen;  // without a wish: the filter of the first iteration

  void merge(const Counts& other) {
    fits += other.fits;
    predicts += other.predicts;
    refused += other.refused;
    for (const auto& [path, wish] : other.wishes) {
      wishes[path].asked += wish.asked;
      wishes[path].ran += wish.ran;
    }
    for (const auto& [path, times] : other.chosen) chosen[path] += times;
  }
};

// --- One host thread ---

class Host {
 public:
  Host(int number, Counts& counts) : running_(running[number]), counts_(counts) {
    running_.arenas[0] = &data_;
    running_.arenas[1] = &centroids_;
  }
  ~Host() { running_ = {}; }

  // What is wrong with the case, or "".
  std::string check(const FuzzCase& fuzz) {
    announce(fuzz, fuzz.runs[0]);
    Params params = fuzz.params;
    params.execution = on("scalar");
    if (fuzz.with_init) params.init = fuzz.init.view();
    const auto expected = outcome_of([&] { return fit(fuzz.data.view(), params); });
    counts_.refused += !expected.value;
    if (expected.value && params.labels)
      if (const std::string wrong = labels_against_fp64(fuzz.data.view(), *expected.value, params.metric.has_value());
          !wrong.empty())
        return fuzz.text(fuzz.runs[0]) + "  " + wrong;

    const bool predicts = fuzz.predict && (fuzz.predict_init || expected.value);
    Packed centroids = fuzz.init;
    if (predicts && !fuzz.predict_init)
      centroids = Packed(Matrix(fuzz.params.k, fuzz.data.cols, expected.value->centroids), DType::f32, 1);
    PredictParams predict_params;
    predict_params.execution = params.execution;
    predict_params.distances = fuzz.distances;
    predict_params.metric = params.metric;
    Outcome<Prediction> expected_labels;
    if (predicts)
      expected_labels = outcome_of([&] { return predict(fuzz.data.view(), centroids.view(), predict_params); });

    for (const FuzzRun& run : fuzz.runs) {
      const std::string text = announce(fuzz, run);
      Random random(run.hidden_seed);
      const MatrixView x = data_.place(fuzz.data, run.data, random);
      if (fuzz.with_init) params.init = centroids_.place(fuzz.init, run.init, random);
      params.execution = run.execution;
      const auto got = outcome_of([&] { return fit(x, params); });
      ++counts_.fits;
      if (const std::string wrong = difference(got, expected); !wrong.empty()) return text + "  fit: " + wrong;
      if (got.value) {
        count(run, *got.value);
        if (fell_back(fuzz, path_of(run.execution), *got.value)) return text + "  the filter did not run";
      }
      if (!predicts) continue;
      predict_params.execution = run.execution;
      const MatrixView given = centroids_.place(centroids, run.centroids, random);
      const auto labels = outcome_of([&] { return predict(x, given, predict_params); });
      ++counts_.predicts;
      if (const std::string wrong = difference(labels, expected_labels); !wrong.empty())
        return text + "  predict: " + wrong;
    }
    return "";
  }

 private:
  std::string announce(const FuzzCase& fuzz, const FuzzRun& run) {
    const std::string text = fuzz.text(run);
    std::snprintf(running_.text, sizeof running_.text, "%s", text.c_str());
    return text;
  }

  void count(const FuzzRun& run, const Result& result) {
    const auto [isa, filter] = path_of(run.execution);
    if (filter.empty()) {
      ++counts_.chosen[{isa, std::string(result.iterations[0].filter.filter)}];
      return;
    }
    Counts::Wish& wish = counts_.wishes[{isa, filter}];
    ++wish.asked;
    wish.ran += really_ran({isa, filter}, result.d, result);
  }

  Running& running_;
  Counts& counts_;
  Arena data_, centroids_;
};

// Prints what ran; false if a filter that these paths have never did.
bool report(Counts& counts, const std::vector<Path>& paths) {
  bool all = true;
  std::cout << "fits in which the filter asked for did something, of those that asked for it:\n";
  for (const Path& path : paths) {
    if (path.filter.empty()) continue;
    const Counts::Wish wish = counts.wishes[{path.isa, path.filter}];
    all = all && wish.ran > 0;
    std::cout << "  " << path << ": " << wish.ran << " of " << wish.asked
              << (wish.ran > 0 ? "\n" : "  WRONG: it never ran\n");
  }
  std::cout << "fits that asked for none, by the filter of their first iteration:\n";
  for (const auto& [path, times] : counts.chosen)
    std::cout << "  " << path.first << ' ' << path.second << ": " << times << '\n';
  std::cout << counts.refused << " cases were refused, as the oracle refuses them\n";
  return all;
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

int main_of(int argc, char** argv) {
  const int seconds = argc == 2 ? std::atoi(argv[1]) : 0;
  if (seconds < 1) {
    std::cerr << "usage: [FUZZ_SEED=number [FUZZ_CASE=number]] fastkmeans_fuzz SECONDS\n";
    return 2;
  }
  const std::uint64_t seed = number_from("FUZZ_SEED", std::random_device()());
  constexpr std::uint64_t kAllCases = ~std::uint64_t{0};
  const std::uint64_t only = number_from("FUZZ_CASE", kAllCases);
  for (const char* variable : {"FASTKMEANS_ISA", "FASTKMEANS_FILTER"}) unsetenv(variable);
  watch_signals();
  alarm(static_cast<unsigned>(seconds) + kMostSilence);
  std::cout << "seed " << seed << std::endl;

  std::vector<Path> paths = fit_paths(true);
  for (const cpu::Isa* isa : kernel_isas()) paths.push_back({std::string(isa->name), ""});
  if (cuda_state().status == CudaStatus::ready) paths.push_back({"cuda", ""});
  paths.push_back({"scalar", ""});  // the oracle reads strides, too
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  Counts total;
  const auto host = [&](int number) {
    Counts counts;
    Host mine(number, counts);
    while (!stop && std::chrono::steady_clock::now() < end) {
      const FuzzCase fuzz(seed, only == kAllCases ? next++ : only, paths);
      const std::string wrong = mine.check(fuzz);
      if (wrong.empty()) continue;
      const std::lock_guard lock(mutex);
      if (++total.wrong >= kMostWrong || only != kAllCases) stop = true;
      std::cout << "WRONG: " << wrong << std::endl;
    }
    const std::lock_guard lock(mutex);
    total.merge(counts);
  };
  std::vector<std::thread> hosts;
  for (int i = 0; i < std::min(default_threads(), kMostHosts); ++i) hosts.emplace_back(host, i);
  for (std::thread& thread : hosts) thread.join();

  const bool all_ran = report(total, paths) || only != kAllCases;
  std::cout << total.fits << " fits, " << total.predicts << " predicts, " << total.wrong << " wrong (seed " << seed
            << ", " << seconds << " s)\n";
  return total.wrong == 0 && all_ran ? 0 : 1;
}

}  // namespace
}  // namespace fastkmeans::testing

int main(int argc, char** argv) { return fastkmeans::testing::main_of(argc, argv); }
