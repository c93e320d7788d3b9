// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <vector>

#include "cuda/centroid.cuh"
#include "cuda/cuda_small_shards.hpp"
#include "cuda/device.hpp"
#include "cuda/metric.hpp"
#include "cuda/move_rows.cuh"
#include "cuda/results.hpp"
#include "cuda/rows.hpp"
#include "cuda/small_nearest.cuh"
#include "cuda/small_tuning.hpp"
#include "cuda/sums.hpp"
#include "cuda/warp.cuh"
#include "numeric/row_hash.hpp"
#include "source/joined.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kFactsThreads = 256, kCopyThreads = 256;
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

using State = SmallShards::State;
using Until = SmallShards::Until;

struct Problem {
  RowsView rows;
  int n, k;
  int bits;                    // fractional bits of its sums (numeric/fixed_point.hpp)
  std::int64_t row, centroid;  // its first, among those of all problems
};

// All problems, in device memory.
struct Group {
  const Problem* problems;
  State* states;
  int d;
  bool directions;          // centroids have length 1
  float* centroids;         // (sum of k, d)
  Integer *sums, *weights;  // (sum of k, d), (sum of k)
  double *grain, *inverse;  // (problems, d)
  std::int32_t* labels;     // (sum of n), -1 before the first assignment

  __device__ SumsView sums_of(const Problem& problem) const {
    return {sums + problem.centroid * d, nullptr, weights + problem.centroid, nullptr, problem.k, d};
  }
  __device__ ScaleView scale_of(int number) const {
    const std::int64_t at = std::int64_t{number} * d;
    return {grain + at, inverse + at, nullptr, 0};
  }
};

__device__ int warp_of_block() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ int warps_of_block() { return static_cast<int>(blockDim.x) / kWarp; }

// A block a problem: facts about its rows, the scale of its sums, its initial centroids. drawn: (sum of k) which rows
// these are, or null: they are there, as the metric takes them. limit: bits of a bad row's elements.
__global__ void begin_runs(const Group all, const std::int32_t* drawn, std::uint32_t limit) {
  extern __shared__ Integer hashes[];  // (k), and then (d) of column_max
  __shared__ std::uint32_t least_row_max;
  __shared__ int zero_rows, failed;
  const int number = static_cast<int>(blockIdx.x), d = all.d;
  const Problem problem = all.problems[number];
  auto* const column_max = reinterpret_cast<std::uint32_t*>(hashes + problem.k);
  for (int j = static_cast<int>(threadIdx.x); j < d; j += kFactsThreads) column_max[j] = 0;
  if (threadIdx.x == 0) {
    least_row_max = kNone;
    zero_rows = failed = 0;
  }
  __syncthreads();
  for (int i = warp_of_block(); i < problem.n; i += warps_of_block()) {
    const float* const row = problem.rows.row(i);
    std::uint32_t most = 0;
    for (int j = lane_id(); j < d; j += kWarp) {
      const std::uint32_t bits = magnitude_bits(row[j]);
      most = max(most, bits);
      atomicMax(column_max + j, bits);
    }
    most = largest_of_lanes(most);
    if (lane_id() != 0) continue;
    if (most >= limit) failed = 1;
    if (most == 0)
      atomicAdd(&zero_rows, 1);
    else
      atomicMin(&least_row_max, most);
  }
  float* const centroids = all.centroids + problem.centroid * d;
  for (int c = warp_of_block(); drawn && c < problem.k; c += warps_of_block()) {
    const float* const row = problem.rows.row(drawn[problem.centroid + c]);
    for (int j = lane_id(); j < d; j += kWarp) centroids[std::int64_t{c} * d + j] = row[j];
    if (lane_id() == 0) hashes[c] = row_hash(row, d);
  }
  __syncthreads();
  const float least = least_row_max == kNone ? 0.0f : __uint_as_float(least_row_max);
  for (int j = static_cast<int>(threadIdx.x); j < d; j += kFactsThreads) {
    const Grain grain = grain_of(__uint_as_float(column_max[j]), least, problem.bits);
    all.grain[std::int64_t{number} * d + j] = grain.size;
    all.inverse[std::int64_t{number} * d + j] = grain.inverse;
    if (grain.lo_inverse != 0) failed = 1;
  }
  if (drawn) {
    // Rows that are equal have equal hashes.
    for (int c = static_cast<int>(threadIdx.x); c < problem.k; c += kFactsThreads)
      for (int other = 0; other < c; ++other)
        if (hashes[other] == hashes[c]) failed = 1;
  } else {
    for (int e = static_cast<int>(threadIdx.x); e < problem.k * d; e += kFactsThreads)
      if (magnitude_bits(centroids[e]) >= limit) failed = 1;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    all.states[number].zero_rows = zero_rows;
    all.states[number].failed = failed;
  }
}

// 32 rows from `first` on, the last again and again where there are fewer.
__device__ void load_rows(const Problem& problem, int first, int d, int stride, const Lanes& lanes, float* tile) {
  for (int some = 0; some < kWarp; some += lanes.rows()) {
    const int r = some + lanes.row();
    const float* const row = problem.rows.row(min(first + r, problem.n - 1));
    for (int j = lanes.lane(); j < d; j += lanes.count)
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(
                       static_cast<std::uint32_t>(__cvta_generic_to_shared(tile + r * stride + j))),
                   "l"(row + j));
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
}

// As ExactSum::add: the D of each lane's row, if it has one. Digits are added by halves, which do not overflow.
__device__ void add_distances(float distance, bool has_row, Integer* bins) {
  const ExactSum::Place place = ExactSum::place_of(distance);
  const auto low = static_cast<std::uint32_t>(place.v), high = static_cast<std::uint32_t>(place.v >> 32);
  for (unsigned left = __ballot_sync(kAll, has_row); left != 0;) {
    const unsigned bin = __shfl_sync(kAll, place.bin, __ffs(static_cast<int>(left)) - 1);
    const bool mine = has_row && place.bin == bin;
    const Integer least = __reduce_add_sync(kAll, mine ? low & 0xffffu : 0u),
                  middle = __reduce_add_sync(kAll, mine ? low >> 16 : 0u),
                  most = __reduce_add_sync(kAll, mine ? high : 0u);
    if (lane_id() == 0) {
      atomicAdd(bins + bin, least + (middle << 16));
      atomicAdd(bins + bin + 1, most);
    }
    left &= ~__ballot_sync(kAll, mine);
  }
}

// As fastkmeans::total_shift(), by a warp, in place: where k is no power of two, what is left out are zeros.
__device__ double total_shift(double* moved, int k) {
  for (int step = 1; step < k; step *= 2) {
    __syncwarp();
    for (int i = lane_id() * 2 * step; i + step < k; i += kWarp * 2 * step) moved[i] = moved[i] + moved[i + step];
  }
  __syncwarp();
  return moved[0];
}

// A block a problem, all of whose iterations are its own. stop: of Device. Two of the largest blocks a multiprocessor,
// and eight of two warps: with 128 registers three are spilled at most (d = 64), outside the loop over centroids.
template <int kWidth, int kTurns>
__global__ void __launch_bounds__(kMostSmallWarps* kWarp, 2)
    iterate(const Group all, const std::int32_t* numbers, const Until until, const volatile int* stop) {
  // How far each centroid moved, (padded); the centroids, (padded, d) as place_of() has them; 32 rows of each warp.
  extern __shared__ __align__(16) double moved[];
  __shared__ Integer bins[2 * ExactSum::kBins];
  __shared__ Problem problem;  // not in registers, of which there are few
  __shared__ State state;      // it and done are of thread 0 alone
  __shared__ Until::Step next;
  __shared__ int done, changed, failed;
  const int number = numbers[blockIdx.x], d = kTurns > 0 ? kTurns * kWidth : all.d, stride = row_floats(d);
  if (threadIdx.x == 0) {
    problem = all.problems[number];
    state = all.states[number];
    failed = state.failed;
    done = 0;
    next = failed ? Until::Step::none : until.next(state.run, 0);
  }
  __syncthreads();
  const int padded = padded_clusters(problem.k);
  float* const own = reinterpret_cast<float*>(moved + padded);
  float* const tile = own + padded * d + warp_of_block() * kWarp * stride;
  float* const centroids = all.centroids + problem.centroid * d;
  const Lanes lanes(d);
  const SumsView sums = all.sums_of(problem);
  const ScaleView scale = all.scale_of(number);

  for (int e = static_cast<int>(threadIdx.x); e < padded * d; e += static_cast<int>(blockDim.x)) {
    const int j = e / kSmallTogether % d,
              c = min(e / kSmallTogether / d * kSmallTogether + e % kSmallTogether, problem.k - 1);
    own[e] = centroids[std::int64_t{c} * d + j];
  }
  __syncthreads();

  while (next != Until::Step::none) {
    const bool updates = next == Until::Step::iteration;
    bool tiny = true;
    for (int e = static_cast<int>(threadIdx.x); e < padded * d; e += static_cast<int>(blockDim.x))
      tiny = tiny && magnitude_bits(own[e]) < magnitude_bits(kTinyBelow);
    if (threadIdx.x < 2 * ExactSum::kBins) bins[threadIdx.x] = 0;
    if (threadIdx.x == 0) changed = 0;
    if (__syncthreads_and(tiny)) failed = 1;

    for (int first = warp_of_block() * kWarp; first < problem.n; first += static_cast<int>(blockDim.x)) {
      load_rows(problem, first, d, stride, lanes, tile);
      const Best best = nearest<kWidth, kTurns>(tile + lane_id() * stride, own, d, padded);
      const int i = first + lane_id();
      const bool has_row = i < problem.n;
      std::int32_t before = best.label;
      if (has_row) {
        std::int32_t* const label = all.labels + problem.row + i;
        before = *label;
        *label = best.label;
      }
      add_distances(best.distance, has_row, bins);
      const Move move = {before != best.label, before, best.label};
      const int moves = __popc(__ballot_sync(kAll, move.times != 0));
      if (lane_id() == 0 && moves != 0) atomicAdd(&changed, moves);
      if (updates) move_rows<1>(RowsView{tile, stride}, kWarp, move, scale, sums, lanes);
      __syncwarp();  // the next rows come to the same place
    }
    __syncthreads();

    for (int c = warp_of_block(); updates && c < problem.k; c += warps_of_block()) {
      if (sums.weights[c] == 0) {
        failed = 1;
        continue;
      }
      float* const its = centroids + std::int64_t{c} * d;
      if (all.directions)
        Direction::update(sums, scale, c, its, its);
      else
        Mean::update(sums, scale, c, its, its);
      float distance = 0;
      for (int j = lane_id(); j < d; j += kWarp) {
        const float now = its[j];
        distance = Distance{}.add(now, own[place_of(c, j, d)], distance);
        // The last one fills its group.
        for (int same = c; same < (c == problem.k - 1 ? padded : c + 1); ++same) own[place_of(same, j, d)] = now;
      }
      distance = add_lanes(distance);
      if (lane_id() == 0) moved[c] = sqrt(true_distance(distance));
    }
    __syncthreads();

    if (warp_of_block() == 0) {
      const double shift = updates ? total_shift(moved, problem.k) : 0.0;
      if (lane_id() == 0) {
        const double inertia = ExactSum(reinterpret_cast<const std::int64_t*>(bins)).value();
        if (updates)
          until.note({inertia, state.run.inertia - inertia, shift, changed, false}, state.run);
        else
          state.run.inertia = inertia;
        ++done;
        next = failed || !updates || *stop ? Until::Step::none : until.next(state.run, done);
      }
    }
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  state.failed = failed;
  all.states[number] = state;
}

template <class From, class To>
__global__ void copy_values(const From* from, std::int64_t count, To* to) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i < count) to[i] = from[i];
}

class CudaSmallShards final : public SmallShards {
 public:
  CudaSmallShards(std::span<const SmallProblem> problems, const Metric& metric, const Execution& execution,
                  Workers& workers)
      : on_(problems[0].rows.cuda_device),
        metric_(metric),
        d_(problems[0].rows.cols),
        device_(on_.number(), execution, workers) {
    const bool in_place = std::all_of(problems.begin(), problems.end(), [&](const auto& p) { return is_read(p.rows); });
    take(problems, in_place ? 0 : d_ * kItem);
    std::vector<MatrixView> matrices;
    for (const SmallProblem& problem : problems.first(problems_.size())) matrices.push_back(problem.rows);
    const auto count = static_cast<std::int64_t>(problems_.size());
    if (!in_place) {
      converted_.resize(device_, all_n_ * d_);
      convert(joined(matrices), converted_.data());
    }
    for (std::size_t b = 0; b < problems_.size(); ++b) {
      const MatrixView& x = matrices[b];
      problems_[b].rows = in_place ? RowsView{static_cast<const float*>(x.data), x.row_stride / kItem}
                                   : RowsView{converted_.data() + problems_[b].row * d_, d_};
    }
    descriptions_ = uploaded(device_, problems_.data(), count);
    states_.resize(device_, count);
    centroids_.resize(device_, all_k_ * d_);
    sums_.resize(device_, all_k_ * d_);
    weights_.resize(device_, all_k_);
    scales_.resize(device_, 2 * count * d_);
    labels_.resize(device_, all_n_);
    numbers_.resize(device_, std::max(count, all_k_));
    answers_.resize(problems_.size());
    allow_shared_memory(device_, begin_runs);
    allow_shared_memory(device_, kernel());
    on_.leave();
  }

  ~CudaSmallShards() override { on_.enter(); }

  std::int64_t count() const override { return static_cast<std::int64_t>(problems_.size()); }

  void start_runs(const SmallStart& start) override {
    const auto on = on_.here();
    const auto& [values, matrices, rows] = start;
    if (rows.empty()) {
      if (values.empty()) {
        convert(matrices, centroids_.data());
      } else {
        device_.upload(centroids_.data(), values.data(), centroids_.bytes());
        take_rows(device_, metric_, centroids_.data(), all_k_, d_);
      }
    } else {
      device_.upload(numbers_.data(), rows.data(), static_cast<std::int64_t>(rows.size_bytes()));
    }
    device_.clear(states_.data(), states_.bytes());
    device_.clear(sums_.data(), sums_.bytes());
    device_.clear(weights_.data(), weights_.bytes());
    check(cudaMemsetAsync(labels_.data(), 0xff, static_cast<std::size_t>(labels_.bytes()), device_.stream()),
          "cudaMemset");
    const std::int64_t shared = most_k_ * static_cast<std::int64_t>(sizeof(Integer)) + d_ * kItem;
    begin_runs<<<static_cast<unsigned>(count()), kFactsThreads, static_cast<std::size_t>(shared), device_.stream()>>>(
        group(), rows.empty() ? nullptr : numbers_.data(), magnitude_limit_bits(d_));
    launched("begin_runs");
  }

  std::span<const State> iterate(std::span<const std::int32_t> problems, const Until& until) override {
    const auto on = on_.here();
    const auto running = static_cast<std::int64_t>(problems.size());
    device_.upload(numbers_.data(), problems.data(), static_cast<std::int64_t>(problems.size_bytes()));
    const int warps = small_warps(running, d_, most_k_, device_.processors(), device_.shared_memory());
    kernel()<<<static_cast<unsigned>(running), static_cast<unsigned>(warps * kWarp),
               static_cast<std::size_t>(small_shared_bytes(d_, most_k_, warps)), device_.stream()>>>(
        group(), numbers_.data(), until, device_.stop());
    launched("iterate");
    device_.download(answers_.data(), states_.data(), states_.bytes());
    return answers_;
  }

  void copy_centroids(std::int64_t first, std::int64_t count, float* out, bool there) override {
    const auto on = on_.here();
    const std::int64_t begin = first_centroid(first), size = (first_centroid(first + count) - begin) * d_;
    const float* const from = centroids_.data() + begin * d_;
    if (!there) return device_.download(out, from, size * kItem);
    copy_values<<<blocks_for(size, kCopyThreads), kCopyThreads, 0, device_.stream()>>>(from, size, out);
    launched("copy_values");
    device_.wait();
  }
  void copy_labels(std::int64_t first, std::int64_t count, std::int64_t* out, bool there) override {
    const auto on = on_.here();
    const std::int64_t begin = first_row(first), size = first_row(first + count) - begin;
    const std::int32_t* const from = labels_.data() + begin;
    if (!there) return cuda::copy_labels(device_, from, size, out);
    copy_values<<<blocks_for(size, kCopyThreads), kCopyThreads, 0, device_.stream()>>>(from, size, out);
    launched("copy_values");
    device_.wait();
  }

 private:
  static constexpr std::int64_t kItem = sizeof(float);
  static constexpr std::int64_t kBytesOfProblem = sizeof(Problem) + sizeof(State) + sizeof(std::int32_t);

  // Of a problem, or of one behind the last.
  std::int64_t first_centroid(std::int64_t b) const {
    return b == count() ? all_k_ : problems_[static_cast<std::size_t>(b)].centroid;
  }
  std::int64_t first_row(std::int64_t b) const {
    return b == count() ? all_n_ : problems_[static_cast<std::size_t>(b)].row;
  }

  // As many of the problems as there is memory for; one at least, or what it needs cannot be allocated. row_bytes: of a
  // converted row.
  void take(std::span<const SmallProblem> problems, std::int64_t row_bytes) {
    std::int64_t left = device_.available() / 8 * 7;
    for (const auto& [x, k] : problems) {
      left -= kBytesOfProblem + d_ * 16 + k * (d_ * 12 + 12) + x.rows * (row_bytes + 4);
      if (left < 0 && !problems_.empty()) return;
      problems_.push_back({{}, static_cast<int>(x.rows), static_cast<int>(k), fractional_bits(x.rows), all_n_, all_k_});
      all_n_ += x.rows;
      all_k_ += k;
      most_k_ = std::max(most_k_, k);
    }
  }

  // Where they lie.
  bool is_read(const MatrixView& x) const {
    const auto address = reinterpret_cast<std::intptr_t>(x.data);
    return metric_.keeps_rows() && x.dtype == DType::f32 && address % kItem == 0 && x.row_stride % kItem == 0 &&
           (x.col_stride == kItem || x.cols == 1);
  }

  // Matrices as fp32 that the metric has taken, one after the other.
  void convert(std::span<const MatrixView> matrices, float* out) {
    float* to = out;
    for (const MatrixView& x : matrices) {
      to_float(device_, x, to);
      to += x.rows * d_;
    }
    take_rows(device_, metric_, out, (to - out) / d_, d_);
  }

  Group group() const {
    return {descriptions_.data(),  states_.data(),    static_cast<int>(d_),
            !metric_.keeps_rows(), centroids_.data(), sums_.data(),
            weights_.data(),       scales_.data(),    scales_.data() + scales_.size() / 2,
            labels_.data()};
  }

  // By the lanes of D that hold anything, and how many elements they hold.
  void (*kernel() const)(Group, const std::int32_t*, Until, const volatile int*) {
    switch (d_) {
      case 8: return cuda::iterate<8, 1>;
      case 16: return cuda::iterate<16, 1>;
      case 32: return cuda::iterate<kLanes, 1>;
      case 64: return cuda::iterate<kLanes, 2>;
      default: return d_ < 8 ? cuda::iterate<8, 0> : d_ < 16 ? cuda::iterate<16, 0> : cuda::iterate<kLanes, 0>;
    }
  }

  DeviceNumber on_;
  const Metric& metric_;
  std::int64_t d_, all_n_ = 0, all_k_ = 0, most_k_ = 0;
  Device device_;
  std::vector<Problem> problems_;
  DeviceBuffer<float> converted_;  // (sum of n, d) rows that are not read where they lie
  DeviceBuffer<Problem> descriptions_;
  DeviceBuffer<State> states_;
  DeviceBuffer<float> centroids_;
  DeviceBuffer<Integer> sums_, weights_;
  DeviceBuffer<double> scales_;  // grains, then their inverses
  DeviceBuffer<std::int32_t> labels_;
  DeviceBuffer<std::int32_t> numbers_;  // of the problems that iterate, or of the rows that runs begin with
  std::vector<State> answers_;          // states_; pinned memory for them takes 1.5 ms a call (H200)
};

}  // namespace

std::unique_ptr<SmallShards> make_small_shards(std::span<const SmallProblem> problems, const Metric& metric,
                                               const Execution& execution, Workers& workers) {
  return std::make_unique<CudaSmallShards>(problems, metric, execution, workers);
}

}  // namespace fastkmeans::cuda
