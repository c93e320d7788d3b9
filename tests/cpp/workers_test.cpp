// SPDX-License-Identifier: Apache-2.0
#include "runtime/workers.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <limits>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "runtime/os.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kWorthManyThreads = 1e12;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Waits for what another thread must do soon; false if it never does.
template <class Condition>
bool wait_for(const Condition& condition) {
  for (const auto start = Clock::now(); !condition(); std::this_thread::yield())
    if (seconds_since(start) > 20) return false;
  return true;
}

TEST(WorkersNoOracle, EachTaskOnceOnWorkersInRange) {
  for (int threads = 1; threads <= 6; ++threads)
    for (const std::int64_t n : {0, 1, 2, 7, 1000}) {
      Workers workers(threads, {});
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(n));
      std::atomic<bool> in_range{true};
      workers.for_each(n, kWorthManyThreads, [&](std::int64_t i, int worker) {
        ++done[static_cast<std::size_t>(i)];
        if (worker < 0 || worker >= threads) in_range = false;
      });
      for (const auto& count : done) EXPECT_EQ(count, 1);
      EXPECT_TRUE(in_range);
    }
}

TEST(WorkersNoOracle, LittleWorkStaysWithTheCaller) {
  Workers workers(4, {});
  const auto caller = std::this_thread::get_id();
  workers.for_each(100, 1000, [&](std::int64_t, int worker) {
    EXPECT_EQ(worker, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

TEST(WorkersNoOracle, WorkersWorkAtTheSameTime) {
  Workers workers(3, {});
  std::atomic<int> here{0};
  workers.for_each(3, kWorthManyThreads, [&](std::int64_t, int) {
    ++here;
    EXPECT_TRUE(wait_for([&] { return here == 3; }));
  });
}

// One worker fails, the other is told; the exception arrives with its own type, and all threads are back.
TEST(WorkersNoOracle, AnExceptionFromAnyWorkerArrivesOnce) {
  for (const int thrower : {0, 1}) {
    Workers workers(2, {});
    std::atomic<int> here{0}, inside{0};
    const auto begin = Clock::now();
    const auto text = message_of<std::out_of_range>([&] {
      workers.for_each(2, kWorthManyThreads, [&](std::int64_t, int worker) {
        ++inside;
        if (here < 2) {
          ++here;
          wait_for([&] { return here >= 2; });
        }
        --inside;
        if (worker == thrower) throw std::out_of_range("worker " + std::to_string(worker));
        for (const auto start = Clock::now(); seconds_since(start) < 5;) workers.checkpoint(worker);
      });
    });
    EXPECT_EQ(text, "worker " + std::to_string(thrower));
    EXPECT_EQ(inside, 0);
    EXPECT_LT(seconds_since(begin), 4);  // the other worker was told
  }
}

TEST(WorkersNoOracle, AllocationFailureIsAnException) {
  Workers workers(3, {});
  EXPECT_THROW(workers.for_each(50, kWorthManyThreads, [](std::int64_t, int) { throw std::bad_alloc(); }),
               std::bad_alloc);
}

TEST(WorkersNoOracle, ManyCallersAtOnce) {
  std::atomic<std::int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller)
    callers.emplace_back([&sum, caller] {
      Workers workers(1 + caller % 4, {});
      for (int repeat = 0; repeat < 50; ++repeat)
        workers.for_each(40, kWorthManyThreads, [&](std::int64_t i, int) { sum += i; });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum, 6 * 50 * (39 * 40 / 2));
}

// Calls do not share their threads: each has all that it asked for.
TEST(WorkersNoOracle, ManyCallersHaveAllTheirThreads) {
  constexpr int kCallers = 6, kThreads = 4;
  std::atomic<int> here{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([&here] {
      Workers(kThreads, {}).for_each(kThreads, kWorthManyThreads, [&](std::int64_t, int) {
        ++here;
        EXPECT_TRUE(wait_for([&] { return here == kCallers * kThreads; }));
      });
    });
  for (auto& caller : callers) caller.join();
}

// Callers that name no number share the threads of one; a caller that names one has its own beside them.
TEST(WorkersNoOracle, CallersThatNameNoNumberShare) {
  const Environment omp("OMP_NUM_THREADS", "6");
  constexpr int kCallers = 5, kTogether = kCallers + 6 - 1, kNamed = 4;
  std::atomic<int> here{0}, most{0}, named{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([&] {
      Workers(0, {}).for_each(6, kWorthManyThreads, [&](std::int64_t, int) {
        const int now = ++here;
        for (int old = most; old < now && !most.compare_exchange_weak(old, now);) continue;
        wait_for([&] { return most == kTogether && named == kNamed; });
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // more would come now
        --here;
      });
    });
  EXPECT_TRUE(wait_for([&] { return most == kTogether; }));
  Workers(kNamed, {}).for_each(kNamed, kWorthManyThreads, [&](std::int64_t, int) {
    ++named;
    EXPECT_TRUE(wait_for([&] { return named == kNamed; }));
  });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(most, kTogether);
}

#if defined(__linux__)
TEST(WorkersNoOracle, ThreadsWithoutWorkEnd) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  std::atomic<int> here{0};
  Workers(12, {}).for_each(12, kWorthManyThreads, [&](std::int64_t, int) {
    ++here;
    EXPECT_TRUE(wait_for([&] { return here == 12; }));
  });
  EXPECT_GE(threads(), 12);
  EXPECT_TRUE(wait_for([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return threads() < 12;
  }));
  here = 0;  // and others come when there is work again
  Workers(12, {}).for_each(12, kWorthManyThreads, [&](std::int64_t, int) {
    ++here;
    EXPECT_TRUE(wait_for([&] { return here == 12; }));
  });
}
#endif

TEST(WorkersNoOracle, InterruptEndsAllWorkers) {
  const auto start = Clock::now();
  Workers workers(3, [&] { return seconds_since(start) > 0.1; });
  EXPECT_THROW(workers.for_each(3, kWorthManyThreads,
                                [&](std::int64_t, int worker) {
                                  while (seconds_since(start) < 20) workers.checkpoint(worker);
                                }),
               Interrupted);
  EXPECT_LT(seconds_since(start), 0.6);
}

// A thread of a for_each works as one of its own: what the whole is told reaches it.
TEST(WorkersNoOracle, OneThreadOfAWhole) {
  const auto start = Clock::now();
  Workers whole(2, [&] { return seconds_since(start) > 0.1; });
  EXPECT_THROW(whole.for_each(2, kWorthManyThreads,
                              [&](std::int64_t, int worker) {
                                Workers one(whole, worker);
                                EXPECT_EQ(one.count(), 1);
                                one.for_each(2, kWorthManyThreads, [&](std::int64_t, int own) {
                                  EXPECT_EQ(own, 0);
                                  while (seconds_since(start) < 5) one.checkpoint(own);
                                });
                              }),
               Interrupted);
  EXPECT_LT(seconds_since(start), 0.6);
}

// The caller has nothing left to do while another worker works on: it must still ask.
TEST(WorkersNoOracle, InterruptWhileTheCallerWaits) {
  const auto start = Clock::now();
  Workers workers(2, [&] { return seconds_since(start) > 0.1; });
  std::atomic<bool> taken{false};
  EXPECT_THROW(workers.for_each(2, kWorthManyThreads,
                                [&](std::int64_t, int worker) {
                                  if (worker == 0) {
                                    wait_for([&] { return taken.load(); });
                                    return;
                                  }
                                  taken = true;
                                  while (seconds_since(start) < 5) workers.checkpoint(worker);
                                }),
               Interrupted);
  EXPECT_LT(seconds_since(start), 0.6);
}

TEST(WorkersNoOracle, TheInterruptMayThrow) {
  const auto start = Clock::now();
  Workers workers(2, []() -> bool { throw std::domain_error("signal"); });
  EXPECT_THROW(workers.for_each(2, kWorthManyThreads,
                                [&](std::int64_t, int worker) {
                                  while (seconds_since(start) < 20) workers.checkpoint(worker);
                                }),
               std::domain_error);
}

// An interrupt that notes the longest time between two calls, and ends work that takes more than a second and a half.
class Watch {
 public:
  bool operator()() {
    note();
    return seconds_since(start_) > 1.5;
  }
  double longest() {
    note();
    return longest_;
  }

 private:
  void note() {
    longest_ = std::max(longest_, seconds_since(last_));
    last_ = Clock::now();
  }

  Clock::time_point start_ = Clock::now(), last_ = start_;
  double longest_ = 0;
};

TEST(WorkersNoOracle, AbsurdThreadNumbers) {
  const Matrix x(50, 3);
  for (const int n_threads : {1 << 29, 1 << 30, std::numeric_limits<int>::max()}) {
    EXPECT_LE(Workers(n_threads, {}).count(), std::max(16, os::usable_cpus()));
    {
      const Environment set("OMP_NUM_THREADS", std::to_string(n_threads).c_str());
      EXPECT_LE(Workers(0, {}).count(), std::max(16, os::usable_cpus()));
    }
    PredictParams params;
    params.execution.n_threads = n_threads;
    EXPECT_EQ(predict(x.view(), x.view(), params).labels, std::vector<std::int64_t>(50, 0));
  }
}

TEST(WorkersNoOracle, ThreadsThatNeedMuchMemoryAreFew) {
  for (const std::int64_t bytes : {kMostScratch / 2, kMostScratch, kMostScratch * 3}) {
    std::atomic<int> highest{0};
    Workers(8, {}).for_blocks(
        64, 1, 64 * kWorthManyThreads,
        [&](std::int64_t, std::int64_t, int worker) {
          for (int seen = highest; worker > seen && !highest.compare_exchange_weak(seen, worker);) {
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        bytes);
    EXPECT_LT(highest, std::max<std::int64_t>(1, kMostScratch / bytes)) << bytes;
  }
}

// From the first moment to the last: reading and preparing many centroids, and one tile that takes long.
TEST(WorkersNoOracle, APredictionAsksEveryHalfSecondHeavy) {
  const Matrix x(1000, 256), centroids(1 << 17, 256);
  for (const cpu::Isa* isa : kernel_isas()) {
    Watch watch;
    PredictParams params;
    params.execution = on(isa->name);
    params.execution.interrupt = std::ref(watch);
    try {
      predict(x.view(), centroids.view(), params);
    } catch (const Interrupted&) {
    }
    EXPECT_LT(watch.longest(), 0.5) << isa->name;
  }
}

TEST(WorkersNoOracle, AFitAsksEveryHalfSecondHeavy) {
  Random random(31);
  const Matrix x = random_rows(Kind::normal, 1 << 16, 128, random);
  Params params;
  params.k = x.rows;  // every part of the fit that is done for each centroid
  params.max_points_per_centroid = 1;
  for (const cpu::Isa* isa : kernel_isas()) {
    Watch watch;
    params.execution = on(isa->name);
    params.execution.interrupt = std::ref(watch);
    EXPECT_THROW(fit(x.view(), params), Interrupted) << isa->name;
    EXPECT_LT(watch.longest(), 0.5) << isa->name;
  }
}

#if defined(__unix__) && !defined(__SANITIZE_THREAD__)  // ThreadSanitizer permits no new threads after a fork
TEST(WorkersNoOracle, AfterForkTheChildHasItsOwnPool) {
  Workers(3, {}).for_each(3, kWorthManyThreads, [](std::int64_t, int) {});  // this process has pool threads now
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> here{0};
    bool together = true;
    Workers(3, {}).for_each(3, kWorthManyThreads, [&](std::int64_t, int) {
      ++here;
      if (!wait_for([&] { return here == 3; })) together = false;
    });
    _exit(together ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}
#endif

}  // namespace
}  // namespace fastkmeans::testing
