// SPDX-License-Identifier: Apache-2.0
#include "plan/history.hpp"

namespace fastkmeans {

void History::note(const Outcome& outcome) {
  ++calls_;
  changed_ = outcome.changed;
  if (outcome.gave_up) filters_.begin(calls_);  // mutant: rest_after_giving_up
  if (outcome.scored < 1 && outcome.scored > outcome.most_scored) bounds_.begin(calls_);  // mutant: rest_of_bounds
}

}  // namespace fastkmeans
