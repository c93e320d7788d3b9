// SPDX-License-Identifier: Apache-2.0
#include "cuda/empty_clusters.hpp"
#include "numeric/distance.hpp"

namespace fastkmeans::cuda {
namespace {

constexpr int kThreads = 256;

__device__ Integer bits_of(float stored) { return static_cast<Integer>(__double_as_longlong(true_distance(stored))); }

__global__ void find_farthest(std::int64_t n, const std::int32_t* labels, const float* distances,
                              const std::int64_t* weights, Integer* farthest) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n && !(weights && weights[i] == 0)) atomicMax(farthest + labels[i], bits_of(distances[i]));
}

__global__ void find_donors(std::int64_t n, const std::int32_t* labels, const float* distances,
                            const std::int64_t* weights, double factor, const Integer* farthest, Integer* inertia,
                            Integer* row) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n || (weights && weights[i] == 0)) return;
  const Integer weight = weights ? static_cast<Integer>(weights[i]) : 1;
  atomicAdd(inertia + labels[i], static_cast<Integer>(true_distance(distances[i]) * factor) * weight);
  if (bits_of(distances[i]) == farthest[labels[i]]) atomicMin(row + labels[i], static_cast<Integer>(i));
}

__global__ void find_gains(std::int64_t n, const float* losses, const float* own_losses, float* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) out[i] = gain_of_row(losses[i], own_losses[i]);
}

}  // namespace

void gains(Device& device, const float* losses, const float* own_losses, std::int64_t n, float* out) {
  if (n == 0) return;
  find_gains<<<blocks_for(n, kThreads), kThreads, 0, device.stream()>>>(n, losses, own_losses, out);
  launched("find_gains");
}

std::vector<Relocation> fill_empty_clusters(Device& device, const Source& rows, const std::int32_t* labels,
                                            const float* distances, const std::int64_t* weights,
                                            const std::vector<std::uint64_t>& members, std::int64_t total_weight,
                                            const CentroidRule& rule, Reducer& reducer, Workers& workers) {
  if (rule.empty == EmptyClusters::random) {  // seldom, and the host has the rows' numbers
    std::vector<std::int32_t> own_labels(static_cast<std::size_t>(rows.rows()));
    std::vector<float> own_distances(own_labels.size());
    device.download(own_labels.data(), labels, rows.rows() * static_cast<std::int64_t>(sizeof(std::int32_t)));
    device.download(own_distances.data(), distances, rows.rows() * static_cast<std::int64_t>(sizeof(float)));
    return fastkmeans::fill_empty_clusters({rows, own_labels.data(), own_distances.data()}, members, total_weight, rule,
                                           reducer, workers);
  }
  const auto k = static_cast<std::int64_t>(members.size());
  const std::int64_t n = rows.rows();
  Donors donors(members.size());
  DeviceBuffer<Integer> farthest(device, k), inertia(device, k), row(device, k);
  const std::int64_t bytes = farthest.bytes();
  device.clear(farthest.data(), bytes);
  device.clear(inertia.data(), bytes);
  device.upload(row.data(), donors.row.data(), bytes);
  const unsigned blocks = blocks_for(n, kThreads);
  if (n > 0) {
    find_farthest<<<blocks, kThreads, 0, device.stream()>>>(n, labels, distances, weights, farthest.data());
    launched("find_farthest");
  }
  device.download(donors.worth.data(), farthest.data(), bytes);
  reducer.max(donors.worth.data(), k);
  const double factor = donors.factor(total_weight);
  if (factor == 0) return {};
  device.upload(farthest.data(), donors.worth.data(), bytes);
  if (n > 0) {
    find_donors<<<blocks, kThreads, 0, device.stream()>>>(n, labels, distances, weights, factor, farthest.data(),
                                                          inertia.data(), row.data());
    launched("find_donors");
  }
  device.download(donors.rank.data(), inertia.data(), bytes);
  device.download(donors.row.data(), row.data(), bytes);
  for (std::uint64_t& found : donors.row)  // numbers rise with places, so the lowest stays the lowest
    if (found != Donors::kNoRow) found = static_cast<std::uint64_t>(rows.number(static_cast<std::int64_t>(found)));
  reducer.sum(donors.rank.data(), k);
  reducer.min(donors.row.data(), k);
  return choose_relocations(donors, members, rule.frozen);
}

}  // namespace fastkmeans::cuda
