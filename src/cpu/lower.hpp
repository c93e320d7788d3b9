// SPDX-License-Identifier: Apache-2.0
// What initialisations ask of a shard's rows: their distances to centroids that are new.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/rows.hpp"
#include "numeric/centroids_view.hpp"
#include "shard.hpp"
#include "source/source.hpp"

namespace fastkmeans::cpu {

class Lowering {
 public:
  // rows: those of the context; both must outlive this.
  Lowering(const Context& context, const Source& rows) : context_(context), rows_(rows) {}

  // As Shard::lower_distances; distances: (n) D as stored, the same array in all calls.
  void lower(CentroidsView added, bool first, float* distances);

  // As Shard::masses_with; total: the mass of all rows as they are.
  std::vector<Mass> masses_with(CentroidsView candidates, int exponent, Mass total, const float* distances);

  // As Shard::filter_of_masses.
  std::string_view filter() const { return filter_; }

  // Frees what is kept for further candidates.
  void forget() {
    candidates_.reset();
    asked_ = 0;
  }

 private:
  // So many times distances are taken of all rows before they are sketched: a sketch costs as much as a few distances.
  static constexpr int kWithoutSketches = 1;

  const Context& context_;
  const Source& rows_;
  int asked_ = 0;  // for candidates
  std::string_view filter_ = "none";
  std::optional<Candidates> candidates_;
};

}  // namespace fastkmeans::cpu
