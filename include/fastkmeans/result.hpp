// SPDX-License-Identifier: Apache-2.0
// What a fit and a prediction give back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastkmeans {

// How the nearest centroids of an iteration were found. Speed only: no bit of a result depends on it, and other
// hardware has other figures.
struct FilterStats {
  // Which scores: fp32, low_dim (fp32, few dimensions), int8, narrow (int8, fewer elements than dimensions);
  // narrow+int8, narrow+fp32, int8+fp32, low_dim+fp32: the first was begun, turned out dearer than expected, and the
  // second finished; none: distances alone.
  std::string_view filter = "none";
  std::int64_t scored = 0;       // pairs of row and centroid that were scored; the others were skipped by bounds
  std::int64_t refined = 0;      // pairs whose distance was computed, since the score could not exclude them
  std::string_view isa = "";     // the instruction set that ran, one of instruction_sets(), or cuda
  std::string_view kernel = "";  // with CUDA, of the scores: one of cuda_kernels(), or "" where there is no choice
};

// One iteration of one run, as the callback sees it and Result keeps it.
struct IterationStats {
  int redo = 0;                // which run, from 0 (see Params::nredo)
  int iteration = 0;           // from 0
  double inertia = 0;          // sum of weight times squared distance (or inner product: see MetricType), rows used
  double shift = 0;            // sum over centroids of the Euclidean distance each moved
  std::int64_t changed = 0;    // rows whose label differs from the iteration before (all rows in the first)
  std::int64_t empty = 0;      // clusters without a row after assignment, before relocation
  std::int64_t relocated = 0;  // of these, how many were given a row, or a part of a cluster that was split
  double seconds = 0;          // wall time
  FilterStats filter;
};

// Something the caller should know; the result is valid all the same.
struct Warning {
  enum class Kind { subsampled, empty_clusters, precision, few_points, zero_rows };
  Kind kind;
  std::string message;
};

struct Result {
  std::int64_t k = 0, d = 0;
  std::vector<float> centroids;      // (k, d), C order; empty, as labels, if they are in Params::on_device
  std::vector<std::int64_t> labels;  // (n): nearest of `centroids` for every row given; empty unless Params::labels
  double inertia = 0;                // with labels: of all rows given, to `centroids`; else that of the last iteration
  int n_iter = 0;                    // iterations of the run kept
  bool converged = false;            // a tolerance ended the run kept, or nothing changed any more
  bool timed_out = false;    // max_runtime_secs cut the fit short: the one case that is not the same bits everywhere
  std::int64_t n_used = 0;   // rows of weight > 0 trained on (fewer than n after subsampling)
  std::int64_t n_zero = 0;   // of these, all of whose elements are 0: MetricType::cosine leaves them so
  std::int64_t n_empty = 0;  // clusters of the run kept that ended without a row
  std::vector<IterationStats> iterations;  // of the run kept
  std::vector<Warning> warnings;
};

// Of problem b, as in a Result of its own: element b of what has (B); rows and centroids of one problem stand after
// those of the one before.
struct BatchResult {
  std::int64_t d = 0;
  std::vector<std::int64_t> centroid_offsets;  // (B + 1) problem b has centroids [offsets[b], offsets[b + 1])
  std::vector<float> centroids;                // (sum of k, d); empty if they are in Params::on_device
  std::vector<std::int64_t> labels;            // of all rows, each in [0, k of its problem); likewise, or not wanted
  std::vector<double> inertia;                 // (B)
  std::vector<int> n_iter;                     // (B)
  std::vector<std::uint8_t> converged;         // (B) 0 or 1
  std::vector<std::uint8_t> timed_out;         // (B) 0 or 1
  std::vector<std::int64_t> n_used, n_zero;    // (B)
  std::vector<std::int64_t> n_empty;           // (B) k - n_empty clusters have rows
  struct ProblemWarning {
    std::int64_t problem;
    Warning warning;
  };
  std::vector<ProblemWarning> warnings;  // ascending by problem
};

struct Prediction {
  std::vector<std::int64_t> labels;  // (n)
  std::vector<double> distances;  // (n) D to the centroid of the label, or their inner product; empty unless asked for
};

}  // namespace fastkmeans
