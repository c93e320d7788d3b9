// SPDX-License-Identifier: Apache-2.0
// What initialisations ask of a shard's rows, on the device: their distances to centroids that are new.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "cuda/candidates.hpp"
#include "cuda/masses.hpp"
#include "numeric/centroids_view.hpp"
#include "shard.hpp"

namespace fastkmeans::cuda {

class Lowering {
 public:
  explicit Lowering(Device& device) : device_(device), masses_(device) {}

  // Of the distances; where others than lower() change them, masses().changed() says so.
  DeviceMasses& masses() { return masses_; }

  // As the verbs of Shard; rows: the same, wherever they lie.
  void lower(const SeededRows& rows, CentroidsView added, bool first);
  std::vector<Mass> masses_with(const SeededRows& rows, CentroidsView candidates, int exponent);
  std::string_view filter() const { return filter_; }

  // Frees what is kept for further candidates; the distances may be others than they were.
  void forget();

 private:
  // So many times distances are taken of all rows before they are sketched: early candidates are nearer to many rows.
  static constexpr int kWithoutSketches = 4;

  void sketch(const SeededRows& rows);
  // masses_with(), by sketches if there are any.
  std::vector<Mass> masses_of(const SeededRows& rows, CentroidsView candidates, int exponent);

  Device& device_;
  DeviceMasses masses_;
  int asked_ = 0;           // for candidates
  bool has_memory_ = true;  // for sketches
  std::optional<Candidates> candidates_;
  std::string_view filter_ = "none";
};

}  // namespace fastkmeans::cuda
