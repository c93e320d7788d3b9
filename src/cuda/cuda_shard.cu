// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuda/accumulate.hpp"
#include "cuda/cuda_shard.hpp"
#include "cuda/distances.hpp"
#include "cuda/empty_clusters.hpp"
#include "cuda/filter.hpp"
#include "cuda/lists_plan.hpp"
#include "cuda/low_dim.hpp"
#include "cuda/lower.hpp"
#include "cuda/metric.hpp"
#include "cuda/narrow.hpp"
#include "cuda/narrow_plan.hpp"
#include "cuda/results.hpp"
#include "cuda/row_store.hpp"
#include "cuda/statistics.hpp"
#include "cuda/summary.hpp"
#include "cuda/tuning.hpp"
#include "host/host_shard.hpp"
#include "plan/filter.hpp"
#include "runtime/os.hpp"
#include "sketch/centre.hpp"

namespace fastkmeans::cuda {
namespace {

class CudaShard final : public Shard {
 public:
  CudaShard(int number, const Source& rows, const Metric& metric, const Execution& execution, Workers& workers)
      : on_(number),
        rows_(rows),
        metric_(metric),
        execution_(execution),
        forced_(forced_filter(execution.filter)),
        workers_(workers),
        n_(rows.rows()),
        d_(rows.cols()),
        device_(number, execution, workers),
        store_(device_, rows, metric),
        lowering_(device_),
        narrow_(forced_),
        search_(device_) {
    if (rows.weights()) weights_ = uploaded(device_, rows.weights(), n_);
    // Whether they stay is known for sure when k is: this is what they and their sketches take.
    const std::int64_t bytes = n_ * (store_.row_bytes() + sketch_size(d_) + 32);
    store_.hold(bytes < device_.available() / 8 * 7);
    on_.leave();
  }

  ~CudaShard() override {
    on_.enter();
    device_.abandon();  // before members that wait for the stream
  }

  Statistics statistics() override {
    const auto on = on_.here();
    facts_.emplace(device_, store_.rows(), n_, d_, store_.at_a_time(), weights_.data(), true, products());
    return facts_->statistics();
  }

  Moments moments() override {
    const auto on = on_.here();
    const MatrixView x = rows_.batch(0, n_);
    return rows_.place() == Place::device ? moments_of_device(device_, x) : moments_of(x, workers_);
  }

  void hash_rows(const std::int64_t* rows, std::int64_t count, std::uint64_t* out) override {
    const auto on = on_.here();
    DeviceBuffer<float> values(device_, count * d_);
    DeviceBuffer<std::uint64_t> hashes(device_, count);
    store_.fetch(rows, count, values.data());
    cuda::hash_rows(device_, values.data(), count, d_, hashes.data());
    device_.download(out, hashes.data(), hashes.bytes());
  }

  void start_run(Start start) override {
    const auto on = on_.here();
    lowering_.forget();  // first: the run needs its memory
    const std::span<const float> values = start.borrowed.empty() ? start.values : start.borrowed;
    const std::int64_t given = std::ssize(values);
    const auto drawn = static_cast<std::int64_t>(start.rows.size());
    const std::int64_t size = given + drawn * d_;
    if (size != k_ * d_) {  // initialisations have runs with other numbers of centroids
      k_ = size / d_;
      free_filters();
    }
    centroids_.resize(device_, size);
    next_.resize(device_, size);
    labels_.resize(device_, n_);
    distances_.resize(device_, n_);
    summaries_.emplace(device_, k_);
    device_.upload(centroids_.data(), values.data(), given * static_cast<std::int64_t>(sizeof(float)));
    store_.fetch(start.rows.data(), drawn, centroids_.data() + given);
    tiny_ = are_tiny(device_, centroids_.data(), size);
    check(cudaMemcpyAsync(next_.data(), centroids_.data(), static_cast<std::size_t>(next_.bytes()),
                          cudaMemcpyDeviceToDevice, device_.stream()),
          "cudaMemcpy");
    if (sums_) sums_->clear(device_);
    assignments_ = 0;
    pending_ = false;
    if (filter_) filter_->forget();
  }

  void assign(bool more) override {
    more_ = more;
    // Done with the accumulation, if that follows at once: rows cross the bus but once.
    pending_ = true;
    fetched_ = false;
  }

  void accumulate(const FixedPoint& scale) override {
    const auto on = on_.here();
    if (!scale_) {
      total_weight_ = scale.total_weight;
      scale_.emplace(device_, scale);
      sums_.emplace(device_, k_, d_, scale.two_limbs(), weights_.size() > 0);
    }
    if (pending_) {
      pass(true);
    } else {
      store_.rows().each_stored(store_.at_a_time(),
                                [&](auto first, auto count, auto rows) { accumulate_batch(first, count, rows); });
    }
  }

  void update(const CentroidRule& rule, Reducer& reducer) override {
    const auto on = on_.here();
    const bool alone = reducer.size() == 1;
    updated_ = {};
    if (alone) {
      // In the hope that no cluster is empty; else it is done again below.
      move_centroids(sums_->view(), rule);
      fetch(&shifts_);
      updated_.empty = static_cast<std::int64_t>(summary_.empty);
    }
    if (!alone || summary_.empty > 0) {
      const std::vector<std::uint64_t> members = members_of_all(reducer);
      const bool splits = updated_.empty > 0 && rule.empty == EmptyClusters::split;
      if (updated_.empty > 0 && !splits) relocate_rows(members, rule, reducer);
      summaries_->forget_update();
      if (!alone) join_sums(reducer);
      const SumsView sums = alone ? sums_->view() : total_->view();
      move_centroids(sums, rule);
      if (splits) split_centroids(sums, rule);
      fetch(&shifts_);
    }
    updated_.shift = total_shift(shifts_);
    centroids_.swap(next_);
    const bool were_tiny = tiny_;
    tiny_ = summary_.largest_centroid < magnitude_bits(kTinyBelow);
    if (!filter_) return;
    const double refined = static_cast<double>(summary_.notes.refined) / static_cast<double>(n_);
    if (assignments_ > 1 && !were_tiny && narrow_.width() && narrow_.gives_up(problem(), limits(), refined))
      filter_.reset();
    else if (were_tiny || tiny_)
      filter_->forget();
    else
      filter_->moved(shifts_, summaries_->shifts(), summary_.notes);
  }

  const Assigned& assigned() override {
    const auto on = on_.here();
    finish();
    if (!fetched_) fetch(nullptr);
    return assigned_;
  }

  const Updated& updated() override { return updated_; }

  std::vector<float> centroids() override {
    const auto on = on_.here();
    return downloaded(device_, centroids_.data(), centroids_.size());
  }
  std::vector<float> take_centroids() override {
    if (pending_) assigned();
    const auto on = on_.here();
    taken_.resize(static_cast<std::size_t>(centroids_.size()));
    device_.download(taken_.data(), centroids_.data(), centroids_.bytes());
    return std::move(taken_);
  }

  void copy_labels(std::int64_t* out) override {
    const auto on = on_.here();
    finish();
    cuda::copy_labels(device_, labels_.data(), n_, out);
  }
  void copy_distances(double* out) override {
    const auto on = on_.here();
    finish();
    cuda::copy_distances(device_, metric_, distances_.data(), n_, out);
  }
  void copy_to_device(const DeviceResults& out) override {
    const auto on = on_.here();
    finish();
    check(cudaMemcpyAsync(out.centroids, centroids_.data(), static_cast<std::size_t>(centroids_.bytes()),
                          cudaMemcpyDeviceToDevice, device_.stream()),
          "cudaMemcpy");
    if (out.labels) widen_labels(device_, labels_.data(), n_, out.labels);
    device_.wait();
  }
  void look_up(const std::int64_t* rows, std::int64_t count, std::int32_t* labels, float* distances) override {
    const auto on = on_.here();
    finish();
    cuda::look_up(device_, rows, count, {labels_.data(), distances_.data()}, labels, distances);
  }

  void lower_distances(CentroidsView added, bool first) override {
    const auto on = on_.here();
    if (first) {
      free_for_others();  // for sketches
      seeded_at_a_time_ = store_.at_a_time();
    }
    distances_.resize(device_, n_);
    lowering_.lower(seeded_rows(), added, first);
  }
  double largest_distance() override {
    const auto on = on_.here();
    return lowering_.masses().largest(seeded_rows());
  }
  Mass total_mass(int exponent) override {
    const auto on = on_.here();
    return lowering_.masses().total(seeded_rows(), exponent);
  }
  std::vector<std::int64_t> rows_at(int exponent, const std::vector<Mass>& masses) override {
    const auto on = on_.here();
    return lowering_.masses().rows_at(seeded_rows(), exponent, masses);
  }
  std::vector<Mass> masses_with(CentroidsView candidates, int exponent) override {
    const auto on = on_.here();
    return lowering_.masses_with(seeded_rows(), candidates, exponent);
  }
  std::string_view filter_of_masses() const override { return lowering_.filter(); }

  std::unique_ptr<Shard> beside(const Source& rows) override {
    const auto on = on_.here();
    free_for_others();
    const std::int64_t available = device_.available();
    if (bytes_of_seeding(rows.rows(), rows.cols()) > available) return nullptr;
    Execution execution = execution_;
    if (execution.memory_limit > 0) execution.memory_limit = available;
    try {
      return make_shard(on_.number(), rows, euclidean(), execution, workers_);
    } catch (const OutOfMemory&) {  // somebody else took it
      return nullptr;
    }
  }

 private:
  bool products() const { return metric_.loss() == Loss::negated_product; }  // decide labels

  void free_filters() {
    filter_.reset();
    exact_.reset();
  }

  void free_for_others() {
    free_filters();
    lowering_.forget();
    check(cudaStreamSynchronize(device_.stream()), "cudaStreamSynchronize");  // only then it is free
  }

  const RowFacts& facts() {
    if (!facts_) facts_.emplace(device_, store_.rows(), n_, d_, store_.at_a_time(), weights_.data(), false, products());
    return *facts_;
  }

  Centroids view() const { return {centroids_.data(), static_cast<int>(k_), static_cast<int>(d_), tiny_}; }

  // The filter for rows that have one, made when it is first needed. With too little memory it gets less, and the rows
  // go back to the host if they must.
  Filter& filter() {
    if (filter_ && (tiny_ || !narrow_.looks_again())) return *filter_;
    narrow_.look(problem(), limits(), assignments_ > 1, [&] { return search_.survey(store_.rows(), n_, d_, view()); });
    if (filter_ && !narrow_.width()) return *filter_;
    free_filters();
    const auto tune_again = [&] {
      // Only then is what filters had free.
      check(cudaStreamSynchronize(device_.stream()), "cudaStreamSynchronize");
      tuning_ = tune(problem(), limits(), forced_, os::environment("FASTKMEANS_CUDA_KERNEL"));
    };
    tune_again();
    for (;;) {
      try {
        if (store_.resident() && !tuning_.resident && store_.row_bytes() > 0) store_.hold(false);
        filter_ = make_filter();
        return *filter_;
      } catch (const OutOfMemory&) {
        if (shrink(tuning_)) continue;
        if (!narrow_.width()) throw;
        narrow_.rest();
        tune_again();
      }
    }
  }

  Problem problem() const {
    return {n_, d_, k_, store_.row_bytes(), store_.rows().stored(), more_, products(), tiny_, narrow_.size()};
  }

  DeviceLimits limits() {
    // Of what the tuning counts, this is here already.
    const std::int64_t held = store_.bytes() + labels_.bytes() + before_.bytes() + distances_.bytes() + facts().bytes();
    // What it does not count, and is still to come: sketches of the centroids, and their sums.
    const std::int64_t narrow = narrow_.width() ? 6 * narrow_.size() + 64 : 0;
    const std::int64_t centroids = k_ * (2 * sketch_size(d_) + narrow + 64 + (sums_ ? 0 : 16 * d_));
    return {device_.processors(), device_.shared_memory(), device_.available() + held - centroids, has_wgmma()};
  }

  std::unique_ptr<Filter> make_filter() {
    if (tuning_.kind == Kind::none) return all_pairs(device_, tuning_.batch, metric_.loss());
    DeviceBuffer<float> centre = central_row(device_, store_.rows(), n_, d_);
    if (tuning_.kind == Kind::low_dim) return low_dim(device_, k_, d_, tuning_.batch, std::move(centre));
    return int8_filter(device_, n_, k_, d_, tuning_, std::move(centre), metric_.loss(), search_.basis(),
                       narrow_.width(), ListsPlan(problem(), limits(), !forced_.empty()));
  }

  // The assignment that was asked for, and with it the accumulation.
  void pass(bool accumulating) {
    pending_ = false;
    if (assignments_++ > 0) {
      before_.resize(device_, n_);
      labels_.swap(before_);
      labels_.resize(device_, n_);
    }
    const std::uint8_t* const states = facts().states();
    const float* const own_losses = facts().own_losses();
    lowering_.masses().changed();
    summaries_->clear();
    name_ = "none";
    kernel_ = "";
    if (n_ > 0) {
      Filter& planned = filter();
      const bool scaled = tiny_ && !products();
      if (scaled && !exact_) exact_ = all_pairs(device_, tuning_.batch, Loss::distance);
      Filter& used = scaled ? *exact_ : planned;
      used.prepare(view());
      name_ = used.name();
      kernel_ = scaled ? "" : scan_of(tuning_);
      const auto visit = [&](std::int64_t begin, std::int64_t count, const StoredRows& rows) {
        used.assign({rows, begin, static_cast<int>(count), states + begin, own_losses ? own_losses + begin : nullptr,
                     before_from(begin), labels_.data() + begin, distances_.data() + begin},
                    &summaries_->summary()->notes);
        summaries_->add(count, before_from(begin), labels_.data() + begin, distances_.data() + begin,
                        weights_from(begin));
        if (accumulating) accumulate_batch(begin, count, rows);
      };
      Rows& rows = store_.rows();
      used.takes_stored() ? rows.each_stored(tuning_.batch, visit) : rows.each_batch(tuning_.batch, visit);
    }
    if (more_) taken_.resize(static_cast<std::size_t>(k_ * d_));  // while the device works
  }

  // From this row on: labels of the assignment before, and weights; null if there are none.
  const std::int32_t* before_from(std::int64_t row) const { return assignments_ == 1 ? nullptr : before_.data() + row; }
  const std::int64_t* weights_from(std::int64_t row) const { return weights_.data() ? weights_.data() + row : nullptr; }

  void finish() {
    if (pending_) pass(false);
  }

  void accumulate_batch(std::int64_t first, std::int64_t count, const StoredRows& rows) {
    // As many as in the iteration before; in the first one that is not known yet, and all of them are new.
    const double part = assignments_ == 1 ? 1.0 : static_cast<double>(assigned_.changed) / static_cast<double>(n_);
    cuda::accumulate(device_, rows, count, before_from(first), labels_.data() + first, weights_from(first),
                     static_cast<std::int64_t>(part * static_cast<double>(count)), scale_->view(), sums_->view());
  }

  // next_ becomes the centroids of these sums; and how far they moved.
  void move_centroids(const SumsView& sums, const CentroidRule& rule) {
    new_centroids(device_, metric_, rule, sums, scale_->view(), centroids_.data(), next_.data(),
                  &summaries_->summary()->empty);
    measure_move();
  }

  void measure_move() {
    cuda::measure_move(device_, next_.data(), view(), summaries_->shifts(), &summaries_->summary()->largest_centroid);
  }

  // (k) rows of weight in each cluster, over all shards; updated_ is told how many have none.
  std::vector<std::uint64_t> members_of_all(Reducer& reducer) {
    std::vector<std::uint64_t> members = of_clusters(sums_->view().counts());
    reducer.sum(members.data(), k_);
    updated_.empty = std::count(members.begin(), members.end(), std::uint64_t{0});
    return members;
  }

  std::vector<std::uint64_t> of_clusters(const Integer* integers) {
    return downloaded(device_, reinterpret_cast<const std::uint64_t*>(integers), k_);
  }

  // On the host: clusters are seldom empty.
  void split_centroids(const SumsView& sums, const CentroidRule& rule) {
    std::vector<float> centroids = downloaded(device_, next_.data(), next_.size());
    updated_.relocated = split_clusters(of_clusters(sums.weights), rule, metric_, d_, centroids.data());
    device_.upload(next_.data(), centroids.data(), next_.bytes());
    summaries_->forget_update();
    measure_move();
  }

  void relocate_rows(const std::vector<std::uint64_t>& members, const CentroidRule& rule, Reducer& reducer) {
    DeviceBuffer<float> gained;
    if (products()) {
      gained.resize(device_, n_);
      gains(device_, distances_.data(), facts().own_losses(), n_, gained.data());
    }
    const float* const worth = products() ? gained.data() : distances_.data();  // of each row
    const auto relocations = fill_empty_clusters(device_, rows_, labels_.data(), worth, weights_.data(), members,
                                                 total_weight_, rule, reducer, workers_);
    updated_.relocated = static_cast<std::int64_t>(relocations.size());
    std::vector<std::int64_t> places;
    std::vector<std::int32_t> from, to;
    for (const Relocation& relocation : relocations)
      if (const std::int64_t place = rows_.index(relocation.row); place >= 0) {
        places.push_back(place);
        from.push_back(static_cast<std::int32_t>(relocation.from));
        to.push_back(static_cast<std::int32_t>(relocation.to));
      }
    const auto count = static_cast<std::int64_t>(places.size());
    if (count == 0) return;
    DeviceBuffer<float> values(device_, count * d_);
    const auto numbers = uploaded(device_, places.data(), count);
    const auto old_labels = uploaded(device_, from.data(), count), new_labels = uploaded(device_, to.data(), count);
    store_.fetch(places.data(), count, values.data());
    relocate(device_, {values.data(), d_}, count, numbers.data(), old_labels.data(), new_labels.data(), weights_.data(),
             scale_->view(), sums_->view(), labels_.data());
  }

  // total_: the sums of all shards.
  void join_sums(Reducer& reducer) {
    const SumsView own = sums_->view();
    if (!total_) total_.emplace(device_, k_, d_, own.lo != nullptr, false);
    cuda::join_sums(device_, own, total_->view(), reducer);
  }

  void fetch(std::vector<float>* shifts) {
    summary_ = summaries_->fetch(shifts);
    fetched_ = true;
    assigned_.check = facts().statistics().check;
    assigned_.inertia = ExactSum(reinterpret_cast<const std::int64_t*>(summary_.inertia));
    assigned_.changed = static_cast<std::int64_t>(summary_.changed);
    assigned_.filter = {name_, n_ * k_ - static_cast<std::int64_t>(summary_.notes.skipped),
                        static_cast<std::int64_t>(summary_.notes.refined), "cuda", kernel_};
  }

  SeededRows seeded_rows() {
    return {store_.rows(), n_, d_, seeded_at_a_time_, facts().states(), weights_.data(), distances_.data()};
  }

  DeviceNumber on_;
  const Source& rows_;
  const Metric& metric_;
  Execution execution_;
  std::string forced_;
  Workers& workers_;
  std::int64_t n_, d_, k_ = 0;
  Device device_;
  DeviceBuffer<std::int64_t> weights_;  // (n), or none
  RowStore store_;
  std::optional<RowFacts> facts_;
  Lowering lowering_;
  std::int64_t seeded_at_a_time_ = 1;  // rows: to ask how much memory is free takes as long as a step of k-means++
  Tuning tuning_ = {};
  NarrowPlan narrow_;
  NarrowSearch search_;                     // for narrow sketches
  std::unique_ptr<Filter> filter_, exact_;  // the planned one; D of all pairs, for tiny centroids
  DeviceBuffer<float> centroids_, next_;    // (k, d)
  std::vector<float> taken_;  // (k, d) for take_centroids(): the first touch of 64 MiB of the host takes 38 ms
  bool tiny_ = false;         // all centroids are
  DeviceBuffer<std::int32_t> labels_, before_;  // (n) of the last assignment, and of the one before
  DeviceBuffer<float> distances_;               // (n) D or L as stored
  int assignments_ = 0;                         // of this run
  bool pending_ = false;                        // one was asked for, and is not begun
  bool more_ = false;                           // and others will follow
  std::optional<Scale> scale_;
  std::int64_t total_weight_ = 0;
  std::optional<Sums> sums_, total_;  // of the own rows; of all shards', where there are more
  std::optional<Summaries> summaries_;
  Summary summary_ = {};
  bool fetched_ = false;            // summary_ is that of the last assignment
  std::vector<float> shifts_;       // (k)
  std::string_view name_, kernel_;  // of what the last assignment used
  Assigned assigned_;
  Updated updated_;
};

}  // namespace

std::unique_ptr<Shard> make_shard(int number, const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers) {
  return std::make_unique<CudaShard>(number, rows, metric, execution, workers);
}

}  // namespace fastkmeans::cuda
