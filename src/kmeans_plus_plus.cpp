// SPDX-License-Identifier: Apache-2.0
#include "kmeans_plus_plus.hpp"

#include <algorithm>
#include <cmath>

#include "host/masses.hpp"
#include "numeric/random.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"
#include "urn.hpp"

namespace fastkmeans {
namespace {

class Seeding {
 public:
  Seeding(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric, std::int64_t k,
          std::uint64_t seed, std::uint32_t redo, Reducer& reducer, Workers& workers)
      : shard_(shard),
        rows_(rows),
        metric_(metric),
        d_(static_cast<std::size_t>(rows.cols())),
        // No k is so near a power of e that the rounding of the logarithm could matter.
        trials_(2 + static_cast<std::size_t>(std::log(static_cast<double>(k)))),
        seed_(seed),
        redo_(redo),
        reducer_(reducer),
        workers_(workers),
        given_(given.size() / d_),
        centroids_(std::move(given)) {
    centroids_.resize(static_cast<std::size_t>(k) * d_);
  }

  std::vector<float> run() {
    const std::size_t k = centroids_.size() / d_;
    std::size_t known = 0;  // centroids that the distances are to
    if (given_ == 0) take_by_weight(0, 1);
    for (std::size_t step = std::max<std::size_t>(given_, 1); step < k; ++step) {
      workers_.checkpoint(0);
      shard_.lower_distances(view(&centroids_[known * d_], step - known), known == 0);
      known = step;
      const double largest = largest_over_shards(shard_.largest_distance(), reducer_);
      if (largest == 0) {  // every row of weight equals a centroid
        take_by_weight(step, k);
        break;
      }
      take_greedily(step, largest);
    }
    return std::move(centroids_);
  }

 private:
  CentroidsView view(const float* values, std::size_t count) const {
    return {values, static_cast<std::int64_t>(count), static_cast<std::int64_t>(d_)};
  }

  void rows_at(const std::vector<RowPlace>& places, float* out) const {
    fastkmeans::rows_at(places, rows_, metric_, reducer_, workers_, out);
  }

  Mass draw(std::size_t step, std::size_t trial, Mass total) const {
    return draw_below(total, random_words(seed_, {static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(trial),
                                                  static_cast<std::uint32_t>(Purpose::kmeans_plus_plus), redo_}));
  }

  void take_by_weight(std::size_t begin, std::size_t end) {
    const Urn urn = urn_of_weights(rows_, reducer_);
    if (urn.total() == 0) {  // no rows: copies of the first, which is zero if it is not given
      for (std::size_t step = std::max<std::size_t>(begin, 1); step < end; ++step)
        std::copy_n(centroids_.begin(), d_, centroids_.begin() + static_cast<std::ptrdiff_t>(step * d_));
      return;
    }
    std::vector<RowPlace> places;
    for (std::size_t step = begin; step < end; ++step) places.push_back(urn.row_at(draw(step, 0, urn.total())));
    rows_at(places, &centroids_[begin * d_]);
  }

  // The one of some rows, drawn by mass, that leaves least; ties to the first.
  void take_greedily(std::size_t step, double largest) {
    const int exponent = mass_exponent(largest);
    const Urn urn(
        shard_.total_mass(exponent), [&](const std::vector<Mass>& masses) { return shard_.rows_at(exponent, masses); },
        reducer_);
    std::vector<Mass> drawn;
    for (std::size_t trial = 0; trial < trials_; ++trial) drawn.push_back(draw(step, trial, urn.total()));
    std::vector<float> candidates(trials_ * d_);
    rows_at(urn.rows_at(drawn), candidates.data());
    const std::vector<Mass> all =
        of_all_shards(shard_.masses_with(view(candidates.data(), trials_), exponent), reducer_);
    std::vector<Mass> left(trials_);
    // mutant: masses_of_all_shards
    for (std::size_t i = 0; i < all.size(); ++i) left[i % trials_] += all[i];
    const auto best = static_cast<std::size_t>(std::min_element(left.begin(), left.end()) - left.begin());
    std::copy_n(&candidates[best * d_], d_, &centroids_[step * d_]);
  }

  Shard& shard_;
  const Source& rows_;
  const Metric& metric_;
  std::size_t d_, trials_;
  std::uint64_t seed_;
  std::uint32_t redo_;
  Reducer& reducer_;
  Workers& workers_;
  std::size_t given_;             // how many centroids were there before
  std::vector<float> centroids_;  // (k, d)
};

}  // namespace

std::vector<float> kmeans_plus_plus(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                                    std::int64_t k, std::uint64_t seed, std::uint32_t redo, Reducer& reducer,
                                    Workers& workers) {
  return Seeding(std::move(given), shard, rows, metric, k, seed, redo, reducer, workers).run();
}

}  // namespace fastkmeans
