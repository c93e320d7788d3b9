// SPDX-License-Identifier: Apache-2.0
#include "initial_rows.hpp"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "numeric/row_hash.hpp"
#include "runtime/workers.hpp"
#include "source/sample.hpp"

namespace fastkmeans {
namespace {

// The given centroids have those from 0 on, rows that differ those that follow.
using Id = std::size_t;

// Rows taken so far, found again by hash.
class Hashes {
 public:
  explicit Hashes(std::size_t most) : mask_(std::bit_ceil(2 * most) - 1), places_(mask_ + 1) {}

  // Adds the row and returns true, unless there is one of the same hash for which equal(its id).
  template <class Equal>
  bool add(std::uint64_t hash, Id id, const Equal& equal) {
    std::size_t at = static_cast<std::size_t>(hash) & mask_;
    for (; places_[at].id_plus_1 > 0; at = (at + 1) & mask_)
      if (places_[at].hash == hash && equal(places_[at].id_plus_1 - 1)) return false;
    places_[at] = {hash, id + 1};
    return true;
  }

 private:
  struct Place {
    std::uint64_t hash = 0;
    std::size_t id_plus_1 = 0;  // 0: free
  };
  std::size_t mask_;
  std::vector<Place> places_;  // the first free one from the hash on; half of them stay free
};

class Search {
 public:
  Search(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric, std::int64_t k,
         Reducer& reducer, Workers& workers)
      : shard_(shard),
        rows_(rows),
        metric_(metric),
        reducer_(reducer),
        workers_(workers),
        d_(static_cast<std::size_t>(rows.cols())),
        given_(std::move(given)),
        wanted_(static_cast<std::size_t>(k) - given_.size() / d_),
        together_(std::clamp<std::size_t>(kMostScratch / 4 / (4 * d_), 1, 4 * static_cast<std::size_t>(k))),
        hashes_(static_cast<std::size_t>(k) + together_) {
    for (Id id = 0; id < first_id(); ++id) {
      const float* row = &given_[id * d_];
      // mutant: given_rows_skipped
      hashes_.add(row_hash(row, rows.cols()), id, [&](Id other) { return equal(row, &given_[other * d_]); });
    }
  }

  bool is_done() const { return taken_.size() == wanted_; }

  // More rows, the next in order.
  void look_at(const std::vector<DrawnRow>& order) {
    for (std::size_t at = 0; at < order.size() && !is_done(); at += together_) {
      workers_.checkpoint(0);
      look_at_some({order.begin() + static_cast<std::ptrdiff_t>(at),
                    order.begin() + static_cast<std::ptrdiff_t>(std::min(at + together_, order.size()))});
    }
  }

  Start start() {
    // Too few distinct rows: equal ones fill up.
    const std::size_t fill = std::min(wanted_ - taken_.size(), equal_.size());
    taken_.insert(taken_.end(), equal_.begin(), equal_.begin() + static_cast<std::ptrdiff_t>(fill));
    Start start = {std::move(given_)};
    if (reducer_.size() == 1 && is_done()) {
      for (const RowPlace& place : taken_) start.rows.push_back(place.index);
      return start;
    }
    const std::size_t begin = start.values.size(), end = begin + taken_.size() * d_;
    start.values.resize(begin + wanted_ * d_);
    rows_at(taken_, rows_, metric_, reducer_, workers_, start.values.data() + begin);
    // Too few rows: copies of the first.
    for (std::size_t to = std::max(end, d_); to < start.values.size(); to += d_)
      std::copy_n(start.values.begin(), d_, start.values.begin() + static_cast<std::ptrdiff_t>(to));
    return start;
  }

 private:
  // Rows with their values: those that are compared.
  class Values {
   public:
    explicit Values(const Search& search) : search_(search) {}
    void fetch(const std::vector<DrawnRow>& rows) {
      std::vector<RowPlace> places;
      for (const DrawnRow& row : rows)
        if (at_.emplace(row.number, at_.size() * search_.d_).second) places.push_back(row.place);
      const std::size_t begin = values_.size();
      values_.resize(begin + places.size() * search_.d_);
      rows_at(places, search_.rows_, search_.metric_, search_.reducer_, search_.workers_, values_.data() + begin);
    }
    // Of a row that was fetched, until more are.
    const float* of(const DrawnRow& row) const { return &values_[at_.at(row.number)]; }

   private:
    const Search& search_;
    std::unordered_map<std::int64_t, std::size_t> at_;  // in values_, by number
    std::vector<float> values_;
  };

  Id first_id() const { return given_.size() / d_; }
  bool equal(const float* a, const float* b) const { return std::equal(a, a + d_, b); }  // == on floats: -0 equals 0

  // (places) on every shard.
  std::vector<std::uint64_t> hashes_of(const std::vector<DrawnRow>& rows) const {
    std::vector<std::size_t> mine;
    std::vector<std::int64_t> indices;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i].place.rank == reducer_.rank()) {
        mine.push_back(i);
        indices.push_back(rows[i].place.index);
      }
    std::vector<std::uint64_t> own(mine.size()), hashes(rows.size());
    shard_.hash_rows(indices.data(), static_cast<std::int64_t>(indices.size()), own.data());
    for (std::size_t i = 0; i < mine.size(); ++i) hashes[mine[i]] = own[i];
    reducer_.sum(hashes.data(), static_cast<std::int64_t>(hashes.size()));  // mutant: hashes_of_all_shards
    return hashes;
  }

  void look_at_some(const std::vector<DrawnRow>& rows) {
    const std::vector<std::uint64_t> hashes = hashes_of(rows);
    std::vector<char> differs(rows.size());
    std::vector<DrawnRow> compared;
    for (std::size_t i = 0; i < rows.size(); ++i)
      differs[i] = add(hashes[i], rows[i], [&](Id other) {
        compared.push_back(rows[i]);
        if (other >= first_id()) compared.push_back(seen_[other - first_id()]);
        return true;  // mutant: equal_hashes
      });
    Values values(*this);
    values.fetch(compared);
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (!differs[i])
        differs[i] = add(hashes[i], rows[i], [&](Id other) {
          const DrawnRow& known = other < first_id() ? rows[i] : seen_[other - first_id()];
          values.fetch({rows[i], known});  // seldom needed: of a third row of this hash
          // mutant: hashes_alone
          return equal(values.of(rows[i]), other < first_id() ? &given_[other * d_] : values.of(known));
        });
    for (std::size_t i = 0; i < rows.size() && !is_done(); ++i)
      if (differs[i])
        taken_.push_back(rows[i].place);
      else if (equal_.size() < wanted_)
        equal_.push_back(rows[i].place);
  }

  // As Hashes::add.
  template <class Equal>
  bool add(std::uint64_t hash, const DrawnRow& row, const Equal& equal) {
    if (!hashes_.add(hash, first_id() + seen_.size(), equal)) return false;
    seen_.push_back(row);
    return true;
  }

  Shard& shard_;
  const Source& rows_;
  const Metric& metric_;
  Reducer& reducer_;
  Workers& workers_;
  std::size_t d_;
  std::vector<float> given_;  // (m, d)
  std::size_t wanted_;        // rows: k - m
  std::size_t together_;      // rows looked at
  Hashes hashes_;
  std::vector<DrawnRow> seen_;           // in hashes_, from first_id() on
  std::vector<RowPlace> taken_, equal_;  // that differ; that equal one of these or a given one
};

}  // namespace

Start initial_rows(std::vector<float> given, Shard& shard, const Source& rows, const Metric& metric,
                   const Params& params, std::uint32_t redo, Reducer& reducer, Workers& workers) {
  Search search(std::move(given), shard, rows, metric, params.k, reducer, workers);
  RandomOrder order(rows, params.k, params.seed, redo, reducer, workers);
  while (!search.is_done())
    if (const auto drawn = order.next())
      search.look_at(*drawn);
    else
      break;
  return search.start();
}

}  // namespace fastkmeans
