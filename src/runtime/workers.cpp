// SPDX-License-Identifier: Apache-2.0
#include "runtime/workers.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <list>
#include <mutex>
#include <thread>

#include "fastkmeans/fastkmeans.hpp"
#include "numeric/fp_state.hpp"
#include "runtime/os.hpp"

namespace fastkmeans {
namespace {

// How often the caller's interrupt is asked; Ctrl-C must act within half a second.
constexpr auto kLookEvery = std::chrono::milliseconds(50);
// Waking a sleeping thread costs 20 to 50 microseconds, in which a core does about this many operations.
constexpr double kOperationsWorthAThread = 500'000;

// More threads than CPUs only cost memory and switches. So many may be had all the same, so that what depends on
// threads can be tried on a small machine.
constexpr int kAlwaysAllowed = 16;
// Of all calls together: more than any machine has cores.
constexpr int kMostThreads = 1024;
// Threads without work for so long end: a process that once had many callers at a time does not keep theirs.
constexpr auto kIdle = std::chrono::seconds(2);  // mutant: idle_threads_end

int allowed(long wanted) {
  return static_cast<int>(std::min<long>(wanted, std::max(os::usable_cpus(), kAlwaysAllowed)));  // mutant: most_threads
}

// A call that threads may join: they become its workers 1, 2, ... while it is open.
struct Job {
  const std::function<void(int)>* body;
  int joining;  // threads that may join
  bool shares;  // its caller named no number of threads
  int next_worker = 1;
  int active = 0;  // joined and not yet done
};

class Pool {
 public:
  // `waiting` is called now and then while the caller has nothing left to do but wait for the others.
  void run(int threads, bool shares, const std::function<void(int)>& body, const std::function<void()>& waiting) {
    Job job{&body, threads - 1, shares};
    std::list<Job*>::iterator place;
    {
      const std::lock_guard lock(mutex_);
      place = jobs_.insert(jobs_.end(), &job);
      grow();
    }
    wake_.notify_all();  // one system call: to wake 15 threads one by one took half a millisecond
    body(0);
    std::unique_lock lock(mutex_);
    jobs_.erase(place);
    while (!done_.wait_for(lock, kLookEvery, [&] { return job.active == 0; })) {
      lock.unlock();
      waiting();
      lock.lock();
    }
  }

 private:
  // With mutex_ held: as many threads as the calls want. One that cannot be had is done without.
  void grow() {
    const int wanted = std::min(threads_wanted(), kMostThreads);
    try {
      for (; size_ < wanted; ++size_) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      if (!wake_.wait_for(lock, kIdle, [&] { return (job = open_job()) != nullptr; })) {
        --size_;
        return;
      }
      const int worker = job->next_worker++;
      ++job->active;  // its caller waits until none is
      sharing_ += job->shares;
      lock.unlock();
      (*job->body)(worker);
      lock.lock();
      sharing_ -= job->shares;
      if (--job->active == 0) done_.notify_all();
    }
  }

  // Calls that name a number have so many, each its own. Those that name none share as many as one of them would have:
  // 16 of them on a machine of 64 CPUs would otherwise start a thousand threads.
  int threads_wanted() const {
    int own = 0;
    for (const Job* job : jobs_)
      if (!job->shares) own += job->joining;  // mutant: workers_add_up
    return own + threads_to_share();
  }
  int threads_to_share() const {
    int most = 0;
    for (const Job* job : jobs_)
      if (job->shares) most = std::max(most, job->joining);
    return most;
  }

  // Those with threads of their own first: shared ones may be long in coming back.
  Job* open_job() {
    Job* shared = nullptr;
    for (Job* job : jobs_) {
      if (job->next_worker > job->joining) continue;
      if (!job->shares) return job;
      if (!shared) shared = job;
    }
    return sharing_ < threads_to_share() ? shared : nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::list<Job*> jobs_;
  int size_ = 0;     // threads there are
  int sharing_ = 0;  // those at work for calls that share
};

// Never destroyed: its threads may be there until the process ends. A forked child has none of them and starts a new
// pool.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
  static const bool registered = [] {
    os::at_fork_in_child([] { current_pool.store(nullptr); });  // mutant: pool_of_a_child
    return true;
  }();
  static_cast<void>(registered);
  Pool* existing = current_pool.load();
  if (!existing) {
    auto* fresh = new Pool;
    if (current_pool.compare_exchange_strong(existing, fresh)) return *fresh;
    delete fresh;
  }
  return *existing;
}

}  // namespace

int default_thread_count() {
  // A list ("4,2") gives the number for each level of nesting: the first counts.
  const long wanted = std::strtol(os::environment("OMP_NUM_THREADS").c_str(), nullptr, 10);
  return wanted > 0 ? allowed(wanted) : os::usable_cpus();
}

Workers::Workers(int n_threads, std::function<bool()> interrupt)
    : count_(n_threads > 0 ? allowed(n_threads) : default_thread_count()),
      shares_(n_threads == 0),
      interrupt_(std::move(interrupt)),
      next_look_(std::chrono::steady_clock::now() + kLookEvery) {}

Workers::Workers(Workers& whole, int worker) : count_(1), shares_(false), whole_(&whole), number_(worker) {}

void Workers::for_each(std::int64_t n, double operations, const std::function<void(std::int64_t, int)>& task,
                       std::int64_t scratch_bytes) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  auto keep_first_error = [&](auto&& work) {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      stop_ = true;  // mutant: failure_stops_all
    }
  };
  const std::function<void(int)> body = [&](int worker) {
    const FpState fp_state;  // mutant: pool_fp_mode
    keep_first_error([&] {
      for (std::int64_t i; (i = next.fetch_add(1)) < n;) {
        checkpoint(worker);
        task(i, worker);
      }
    });
  };
  const double worth = std::max(1.0, operations / kOperationsWorthAThread);
  const auto room = static_cast<double>(std::max<std::int64_t>(1, kMostScratch / scratch_bytes));
  const int threads = static_cast<int>(std::min({static_cast<double>(count_), static_cast<double>(n), worth, room}));
  if (threads > 1) {
    pool().run(threads, shares_, body, [&] { keep_first_error([&] { checkpoint(0); }); });
  } else {
    body(0);
  }
  if (error) std::rethrow_exception(error);
}

void Workers::for_blocks(std::int64_t n, std::int64_t block, double operations,
                         const std::function<void(std::int64_t, std::int64_t, int)>& task, std::int64_t scratch_bytes) {
  for_each((n + block - 1) / block, operations,
           [&](std::int64_t i, int worker) { task(i * block, std::min(block, n - i * block), worker); }, scratch_bytes);
}

void Workers::checkpoint(int worker) {
  if (whole_) return whole_->checkpoint(number_);  // mutant: whole_is_asked
  if (stop_.load(std::memory_order_relaxed)) throw Interrupted();
  if (worker != 0 || !interrupt_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_look_) return;
  next_look_ = now + kLookEvery;
  if (interrupt_()) throw Interrupted();
}

}  // namespace fastkmeans
