// SPDX-License-Identifier: Apache-2.0
// Looks for narrow sketches of the rows of a shard, and says what they are worth.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/directions.hpp"
#include "cpu/rows.hpp"
#include "cpu/sketcher.hpp"
#include "cpu/survey.hpp"
#include "plan/plan.hpp"

namespace fastkmeans::cpu {

class NarrowSketches {
 public:
  // Learns the directions from some rows, spread evenly: kLearnedFrom, or more where k centroids make that little.
  // centre: (d).
  NarrowSketches(const Context& context, const std::vector<float>& centre, std::int64_t k);
  NarrowSketches(const NarrowSketches&) = delete;  // the sketcher points into it
  NarrowSketches& operator=(const NarrowSketches&) = delete;

  // Tries them on at most kTriedOn other rows with these centroids: the cheapest width for `problem`, whose sketcher()
  // there is from now on.
  Narrow choose(CentroidsView centroids, Problem problem, const Costs& costs);
  const Sketcher* sketcher() const { return sketcher_.get(); }

 private:
  Basis learn(std::int64_t rows, std::int64_t together) const;
  // Rows less the centre, spread evenly, between those learned from. Bad ones are left out: nobody has refused them
  // yet.
  CentredSample sample(std::int64_t count) const;

  const Context& context_;
  std::vector<float> mu_;  // (padded(d))
  std::vector<std::int64_t> sizes_;
  Basis basis_;
  CentredSample tried_;
  std::unique_ptr<NarrowSketcher> sketcher_;
};

}  // namespace fastkmeans::cpu
