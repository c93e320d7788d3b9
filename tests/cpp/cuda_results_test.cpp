// SPDX-License-Identifier: Apache-2.0
// Centroids and labels that a fit leaves where its rows lie, on a CUDA device: those that would come to the host, and
// nothing beside the room for them is written.
#ifdef FASTKMEANS_CUDA

#include "cuda/device.hpp"
#include "cuda_fits.hpp"

namespace fastkmeans::testing {
namespace {

// Room for `size` values between others, which must stay.
template <class T>
class GuardedRoom {
 public:
  GuardedRoom(cuda::Device& device, std::int64_t size)
      : device_(device), before_(static_cast<std::size_t>(size + 2 * kAround), T{77}) {
    values_ = cuda::uploaded(device, before_.data(), std::ssize(before_));
    device.wait();
  }
  T* data() const { return values_.data() + kAround; }
  std::vector<T> values() const {
    const std::vector<T> all = cuda::downloaded(device_, values_.data(), values_.size());
    EXPECT_TRUE(std::equal(all.begin(), all.begin() + kAround, before_.begin()));
    EXPECT_TRUE(std::equal(all.end() - kAround, all.end(), before_.begin()));
    return {all.begin() + kAround, all.end() - kAround};
  }

 private:
  static constexpr std::int64_t kAround = 100;
  cuda::Device& device_;
  std::vector<T> before_;
  cuda::DeviceBuffer<T> values_;
};

TEST_F(CudaFits, ResultsOnTheDevice) {
  Random random(701);
  const Matrix x = random_rows(Kind::normal, 3001, 7, random);
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  const auto there = cuda::uploaded(device, x.row(0), x.rows * x.cols);
  device.wait();
  MatrixView on_device(there.data(), x.rows, x.cols);
  on_device.cuda_device = 0;
  const std::vector<double> weights(static_cast<std::size_t>(x.rows), 2.0);

  using Change = std::function<void(Params&)>;
  const Change changes[] = {
      [](Params&) {},
      [](Params& p) { p.labels = false; },
      [](Params& p) { p.max_points_per_centroid = 20; },  // labels of all rows by a shard of their own
      [](Params& p) { p.nredo = 3; },
      [](Params& p) { p.metric = MetricType::cosine; },
      [](Params& p) { p.metric = MetricType::inner_product; },
      [](Params& p) { p.int_centroids = true; },
      [&](Params& p) { p.weights = weights; },
      [&](Params& p) { p.init = MatrixView(x.row(0), 37, x.cols); },
      [&](Params& p) { p.init = MatrixView(x.row(0), 5, x.cols); },
      [](Params& p) { p.niter = 1; },
      [](Params& p) { p.tol = 1e9; },
  };
  for (const bool verified : {false, true}) {
    const Environment check("FASTKMEANS_VERIFY", verified ? "1" : "0");
    for (const Change& change : changes) {
      SCOPED_TRACE(std::to_string(&change - changes) + (verified ? " verified" : ""));
      Params params = params_of(37, 4, -1);
      change(params);
      params.execution = on("scalar");
      Result expected = fit(x.view(), params);
      params.execution = on(Path{"cuda", ""});
      const GuardedRoom<float> centroids(device, params.k * x.cols);
      const GuardedRoom<std::int64_t> labels(device, x.rows);
      params.on_device = {centroids.data(), labels.data()};
      Result got = fit(on_device, params);
      EXPECT_TRUE(got.centroids.empty() && got.labels.empty());
      EXPECT_EQ(got.iterations.at(0).filter.isa, "cuda");
      got.centroids = centroids.values();
      const std::vector<std::int64_t> found = labels.values();
      if (params.labels)
        got.labels = found;
      else
        EXPECT_EQ(found, std::vector<std::int64_t>(found.size(), 77));
      expect_same(got, expected);
    }
  }
}

TEST_F(CudaFits, NoRowsLeaveNoLabelsOnTheDevice) {
  Workers workers(1, {});
  cuda::Device device(0, on(Path{"cuda", ""}), workers);
  const GuardedRoom<float> centroids(device, 6);
  const GuardedRoom<std::int64_t> labels(device, 0);
  MatrixView none(centroids.data(), 0, 3);
  none.cuda_device = 0;
  Params params = params_of(2, 3, -1);
  params.allow_fewer_rows = true;
  params.execution = on(Path{"cuda", ""});
  params.on_device = {centroids.data(), labels.data()};
  EXPECT_EQ(fit(none, params).n_empty, 2);
  EXPECT_EQ(centroids.values(), std::vector<float>(6));
  EXPECT_TRUE(labels.values().empty());
}

}  // namespace
}  // namespace fastkmeans::testing

#endif
