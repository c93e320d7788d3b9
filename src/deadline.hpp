// SPDX-License-Identifier: Apache-2.0
// The time that a fit may take.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

#include "runtime/reducer.hpp"

namespace fastkmeans {

class Deadline {
 public:
  // From now on; seconds: 0 for any time.
  explicit Deadline(double seconds) : seconds_(seconds) {}

  // The same on every shard: over for one is over for all.
  bool is_over(Reducer& reducer) const {
    if (seconds_ == 0) return false;
    return sum_over_shards(taken() >= seconds_, reducer) > 0;  // mutant: deadline_of_all_shards
  }

  // What is left for another deadline that begins now: 0 for any time, else above 0.
  double left() const {
    if (seconds_ == 0) return 0;
    return std::max(seconds_ - taken(), std::numeric_limits<double>::min());  // mutant: no_time_left
  }

 private:
  double taken() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace fastkmeans
