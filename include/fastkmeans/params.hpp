// SPDX-License-Identifier: Apache-2.0
// Every option of a fit. The result depends on the data and on the fields under "what to compute" alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "fastkmeans/matrix_view.hpp"
#include "fastkmeans/result.hpp"

namespace fastkmeans {

// How to compute: changes speed and memory, never a bit of the result.
struct Execution {
  // Where: "cpu"; "cuda" (the device of the data if it is there, else the first that we support), "cuda:1", ...; "": a
  // CUDA device if there is one that we support and the work is worth it, else the CPU. Data on a device is computed
  // there.
  std::string device;
  std::int64_t memory_limit = 0;  // most bytes of device memory, beside the caller's data; 0: what is free
  void* cuda_stream = nullptr;    // the stream (cudaStream_t) in which data on a device was last written
  // 0: OMP_NUM_THREADS if set, else the CPUs this process may use (affinity, cgroup). More than these CPUs, or than 16
  // if they are fewer, are not used.
  int n_threads = 0;
  std::string isa;  // "": FASTKMEANS_ISA if set, else the best of this CPU; or one of instruction_sets()
  // "": FASTKMEANS_FILTER if set, else what the planner expects to be fastest. Or fp32, low_dim, int8, narrow,
  // fp32_bounds, int8_bounds, narrow_bounds (docs/filter.md section 6); with rows that it cannot take (too wide, too
  // tiny) or inner products (low_dim, narrow), fp32 all the same.
  // With CUDA: none, low_dim, int8, int8_lists, narrow; and none (rows too wide for sketches, or distances too tiny),
  // or int8 (rows too wide for low_dim; inner products, which have neither low_dim nor lists nor narrow), all the same.
  std::string filter;
  std::int64_t chunk_size_data = 51'200;       // most rows handled at a time by a thread (it may take fewer)
  std::int64_t chunk_size_centroids = 10'240;  // most centroids scanned between two looks at `interrupt`
  // Called from the calling thread every 50 ms or so; true ends the work with Interrupted. May throw.
  std::function<bool()> interrupt;
};

// What decides a label, and so what a cluster is (docs/algorithm.md section 8).
enum class MetricType {
  euclidean,      // the nearest centroid; a mean
  cosine,         // the same of rows and centroids of length 1: clusters by angle; inertia of these rows
  inner_product,  // the largest inner product; a mean. Inertia is the sum of the products: more is better
};

// Which rows a run begins with (docs/initialisation.md).
enum class InitMethod {
  random,            // distinct ones
  kmeans_plus_plus,  // far ones: greedy k-means++, which takes 3 + log k distances a row and centroid
  kmeans_parallel,   // far ones, for large k: k-means||, whose passes over the rows are six assignments
  afk_mc2,           // far ones, for large k: AFK-MC2, which takes 200 distances a pair of centroids
};

// What becomes of a cluster without rows (docs/algorithm.md section 4).
enum class EmptyClusters {
  farthest,  // it gets the farthest row of the cluster of largest inertia (inner products: by what rows would gain)
  split,     // the largest cluster is split, as in faiss: both centroids lie near that of the whole
  random,    // it gets a row drawn at random
};

// Room for the results of a call in the memory of the CUDA device where all rows lie, written by the time it returns.
// Whatever else uses that memory must have been asked for in Execution::cuda_stream before the call.
struct DeviceResults {
  float* centroids = nullptr;      // as Result or BatchResult has them; null: there is no such room
  std::int64_t* labels = nullptr;  // likewise; needed if there is room for centroids, and Params::labels is set
};

struct Params {
  // what to compute
  std::int64_t k = 0;      // clusters, 1 <= k <= n (but see allow_fewer_rows)
  int niter = 25;          // most iterations, >= 1
  double tol = 1e-8;       // stop when the shift is below; <= 0: do not
  double inertia_tol = 0;  // > 0: stop when inertia gets better by less than this share of it, as cuVS's tol; at most 1
  double changed_tol = 0;  // > 0: stop when less than this share of the rows used changed labels; at most 1
  // > 0: begin no iteration after so many seconds of the fit. What is stopped so depends on the machine's speed.
  double max_runtime_secs = 0;
  std::uint64_t seed = 0;                                     // of the sample and of the initial centroids
  std::optional<std::int64_t> max_points_per_centroid = 256;  // train on at most k times this many rows; nullopt: all
  int nredo = 1;  // runs from different initial centroids; the best inertia is kept, ties to the first
  std::optional<MetricType> metric;  // nullopt: euclidean, or cosine where spherical says so
  bool spherical = false;            // faiss's name of cosine
  InitMethod init_method = InitMethod::random;
  // (m, d), 1 <= m <= k, in host memory: the first initial centroids; the others are rows. All k: nredo is then 1.
  std::optional<MatrixView> init;
  EmptyClusters empty_clusters = EmptyClusters::farthest;
  bool frozen_centroids = false;  // those of `init` stay where they are; where they are empty they get no row
  bool int_centroids = false;     // centroids are rounded to integers, half to even, from the initial ones on
  std::optional<std::int64_t> min_points_per_centroid;  // warn about fewer rows than k times this
  // Rows, or rows of weight > 0, may be fewer than k, or none at all: initial centroids that no row is left for are
  // copies of the first (zeros, if there is none). Clusters that end without a row count in n_empty.
  bool allow_fewer_rows = false;
  bool labels = true;  // assign all rows once more at the end, to the centroids returned
  // (n) how much each row counts, in host memory; empty: each counts once. Finite, >= 0, some > 0; k <= rows of weight
  // > 0. Integers that add up to 2^40 at most are equal rows; others keep some digits: docs/algorithm.md section 8.
  std::span<const double> weights;

  Execution execution;
  DeviceResults on_device;  // centroids and labels go there, and not into the result

  // Called after each iteration; returning true stops this run and those to come. May throw; the fit then ends.
  std::function<bool(const IterationStats&)> callback;
};

// Many problems in one call: B of them, with columns alike.
struct BatchParams {
  // Of every problem, as of a fit of its own: the same seed, too. A problem may have fewer rows than k, whatever
  // allow_fewer_rows says. each.init: the same for all; each.weights, each.on_device: of all rows and problems, one
  // after the other; each.max_runtime_secs: of the whole call, whose problems get one iteration each when it is over;
  // each.callback must be empty.
  Params each;
  std::span<const std::int64_t> k;  // (B) clusters of each problem; empty: each.k
  // (B) initial centroids of each problem, as Params::init, or on the CUDA device of its rows; empty: each.init
  std::span<const MatrixView> init;
};

struct PredictParams {
  bool distances = false;  // also return D, or inner products
  Execution execution;
  bool spherical = false;                           // as in a fit, but centroids are taken as they are
  std::optional<MetricType> metric = std::nullopt;  // likewise
};

}  // namespace fastkmeans
