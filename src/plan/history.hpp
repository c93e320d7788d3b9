// SPDX-License-Identifier: Apache-2.0
// What the assignments of a fit came to so far, as far as the next plan needs it.
#pragma once

namespace fastkmeans {

// What came of one assignment.
struct Outcome {
  double changed;       // share of the rows whose label changed
  double scored;        // share of the pairs that were scored, though there were bounds; 0: there were none
  double most_scored;   // the plan's limit on it
  bool gave_up;         // the plan's limit on distances was reached
  bool narrow = false;  // by narrow sketches, not by a filter of all dimensions
};

class History {
 public:
  void note(const Outcome& outcome) {
    ++calls_;
    changed_ = outcome.changed;
    if (outcome.gave_up) (outcome.narrow ? narrow_ : filters_).begin(calls_);  // mutant: rest_after_giving_up
    // A single bad assignment is often one in which many centroids moved far: what it learned serves the next.
    const bool poor = outcome.scored > outcome.most_scored;  // mutant: rest_of_bounds
    if (poor && poor_) bounds_.begin(calls_);                // mutant: rest_after_two
    poor_ = poor;
  }

  // Share of the rows whose label changed last; 1 before the first assignment.
  double changed() const { return changed_; }
  // Attempts that failed are repeated after longer and longer rests: as the centroids settle, bounds exclude more.
  // Filters with a limit on distances and bounds rest apart.
  bool filters_rest() const { return calls_ < filters_.until; }
  bool narrow_rests() const { return calls_ < narrow_.until; }
  bool bounds_rest() const { return calls_ < bounds_.until; }

 private:
  struct Rest {
    int until, length;
    void begin(int now) {
      until = now + length;  // mutant: rest
      length *= 2;           // mutant: rest_grows
    }
  };

  int calls_ = 0;
  bool poor_ = false;  // bounds saved too little in the last assignment
  double changed_ = 1;
  Rest filters_{0, 1}, narrow_{0, 1}, bounds_{0, 4};
};

}  // namespace fastkmeans
