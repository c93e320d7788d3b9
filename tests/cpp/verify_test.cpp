// SPDX-License-Identifier: Apache-2.0
// FASTKMEANS_VERIFY=1 finds a shard that is wrong, and is content with those that are right.
#include "verify.hpp"

#include <limits>
#include <typeindex>

#include "host/host_shard.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Gives the labels and distances that it was told to give.
class Told final : public HostShard {
 public:
  Told(const Source& rows, const Metric& metric, Workers& workers, std::vector<std::int32_t> labels,
       std::vector<float> distances)
      : HostShard(rows, metric, workers),
        workers_(workers),
        told_labels_(std::move(labels)),
        told_distances_(std::move(distances)) {}
  Statistics statistics() override { return {}; }
  // One that gives the same.
  std::unique_ptr<Shard> beside(const Source& rows) override {
    return std::make_unique<Told>(rows, euclidean(), workers_, told_labels_, told_distances_);
  }

 protected:
  void forget() override {}
  Assigned assign_rows(CentroidsView, const std::int32_t*, bool, std::int32_t* labels, float* distances) override {
    std::copy(told_labels_.begin(), told_labels_.end(), labels);
    std::copy(told_distances_.begin(), told_distances_.end(), distances);
    Assigned assigned;
    assigned.filter.filter = "some_filter";
    assigned.filter.isa = "some_isa";
    return assigned;
  }
  void accumulate_rows(const std::int32_t*, const std::int32_t*, const FixedPoint&, Sums&) override {}
  void center_shifts(CentroidsView, CentroidsView, float*) override {}
  void own_losses(float*) override {}
  void lower_rows(CentroidsView, bool, float*) override {}
  std::vector<Mass> masses_of(CentroidsView, int, const float*) override { return {}; }

 private:
  Workers& workers_;
  std::vector<std::int32_t> told_labels_;
  std::vector<float> told_distances_;
};

void verify(const Source& rows, const Metric& metric, const Matrix& centroids, std::vector<std::int32_t> labels,
            std::vector<float> distances) {
  Workers workers(2, {});
  auto told = std::make_unique<Told>(rows, metric, workers, std::move(labels), std::move(distances));
  const auto shard = verified(std::move(told), rows, metric, workers);
  shard->start_run({centroids.values});
  shard->assign(false);
}

TEST(VerifyNoOracle, NamesWhatIsWrong) {
  const Matrix x(3, 1, {1, 2, 30}), centroids(2, 1, {0, 25});
  const HostArray rows(x.view(), 100);
  EXPECT_NO_THROW(verify(rows, euclidean(), centroids, {0, 0, 1}, {1, 4, 25}));
  expect_contains(message_of<std::runtime_error>([&] {
                    verify(rows, euclidean(), centroids, {0, 0, 0}, {1, 4, 25});
                  }),
                  {"row 102", "label 0 (D = 25)", "label 1 (D = 25)", "some_filter", "some_isa"});
  const float less = std::nextafter(25.0f, 0.0f);
  expect_contains(message_of<std::runtime_error>([&] {
                    verify(rows, euclidean(), centroids, {0, 0, 1}, {1, 4, less});
                  }),
                  {"row 102", "label 1 (D = 24.99", "label 1 (D = 25)"});
}

TEST(VerifyNoOracle, AShardBesideIsVerifiedToo) {
  const Matrix x(3, 1, {1, 2, 30}), centroids(2, 1, {0, 25});
  const HostArray rows(x.view());
  Workers workers(2, {});
  const auto assign_beside = [&](std::vector<std::int32_t> labels, std::vector<float> distances) {
    auto told = std::make_unique<Told>(rows, euclidean(), workers, std::move(labels), std::move(distances));
    const auto beside = verified(std::move(told), rows, euclidean(), workers)->beside(rows);
    beside->start_run({centroids.values});
    beside->assign(false);
  };
  EXPECT_NO_THROW(assign_beside({0, 0, 1}, {1, 4, 25}));
  EXPECT_THROW(assign_beside({0, 0, 0}, {1, 4, 25}), std::runtime_error);
}

TEST(VerifyNoOracle, OnlyIfTheEnvironmentAsks) {
  const Matrix x(3, 1, {1, 2, 30});
  const HostArray rows(x.view());
  Workers workers(1, {});
  const Execution execution;
  const auto kind = [&](const char* value) {
    const Environment verify("FASTKMEANS_VERIFY", value);
    const auto shard = make_shard(rows, euclidean(), execution, workers);
    const Shard& made = *shard;
    return std::type_index(typeid(made));
  };
  EXPECT_EQ(kind(nullptr), kind("0"));
  EXPECT_NE(kind(nullptr), kind("1"));
}

// Rows as the metric takes them; bad ones are left to the check of rows.
TEST(VerifyNoOracle, RowsOfTheMetric) {
  const Matrix x(3, 2, {3, 0, std::numeric_limits<float>::quiet_NaN(), 1, 0, 0.5f}), centroids(2, 2, {1, 0, 0, 1});
  EXPECT_NO_THROW(verify(HostArray(x.view()), spherical(), centroids, {0, 0, 1}, {0, 0, 0}));
}

TEST(Verify, EveryPathIsRight) {
  const Environment verify("FASTKMEANS_VERIFY", "1");
  Random random(220);
  for (const Kind kind : kKinds) {
    const Matrix x = random_rows(kind, 300, 20, random);
    for (const Path& path : kernel_paths(true)) {
      Params params;
      params.k = 20;
      params.niter = 5;
      params.execution = on(path, 2);
      EXPECT_NO_THROW(fit(x.view(), params)) << path;
    }
  }
}

}  // namespace
}  // namespace fastkmeans::testing
