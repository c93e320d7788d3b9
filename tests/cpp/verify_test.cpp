// SPDX-License-Identifier: Apache-2.0
// FASTKMEANS_VERIFY=1 finds a shard that is wrong, and is content with those that are right.
#include "verify.hpp"

#include <typeindex>

#include "host/host_shard.hpp"
#include "testing.hpp"

namespace fastkmeans::testing {
namespace {

// Labels every row with its nearest centroid, as the oracle does, but for one mistake.
class Mistaken final : public HostShard {
 public:
  enum Mistake { none, label, distance };
  Mistaken(const Source& rows, Workers& workers, const Matrix& centroids, Mistake mistake)
      : HostShard(rows, euclidean(), workers),
        truth_(testing::assign(on("scalar"), rows.batch(0, rows.rows()), centroids)),
        mistake_(mistake) {}
  Statistics statistics() override { return {}; }

 protected:
  void forget() override {}
  Assigned assign_rows(CentroidsView, const std::int32_t*, bool, std::int32_t* labels, float* distances) override {
    std::copy(truth_.labels.begin(), truth_.labels.end(), labels);
    std::copy(truth_.distances.begin(), truth_.distances.end(), distances);
    if (mistake_ == label) labels[2] ^= 1;
    if (mistake_ == distance) distances[2] = std::nextafter(distances[2], 0.0f);
    Assigned assigned;
    assigned.filter.filter = "some_filter";
    assigned.filter.isa = "some_isa";
    return assigned;
  }
  void accumulate_rows(const std::int32_t*, const std::int32_t*, const FixedPoint&, Sums&) override {}
  void center_shifts(CentroidsView, CentroidsView, float*) override {}
  void lower_rows(CentroidsView, bool, float*) override {}

 private:
  Assignment truth_;
  Mistake mistake_;
};

TEST(VerifyNoOracle, NamesWhatIsWrong) {
  const Matrix x(3, 1, {1, 2, 30}), centroids(2, 1, {0, 25});
  const HostArray rows(x.view(), 100);
  const auto assign = [&](Mistaken::Mistake mistake) {
    Workers workers(2, {});
    const auto shard =
        verified(std::make_unique<Mistaken>(rows, workers, centroids, mistake), rows, euclidean(), workers);
    shard->start_run(centroids.values);
    shard->assign(false);
  };
  EXPECT_NO_THROW(assign(Mistaken::none));
  expect_contains(message_of<std::runtime_error>([&] { assign(Mistaken::label); }),
                  {"row 102", "label 0 (D = 25)", "label 1 (D = 25)", "some_filter", "some_isa"});
  expect_contains(message_of<std::runtime_error>([&] { assign(Mistaken::distance); }),
                  {"row 102", "label 1 (D = 24.99", "label 1 (D = 25)"});
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
