// SPDX-License-Identifier: Apache-2.0
// Clusters points drawn around a few centres, then assigns the same points again: the labels must be those of the fit.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <vector>

#include "fastkmeans/fastkmeans.hpp"

namespace {

// n points in d dimensions, each one of `blobs` random centres plus noise of unit variance.
std::vector<float> make_blobs(std::int64_t n, std::int64_t d, std::int64_t blobs) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> centres(static_cast<std::size_t>(blobs * d));
  for (float& coordinate : centres) coordinate = 10 * normal(random);

  std::vector<float> x(static_cast<std::size_t>(n * d));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j) x[i * d + j] = centres[i % blobs * d + j] + normal(random);
  }
  return x;
}

int run() {
  const std::int64_t n = 20'000, d = 64, k = 50;
  const std::vector<float> points = make_blobs(n, d, k);
  const fastkmeans::MatrixView x(points.data(), n, d);

  fastkmeans::Params params;
  params.k = k;
  params.niter = 20;
  const fastkmeans::Result result = fastkmeans::fit(x, params);

  std::printf("fastkmeans %s on %s\n", fastkmeans::version().c_str(), fastkmeans::chosen_isa().c_str());
  std::printf("%d iterations, inertia per point %.3f\n", result.n_iter, result.inertia / n);

  const fastkmeans::MatrixView centroids(result.centroids.data(), k, d);
  if (fastkmeans::predict(x, centroids).labels != result.labels) {
    std::fprintf(stderr, "predict gave other labels than fit\n");
    return 1;
  }
  std::printf("predict gave the labels of the fit\n");

  // Both halves of the first points, in one call: each is clustered as in a call of its own.
  const auto half = [&](std::int64_t j) {
    return fastkmeans::MatrixView(&points[j], 1'000, d / 2, fastkmeans::DType::f32, d * sizeof(float), sizeof(float));
  };
  const fastkmeans::MatrixView halves[] = {half(0), half(d / 2)};
  fastkmeans::BatchParams batch;
  batch.each = params;
  const fastkmeans::BatchResult codebooks = fastkmeans::fit_batch(halves, batch);
  if (codebooks.inertia[1] != fastkmeans::fit(halves[1], params).inertia) {
    std::fprintf(stderr, "fit_batch gave another result than fit\n");
    return 1;
  }
  std::printf("fit_batch gave the result of fit for both halves\n");
  return 0;
}

}  // namespace

int main() try { return run(); } catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
