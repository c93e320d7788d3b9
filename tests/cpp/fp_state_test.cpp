// SPDX-License-Identifier: Apache-2.0
// Callers with another floating-point mode get the same bits, and their mode back.
#include "numeric/fp_state.hpp"

#include <mutex>
#include <set>

#include "testing.hpp"

#if defined(__x86_64__) || defined(__aarch64__)
namespace fastkmeans::testing {
namespace {

#if defined(__x86_64__)
// MXCSR; its low six bits are flags.
constexpr unsigned kDefault = 0x1f80, kFlush = 0x8040, kRoundDown = 0x2000, kRoundUp = 0x4000, kTowardsZero = 0x6000;
unsigned mode_now() { return _mm_getcsr() & 0xffc0; }
void set_mode(unsigned mode) { _mm_setcsr(mode); }
#else
// FPCR.
constexpr unsigned kDefault = 0, kFlush = 1 << 24, kRoundDown = 2 << 22, kRoundUp = 1 << 22, kTowardsZero = 3 << 22;
unsigned mode_now() {
  std::uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return static_cast<unsigned>(mode);
}
void set_mode(unsigned mode) { asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{mode})); }
#endif
constexpr unsigned kModes[] = {kDefault | kFlush, kDefault | kRoundDown, kDefault | kRoundUp,
                               kDefault | kTowardsZero | kFlush};

// Puts the thread into a mode; the test's own arithmetic is done outside of it.
class Mode {
 public:
  explicit Mode(unsigned mode) : saved_(mode_now()) { set_mode(mode); }
  ~Mode() { set_mode(saved_); }

 private:
  unsigned saved_;
};

Params params_of(const cpu::Isa& isa) {
  Params params;
  params.k = 6;
  params.niter = 5;
  params.execution = on(isa.name, 2);
  return params;
}

TEST(FpStateNoOracle, FitAndPredictGiveTheSameBitsAndRestoreTheMode) {
  Random random(30);
  for (const Kind kind : {Kind::normal, Kind::denormal, Kind::tiny, Kind::mixed_rows}) {
    const Matrix x = random_rows(kind, 300, 11, random);
    for (const cpu::Isa& isa : cpu::isas()) {
      if (!cpu::available(isa)) continue;
      const Params params = params_of(isa);
      PredictParams predict_params;
      predict_params.distances = true;
      predict_params.execution = params.execution;
      const Result expected = fit(x.view(), params);
      const MatrixView centroids(expected.centroids.data(), expected.k, expected.d);
      const Prediction expected_prediction = predict(x.view(), centroids, predict_params);
      for (const unsigned mode : kModes) {
        Result got;
        Prediction prediction;
        unsigned after = 0;
        {
          const Mode set(mode);
          got = fit(x.view(), params);
          prediction = predict(x.view(), centroids, predict_params);
          after = mode_now();
        }
        EXPECT_EQ(after, mode);
        EXPECT_TRUE(same_bits(got.centroids, expected.centroids)) << isa.name << " mode " << mode;
        EXPECT_EQ(got.labels, expected.labels);
        EXPECT_TRUE(same_bits(std::vector<double>{got.inertia}, {expected.inertia}));
        EXPECT_TRUE(same_bits(prediction.distances, expected_prediction.distances));
      }
    }
  }
}

TEST(FpStateNoOracle, CallbacksRunInTheCallersModeAndMayChangeIt) {
  Random random(33);
  const Matrix x = random_rows(Kind::normal, 300, 11, random);
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!cpu::available(isa)) continue;
    Params params = params_of(isa);
    params.tol = 0;
    const Result expected = fit(x.view(), params);
    std::vector<unsigned> seen;
    params.callback = [&](const IterationStats&) {
      seen.push_back(mode_now());
      set_mode(kModes[2]);
      return false;
    };
    Result got;
    unsigned after = 0;
    {
      const Mode set(kModes[1]);
      got = fit(x.view(), params);
      after = mode_now();
    }
    EXPECT_EQ(got.centroids, expected.centroids) << isa.name;
    EXPECT_EQ(got.labels, expected.labels) << isa.name;
    EXPECT_EQ(got.inertia, expected.inertia) << isa.name;
    for (std::size_t i = 0; i < got.iterations.size(); ++i)  // the shift is summed between two callbacks
      EXPECT_EQ(got.iterations[i].shift, expected.iterations[i].shift) << isa.name;
    EXPECT_EQ(seen, (std::vector<unsigned>{kModes[1], kModes[2], kModes[2], kModes[2], kModes[2]})) << isa.name;
    EXPECT_EQ(after, kModes[2]) << isa.name;
  }
}

TEST(FpStateNoOracle, AnErrorRestoresTheModeToo) {
  const Matrix x(3, 1, {1, NAN, 2});
  Params params;
  params.k = 1;
  const Mode set(kModes[0]);
  EXPECT_THROW(fit(x.view(), params), std::invalid_argument);
  EXPECT_EQ(mode_now(), kModes[0]);
  EXPECT_THROW(predict(x.view(), x.view()), std::invalid_argument);
  EXPECT_EQ(mode_now(), kModes[0]);
}

// Threads inherit the mode of the one that starts them: the pool must not.
TEST(FpStateNoOracle, PoolThreadsHaveTheRightMode) {
  std::mutex mutex;
  std::set<unsigned> seen;
  int here = 0;
  const int threads = 9;  // more than other tests use, so that some start here
  {
    const Mode set(kModes[3]);
    Workers workers(threads, {});
    workers.for_each(threads, 1e12, [&](std::int64_t, int) {
      {
        const std::lock_guard lock(mutex);
        seen.insert(mode_now());
        ++here;
      }
      for (bool all = false; !all;) {
        const std::lock_guard lock(mutex);
        all = here == threads;
      }
    });
    EXPECT_EQ(mode_now(), kModes[3]);
  }
  EXPECT_EQ(seen, std::set<unsigned>{kDefault});
}

}  // namespace
}  // namespace fastkmeans::testing
#endif
