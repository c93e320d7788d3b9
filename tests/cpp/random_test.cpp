// SPDX-License-Identifier: Apache-2.0
#include "numeric/random.hpp"

#include "testing.hpp"

namespace fastkmeans {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Random123's file kat_vectors, philox4x32 with 10 rounds.
TEST(PhiloxNoOracle, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxNoOracle, RowKeyPutsEachArgumentInItsPlace) {
  EXPECT_EQ(row_key(0, 0, Purpose::sample, 0), 0xe169c58d6627e8d5u);
  const std::uint64_t seed = 0x299f31d0a4093822, row = 0x85a308d3243f6a88;
  const auto r = philox({0x243f6a88, 0x85a308d3, 1, 5}, {0xa4093822, 0x299f31d0});
  EXPECT_EQ(row_key(seed, row, Purpose::initial_centroids, 5), r[0] | std::uint64_t{r[1]} << 32);
}

}  // namespace
}  // namespace fastkmeans
