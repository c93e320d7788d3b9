// SPDX-License-Identifier: Apache-2.0
// The threads of one fit or prediction, borrowed from a pool that lives as long as the process (no OpenMP: two OpenMP
// run times in one process crash). Safe after fork, for concurrent fits, and without exceptions crossing a thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace fastkmeans {

// Input of any type, layout and size is converted piece by piece, in at most 64 MiB: 48 for the pieces of all threads,
// the rest for what is kept beside them.
inline constexpr std::int64_t kMostScratch = 48 << 20;

class Workers {
 public:
  // n_threads as in Execution: at most os::usable_cpus() or 16, whichever is more; 0: default_thread_count(), shared
  // with all calls that say so. `interrupt` may be empty.
  Workers(int n_threads, std::function<bool()> interrupt);
  // One thread: number `worker` of those that `whole` is handing a for_each to. It looks at what `whole` looks at.
  Workers(Workers& whole, int worker);

  int count() const { return count_; }

  // Calls task(i, worker) once for each i in [0, n), on at most count() threads; worker in [0, count()) is the thread's
  // number among them, 0 the caller's. The first exception of a task ends the rest and is rethrown here. `operations`
  // is a rough number of arithmetic operations in all: what takes less time than waking a thread runs on the caller
  // alone.
  void for_each(std::int64_t n, double operations, const std::function<void(std::int64_t, int)>& task,
                std::int64_t scratch_bytes = 1);

  // The same by blocks: task(first, count, worker) for [first, first + count), covering [0, n) in pieces of `block`
  // rows. scratch_bytes: memory a thread needs; fewer threads are used where all of them would need more than
  // kMostScratch.
  void for_blocks(std::int64_t n, std::int64_t block, double operations,
                  const std::function<void(std::int64_t, std::int64_t, int)>& task, std::int64_t scratch_bytes = 1);

  // To be called at least every few milliseconds of work: throws Interrupted if the caller asked for it, or if another
  // thread of this for_each has failed.
  void checkpoint(int worker);

 private:
  int count_;
  bool shares_;  // the threads, with other calls that name no number
  std::function<bool()> interrupt_;
  std::chrono::steady_clock::time_point next_look_;
  std::atomic<bool> stop_{false};
  Workers* whole_ = nullptr;  // whose thread this is, and its number there
  int number_ = 0;
};

// OMP_NUM_THREADS if it is set to a positive number, with the same limit, else os::usable_cpus().
int default_thread_count();

}  // namespace fastkmeans
