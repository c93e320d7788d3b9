// SPDX-License-Identifier: Apache-2.0
// Rows of few elements on a CUDA device: their filter, and how they move from cluster to cluster.
#include <utility>

#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

using CudaLowDim = CudaFits;

// All numbers of lanes of which a row has some, rows of weight 0, labels that change from iteration to iteration.
TEST_F(CudaLowDim, RowsMove) {
  Random random(314);
  for (const std::int64_t d : {1, 2, 3, 5, 8, 9, 16, 17, 31, 32, 33, 64})
    for (const auto& [n, k] : {std::pair(1055, 15), std::pair(1055, 1), std::pair(31, 3)}) {
      const Matrix x = random_rows(Kind::normal, n, d, random);
      std::vector<std::int64_t> weights;
      for (std::int64_t i = 0; i < n; ++i) weights.push_back(draw(random, 0, 3));
      for (const std::int64_t* some : {static_cast<const std::int64_t*>(nullptr), std::as_const(weights).data()}) {
        SCOPED_TRACE(::testing::Message() << "d " << d << " n " << n << " k " << k << (some ? " weights" : ""));
        Params params = params_of(k, 6, -1);
        params.max_points_per_centroid.reset();
        params.execution = on("scalar");
        const Result expected = fit_on_shards(x.view(), {x.rows}, params, euclidean(), some)[0];
        for (const IterationStats& stats : expected.iterations) EXPECT_GT(stats.changed, k == 15 ? 0 : -1);
        for (const char* filter : {"none", "low_dim", "int8"}) {
          params.execution = on(Path{"cuda", filter});
          const Result got = fit_on_shards(x.view(), {x.rows}, params, euclidean(), some)[0];
          expect_same(got, expected);
          for (const IterationStats& stats : got.iterations) expect_ran({"cuda", filter}, stats.filter, d, false);
        }
      }
    }
}

// So many rows that a thread has 8 or 4 of them, on devices of up to 192 processors; whole blocks, and a part of one.
TEST_F(CudaLowDim, SeveralRowsAThread) {
  Random random(316);
  for (const auto& [d, n] :
       {std::pair(3, 400'001), std::pair(8, 400'001), std::pair(13, 200'001), std::pair(32, 200'001)}) {
    SCOPED_TRACE(::testing::Message() << "d " << d << " n " << n);
    Params params = params_of(5, 3, -1);
    params.max_points_per_centroid.reset();
    expect_oracle(random_rows(Kind::normal, n, d, random), params, "low_dim");
  }
}

// More centroids than shared memory has at a time: 1,024, 512, 256 or 128, as rows are long; the last one alone too.
TEST_F(CudaLowDim, ManyCentroids) {
  Random random(315);
  for (const auto& [d, k] : {std::pair(1, 1025), std::pair(3, 1024), std::pair(8, 1030), std::pair(9, 513),
                             std::pair(16, 1025), std::pair(17, 257), std::pair(32, 513), std::pair(33, 129)})
    for (const Kind kind : {Kind::normal, Kind::integers}) {
      SCOPED_TRACE(::testing::Message() << "d " << d << " k " << k << " kind " << static_cast<int>(kind));
      expect_oracle(random_rows(kind, 1100, d, random), k, "low_dim");
    }
}

}  // namespace
}  // namespace fastkmeans::testing
