// SPDX-License-Identifier: Apache-2.0
#include "afk_mc2.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "host/masses.hpp"
#include "kmeans_plus_plus.hpp"
#include "make_shard.hpp"
#include "numeric/distance.hpp"
#include "numeric/random.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"
#include "urn.hpp"

namespace fastkmeans {
namespace {

// The authors' own default.
constexpr std::uint32_t kChain = 200;

// Chains whose rows are looked at together, as what they propose depends on none of them: preparing the centroids so
// far takes as long as a chain's 200 distances to them.
std::size_t chains_together(std::int64_t d) {
  return static_cast<std::size_t>(std::clamp<std::int64_t>(kMostScratch / 4 / (4 * kChain * d), 1, 16));
}

// The rows that chains propose, and their distances. They are few: every shard has all, and finds the same.
class Block {
 public:
  // of_rows: the fit's shard; beginning: centroids, which outlive this; added: (m, d) the others so far.
  Block(Shard& of_rows, std::vector<float> rows, CentroidsView beginning, std::vector<float> added,
        const Execution& execution, Workers& workers)
      : d_(beginning.d),
        rows_(std::move(rows)),
        source_(MatrixView(rows_.data(), std::ssize(rows_) / d_, d_)),
        shard_(make_shard_beside(of_rows, source_, execution, workers)),
        before_(static_cast<std::size_t>(source_.rows())),
        now_(before_.size()) {
    shard_->lower_distances(beginning, true);
    shard_->copy_distances(before_.data());
    now_ = before_;
    if (added.empty()) return;
    shard_->start_run({std::move(added)});  // as an assignment, which the filter serves
    shard_->assign(false);
    look();
  }

  const float* row(std::size_t i) const { return &rows_[i * static_cast<std::size_t>(d_)]; }
  // D to the centroids of the beginning, and to all so far.
  double distance_before(std::size_t i) const { return before_[i]; }
  double distance(std::size_t i) const { return now_[i]; }

  void add(const float* centroid) {
    shard_->lower_distances({centroid, 1, d_}, false);  // mutant: afk_lowered
    look();
  }

 private:
  void look() {
    shard_->copy_distances(now_.data());
    for (std::size_t i = 0; i < now_.size(); ++i) now_[i] = std::min(now_[i], before_[i]);  // mutant: afk_nearest
  }

  std::int64_t d_;
  std::vector<float> rows_;
  HostArray source_;
  std::unique_ptr<Shard> shard_;
  std::vector<double> before_, now_;
};

// The random words of one redo.
struct Draws {
  std::uint64_t seed;
  std::uint32_t redo;

  // Below `total`, for this step of the chain of centroid c.
  Mass below(Mass total, std::size_t c, std::uint32_t step, Purpose purpose) const {
    return draw_below(
        total, random_words(seed, {static_cast<std::uint32_t>(c), step, static_cast<std::uint32_t>(purpose), redo}));
  }
};

// How rows are proposed: by their mass and by their weight, half of the times each.
class Proposals {
 public:
  // distances: D of this shard's rows to the centroids of the beginning. factor: of masses.
  Proposals(const Source& rows, const std::vector<double>& distances, double factor, Reducer& reducer)
      : factor_(factor) {
    Mass own_mass = 0, own_weight = 0;
    for (std::int64_t i = 0; i < rows.rows(); ++i) {
      own_mass += Masses::mass(distances[static_cast<std::size_t>(i)], factor, rows.weight(i));
      own_weight += static_cast<Mass>(rows.weight(i));
    }
    const std::vector<Mass> all = of_all_shards({own_mass, own_weight}, reducer);
    // mutant: afk_totals
    for (std::size_t i = 0; i < all.size(); i += 2) total_mass_ += all[i], total_weight_ += all[i + 1];
    std::vector<Mass> ends(distances.size());
    Mass end = 0;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const auto weight = static_cast<Mass>(rows.weight(static_cast<std::int64_t>(i)));
      if (weight > 0) end += weight * chance(distances[i]);  // D of others may be beyond
      ends[i] = end;
    }
    urn_.emplace(end, rows_by_ends(std::move(ends)), reducer);
  }

  // The row that this step of the chain of centroid c proposes.
  RowPlace draw(const Draws& draws, std::size_t c, std::uint32_t step) const {
    return urn_->row_at(draws.below(urn_->total(), c, step, Purpose::proposal));
  }
  // Of a row of weight 1.
  Mass mass(double distance) const { return Masses::mass(distance, factor_, 1); }
  // How often it is proposed, out of 2 total_mass total_weight times.
  Mass chance(double distance) const { return mass(distance) * total_weight_ + total_mass_; }  // mutant: afk_proposal

 private:
  double factor_;
  Mass total_mass_ = 0, total_weight_ = 0;  // over all shards
  std::optional<Urn> urn_;
};

// The place in the block of the row at which the chain of centroid c ends; it begins at `begin`.
std::size_t walk(const Block& block, std::size_t begin, const Proposals& proposals, const Draws& draws, std::size_t c) {
  std::size_t at = begin;
  for (std::uint32_t step = 1; step < kChain; ++step) {
    const std::size_t next = begin + step;
    const Mass gain = proposals.mass(block.distance(next)) * proposals.chance(block.distance_before(at));
    const Mass loss = proposals.mass(block.distance(at)) * proposals.chance(block.distance_before(next));
    if (draws.below(loss, c, step, Purpose::acceptance) < gain) at = next;  // mutant: afk_acceptance
  }
  return at;
}

}  // namespace

std::vector<float> afk_mc2(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                           const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  const auto d = static_cast<std::size_t>(rows.cols()), k = static_cast<std::size_t>(params.k);
  std::vector<float> centroids = std::move(given);
  if (centroids.empty()) centroids = kmeans_plus_plus({}, shard, rows, metric, 1, params.seed, redo, reducer, workers);
  const std::size_t first = centroids.size() / d;
  const std::vector<float> begun = centroids;  // those of the beginning
  const CentroidsView beginning = {begun.data(), static_cast<std::int64_t>(first), rows.cols()};
  shard.lower_distances(beginning, true);
  const double largest = largest_over_shards(shard.largest_distance(), reducer);
  if (largest == 0)  // every row of weight equals one of them
    return kmeans_plus_plus(std::move(centroids), shard, rows, metric, params.k, params.seed, redo, reducer, workers);
  std::vector<double> distances(static_cast<std::size_t>(rows.rows()));
  shard.copy_distances(distances.data());
  const Proposals proposals(rows, distances, mass_factor(largest), reducer);
  const Draws draws = {params.seed, redo};
  const std::size_t most = chains_together(rows.cols());
  for (std::size_t c = first; c < k;) {
    // So that the rule for tiny data, which takes the centroids added together, decides as for each
    // (docs/initialisation.md).
    const std::size_t chains = c > first && is_tiny(&centroids[(c - 1) * d], rows.cols()) ? 1 : std::min(most, k - c);
    std::vector<RowPlace> places;
    for (std::size_t of = c; of < c + chains; ++of)
      for (std::uint32_t step = 0; step < kChain; ++step) places.push_back(proposals.draw(draws, of, step));
    std::vector<float> proposed(places.size() * d);
    rows_at(places, rows, metric, reducer, workers, proposed.data());
    Block block(shard, std::move(proposed), beginning,
                {centroids.begin() + static_cast<std::ptrdiff_t>(first * d), centroids.end()}, params.execution,
                workers);
    bool tiny = false;
    for (std::size_t begin = 0; begin < places.size() && !tiny; begin += kChain, ++c) {
      workers.checkpoint(0);
      const float* const centroid = block.row(walk(block, begin, proposals, draws, c));
      centroids.insert(centroids.end(), centroid, centroid + d);
      tiny = is_tiny(centroid, rows.cols());
      block.add(centroid);
    }
  }
  return centroids;
}

}  // namespace fastkmeans
