// SPDX-License-Identifier: Apache-2.0
// The time that a fit may take.
#pragma once

#include <chrono>

#include "runtime/reducer.hpp"

namespace fastkmeans {

class Deadline {
 public:
  // From now on; seconds: 0 for any time.
  explicit Deadline(double seconds) : seconds_(seconds) {}

  // The same on every shard: over for one is over for all.
  bool is_over(Reducer& reducer) const {
    if (seconds_ == 0) return false;
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    return sum_over_shards(taken.count() >= seconds_, reducer) > 0;  // mutant: deadline_of_all_shards
  }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace fastkmeans
