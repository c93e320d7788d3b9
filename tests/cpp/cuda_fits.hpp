// SPDX-License-Identifier: Apache-2.0
// Fits on a CUDA device beside the oracle.
#pragma once

#include "runtime/os.hpp"
#include "shards.hpp"

namespace fastkmeans::testing {

class CudaFits : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_state().status != CudaStatus::ready) GTEST_SKIP() << cuda_state().problem;
  }

  static bool runs_code_for_hopper() {
    return cuda_state().devices.front().major == 9 && os::environment("CUDA_FORCE_PTX_JIT").empty();
  }

  // `fits`: returns a fit by the int8 filter, for each kernel of its scans. A device before Hopper has no wgmma.
  template <class Fits>
  static void expect_every_kernel(const Fits& fits) {
    for (const std::string& kernel : cuda_kernels()) {
      const Environment forced("FASTKMEANS_CUDA_KERNEL", kernel.c_str());
      try {
        for (const IterationStats& stats : fits().iterations) EXPECT_EQ(stats.filter.kernel, kernel);
      } catch (const std::runtime_error& error) {
        EXPECT_FALSE(kernel != "wgmma" || runs_code_for_hopper()) << error.what();
        expect_contains(error.what(), {"wgmma", "the device does not have it"});
      }
    }
  }

  // The same bits as the oracle's, by this filter. Returns the fit.
  static Result expect_oracle(const Matrix& x, std::int64_t k, const char* filter, std::int64_t memory_limit = 0) {
    return expect_oracle(x, params_of(k, 5, -1), filter, memory_limit);
  }
  static Result expect_oracle(const Matrix& x, Params params, const char* filter, std::int64_t memory_limit = 0) {
    params.execution = on("scalar");
    const Result expected = fit(x.view(), params);
    params.execution = on(Path{"cuda", filter});
    params.execution.memory_limit = memory_limit;
    const Result got = fit(x.view(), params);
    expect_same(got, expected);
    EXPECT_FALSE(got.iterations.empty());
    const bool products = params.metric == MetricType::inner_product;  // which are small, not tiny
    const std::optional<bool> tiny = products ? false : all_tiny(x);
    for (const IterationStats& stats : got.iterations)
      expect_ran({"cuda", filter}, stats.filter, x.cols, tiny, products);
    return got;
  }
};

}  // namespace fastkmeans::testing
