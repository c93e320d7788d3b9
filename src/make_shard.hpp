// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "fastkmeans/params.hpp"
#include "numeric/metric.hpp"
#include "shard.hpp"
#include "small_shards.hpp"

namespace fastkmeans {

class Workers;

// Where a call computes, "cpu" or "cuda:N": what the execution asks for; if it names nothing, where the data lie, and
// for host data a CUDA device if the work is worth it. std::invalid_argument: data on another device.
// std::runtime_error: it cannot be had.
std::string device_for(const MatrixView& x, std::int64_t k, const Execution& execution);

// Whether an assignment of rows in host memory is worth the start of a CUDA device.
bool worth_a_device(const MatrixView& x, std::int64_t k);

// Rows where they lie. weights: as those of Source, which must outlive it.
std::unique_ptr<Source> make_source(const MatrixView& x, const std::int64_t* weights, const Execution& execution,
                                    Workers& workers);

// Matrices in the memory of CUDA devices, one after the other into host memory: each in its dtype, C order, no gaps.
void copy_to_host(std::span<const MatrixView> matrices, const Execution& execution, Workers& workers, char* out);

// The other way: bytes, and where they go.
using DeviceCopy = std::pair<void*, std::span<const std::byte>>;
void copy_to_device(std::span<const DeviceCopy> copies, int device, const Execution& execution, Workers& workers);

// A shard of these rows. execution.device: as device_for() says, "" being "cpu"; its instruction set "":
// FASTKMEANS_ISA, else the best there is; std::runtime_error if it cannot be had. With FASTKMEANS_VERIFY=1 each of its
// assignments is checked. The arguments but the execution must outlive it.
std::unique_ptr<Shard> make_shard(const Source& rows, const Metric& metric, const Execution& execution,
                                  Workers& workers);

// A shard of a few rows in host memory that a fit needs beside one that it has: by distances, where that one is if
// there is room for it, else on the CPU. execution: of the fit.
std::unique_ptr<Shard> make_shard_beside(Shard& shard, const Source& rows, const Execution& execution,
                                         Workers& workers);

// Whether problems of k clusters and d dimensions on a CUDA device may be SmallShards.
bool takes_small_shards(std::int64_t d, std::int64_t k);

// Of problems whose rows lie on one CUDA device and have the same columns: those from the first on that there is memory
// for; null if there is none for the first. What is given must outlive it, but the execution.
std::unique_ptr<SmallShards> make_small_shards(std::span<const SmallProblem> problems, const Metric& metric,
                                               const Execution& execution, Workers& workers);

// For a shard on the CPU that a fit anywhere makes of a few rows: a filter that only a CUDA device has is none of its.
Execution on_cpu(Execution of_fit);

}  // namespace fastkmeans
