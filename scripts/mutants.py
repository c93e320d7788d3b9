# SPDX-License-Identifier: Apache-2.0
"""The rules that scripts/mutation_check.py breaks, one at a time: a file, a text in it, and what it becomes."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    # Why no input can show this change, if so: the text must still be there, but nothing is run.
    harmless: str = ""


BOUND, ASSIGN, PREPARE = "src/sketch/bound.hpp", "src/cpu/assign.cpp", "src/cpu/prepare.cpp"
ASSIGNMENTS, KERNELS, SIMD = "src/cpu/assignments.cpp", "src/cpu/kernels_inl.hpp", "src/cpu/simd.hpp"
KERNELS_H = "src/cpu/kernels.hpp"
SKETCH, ROTATION, PLAN, PLAN_H = "src/cpu/sketch_inl.hpp", "src/sketch/rotation.cpp", "src/plan/plan.cpp", "src/plan/plan.hpp"
DRIFT, DRIFT_H, GIVE_UP = "src/cpu/drift.cpp", "src/cpu/drift.hpp", "src/cpu/assign.hpp"
NARROW, NARROW_KERNELS = "src/cpu/narrow.cpp", "src/cpu/narrow_inl.hpp"
FINALIZE, LLOYD, FIT, SAMPLE = "src/finalize.cpp", "src/lloyd.cpp", "src/fit.cpp", "src/source/sample.cpp"
FIXED, SUM, WORKERS, FP_STATE = "src/numeric/fixed_point.cpp", "src/numeric/exact_sum.hpp", "src/runtime/workers.cpp", "src/numeric/fp_state.hpp"

# Notation of the reasons: u = 2^-24, m = ceil(d / 32), A = |a|, N = |b|^2 / 2, R the true distance, L the levels of a
# sketch, K its size.
# What a term leaves over when all others are at their worst, against what the deleted term is there for:
#  - scores: gamma counts d + 2 roundings. With fma at most d touch a term, without at most d + 1. So at least
#    u (N + A |b|) <= u A^2 / 2 + 2 u N is left over, u A^2 / 2 of it in the threshold and 2 u N in the start value.
#  - D: two roundings of t^2 through t, m of the chain, 5 of the tree: m + 7; g is 1.01 (m + 8): 1.08 u R^2 / 2 is left.
#  - centring, delta = u: needs u R A in q^2, u R^2 / 2 for (1 + delta), and u N in the start value.
# Not in the list: parts of an int8 error that the others hide, though nobody has proved that they always do. The sums'
# rounding and 2^-130 in Sketcher::bound are such. Rotation, quantisation and centring are broken together.
MUTANTS = [
    # The filter's bound.
    Mutant("no score rounding in the start value", BOUND, "(1 - 2 * score_rounding_ - kFp64Slack)", "(1 - kFp64Slack)"),
    Mutant(
        "half the score rounding in the start value",
        BOUND,
        "(1 - 2 * score_rounding_ - kFp64Slack)",
        "(1 - 0.4 * score_rounding_ - kFp64Slack)",
    ),
    Mutant("no score rounding in the threshold", BOUND, " - (1 + kFp64Slack) * score_rounding_ * v.sq_norm", ""),
    Mutant(
        "no rounding of D in the threshold",
        BOUND,
        "distance_rounding_(1 + distance_rounding(d))",
        "distance_rounding_(1)",
    ),
    Mutant(
        "no underflow, neither of D nor of scores",
        BOUND,
        "distance_underflow_(static_cast<double>(d) * 0x1p-148),\n"
        "        score_rounding_(roundings * kUnitRoundoff / (1 - roundings * kUnitRoundoff)),\n"
        "        score_underflow_(underflow),",
        "distance_underflow_(underflow * 0),\n"
        "        score_rounding_(roundings * kUnitRoundoff / (1 - roundings * kUnitRoundoff)),\n"
        "        score_underflow_(0),",
    ),
    Mutant(
        "no underflow of D",
        BOUND,
        "distance_underflow_(static_cast<double>(d) * 0x1p-148)",
        "distance_underflow_(0)",
        "in the threshold D needs d 2^-151 and scores d 2^-149, and s has d 2^-148; bounds lose s twice",
    ),
    Mutant("score counted as one rounding", BOUND, "{d, static_cast<double>(d) + 2, ", "{d, 2, "),
    Mutant("int8: no rounding of the score", BOUND, "{d, 4, 0x1p-120, split}", "{d, 0, 0x1p-120, split}"),
    Mutant("int8: no underflow of the score", BOUND, "{d, 4, 0x1p-120, split}", "{d, 4, 0, split}"),
    Mutant(
        "threshold of a smaller distance",
        BOUND,
        "static_cast<double>(distance) * distance_rounding_",
        "0.99 * static_cast<double>(distance)",
    ),
    Mutant("no error of the centroid", BOUND, " - error * (1 + score_rounding_ + kFp64Slack)", ""),
    Mutant("centroid's error without its split", BOUND, "w.error * w.error * (1 + 1 / split_)", "w.error * w.error"),
    Mutant("no error of the row", BOUND, "radius + static_cast<double>(point.reach)", "radius"),
    Mutant("threshold without its split", BOUND, "(1 + split_) * reach * reach", "reach * reach"),
    Mutant("bound without its split", BOUND, "1 / ((1 + 2 * kFp64Slack) * (1 + split_))", "1 / (1 + 2 * kFp64Slack)"),
    Mutant(
        "threshold of -infinity",
        BOUND,
        "std::max(std::numeric_limits<float>::lowest(), round_down(least))",
        "round_down(least)",
    ),
    Mutant(
        "no centring at all",
        BOUND,
        "kCentring = 1.01 * kUnitRoundoff",
        "kCentring = 0x1p-60",
        "fp32: needs u R A + u R |b| <= 0.75 u R^2 / 2 + 2 u A^2 / 2 + 4 u N (weights 1/2 and 1/4); with fma, d "
        "roundings a score, twice the above is left over by gamma, and 1.08 u R^2 / 2 by g. Without fma one rounding "
        "less is left: then the sum is short by 0.42 u R^2 / 2, if every rounding of D and of the score were at its "
        "worst at once; no such input is known (the worst D known, RoundingOfD, leaves 9 u R^2 / 2). int8: the "
        "rotation's share of the error is 7 u A or more",
    ),
    Mutant(
        "fp64 slack",
        BOUND,
        "kFp64Slack = 0x1p-30",
        "kFp64Slack = 0",
        "fp64 sums are right to 2^-33; 2^-24 (N and A^2 / 2) is left over by gamma",
    ),
    Mutant(
        "threshold to nearest",
        BOUND,
        "std::max(std::numeric_limits<float>::lowest(), round_down(least))",
        "std::max(std::numeric_limits<float>::lowest(), static_cast<float>(least))",
        "u |T| <= u (A^2 + R^2) / 2: left over by gamma and g, as for centring",
    ),
    Mutant(
        "start value to nearest",
        BOUND,
        "return round_up(-0.5 *",
        "return static_cast<float>(-0.5 *",
        "u N is needed, 2 u N is left over by gamma",
    ),
    Mutant(
        "scores equal to the threshold dropped",
        ASSIGN,
        "if (scores[best] < thresholds_[s]) return;",
        "if (scores[best] <= thresholds_[s]) return;",
        "a score of a centroid with D <= U is above the threshold, never equal: score_underflow_ is twice the need",
    ),
    # Sketches.
    Mutant(
        "no roundings in the error",
        PREPARE,
        "error + (rounding_ + kCentring) * length + Rotation::kUnderflow",
        "error",
    ),
    Mutant("quantisation takes no error", SKETCH, "out.sq_error = sum_lanes(sq_error);", "out.sq_error = 0;"),
    Mutant("tiny rows are quantised", SKETCH, "most >= 0x1p-100f", "most > 0"),
    Mutant("huge rows are quantised", SKETCH, "most <= 0x1p55f", "true"),
    Mutant("rotation said to be exact", ROTATION, "return 1.02 * roundings * kUnitRoundoff;", "return 0 * roundings;"),
    Mutant("one round of rotation", ROTATION, "round < (blocks.size() > 1 ? 2u : 1u)", "round < 1u"),
    Mutant("rotation without signs", ROTATION, "& 1 ? factor : -factor", "& 0 ? -factor : factor"),
    Mutant("AVX2: sums of products saturate", SIMD, "kSketchLevels = 63;", "kSketchLevels = 65;"),
    # Drift bounds.
    Mutant(
        "bound without the row's error", KERNELS, "root(square) * kDown - load(reaches + i)", "root(square) * kDown"
    ),
    Mutant(
        "bound without the underflow",
        KERNELS,
        "((load(heads + i) - (b + b)) - underflow)",
        "(load(heads + i) - (b + b))",
    ),
    Mutant("bound and drift rounded up", KERNELS, "(radius + drift) * kDownAgain", "(radius + drift) * (1 + 0x1p-22f)"),
    Mutant("bound and drift to nearest", KERNELS, "(radius + drift) * kDownAgain", "radius + drift"),
    Mutant("radius not rounded down", KERNELS, "root(square) * kDown - ", "root(square) - "),
    Mutant(
        "radius compared as it is",
        DRIFT_H,
        "round_up(radius * (1 + 0x1p-20))",
        "round_up(radius)",
        "kDown takes 16 u off the root and needs 2.5 u of it; one more is needed, for least - drift",
    ),
    Mutant("drift not taken off", KERNELS, "load(least + i) - broadcast(drift)", "load(least + i)"),
    Mutant("drift to nearest", DRIFT, "drift_[g] = round_up(", "drift_[g] = static_cast<float>("),
    Mutant(
        "drift of the last move alone",
        DRIFT,
        "(static_cast<double>(drift_[g]) + std::sqrt(most))",
        "std::sqrt(most)",
    ),
    Mutant("drift of the last member", DRIFT, "most = std::max(most, squared_distance(", "most = (squared_distance("),
    Mutant(
        "drift from where they began",
        DRIFT,
        "  std::copy(centroids.values, centroids.values + centroids.k * centroids.d, centroids_.begin());\n",
        "",
    ),
    Mutant(
        "groups in no order",
        DRIFT,
        "  bisect(centroids, order_.data(), centroids.k, panel_width, keyed, workers);\n",
        "",
    ),
    Mutant("short tiles have as many bounds", DRIFT, "bytes * tile_rows / stride_ / 4", "bytes / 4"),
    Mutant(
        "the last tile is as long as others",
        DRIFT,
        "last_stride_(padded(rows",
        "last_stride_(padded(tile_rows + 0 * rows",
    ),
    Mutant("copies have a bound", ASSIGN, "copy = copy || centroids.has_copy", "copy = copy && centroids.has_copy"),
    Mutant(
        "bound of a group's last panel",
        ASSIGN,
        "panel == begin || best_[s] > group_best_[s] ? best_[s] : group_best_[s]",
        "best_[s]",
    ),
    Mutant(
        "bounds of gathered rows stay gathered",
        ASSIGN,
        "least[chosen_[static_cast<std::size_t>(i)]] = least_",
        "least[static_cast<std::size_t>(i)] = least_",
    ),
    Mutant("hits of gathered rows stay gathered", ASSIGN, "if (!dense) hit.row = ", "if (dense) hit.row = "),
    Mutant(
        "gathered rows keep their first thresholds",
        ASSIGN,
        "if (panel > begin && !dense)",
        "if (false)",
        "costs time, not bits: a threshold only rises, and an old one drops too little",
    ),
    Mutant(
        "rows that take no part pass",
        ASSIGN,
        "kNonePasses = std::numeric_limits<float>::quiet_NaN()",
        "kNonePasses = std::numeric_limits<float>::infinity()",
    ),
    Mutant("what is known is of any rows", ASSIGNMENTS, "known_->data == x.data && ", ""),
    Mutant(
        "bounds of another number of centroids",
        DRIFT_H,
        " && centroids.k == static_cast<std::int64_t>(order_.size())",
        " && centroids.k > 0",
    ),
    # The planner, and giving up.
    Mutant("int8 beyond its size", PLAN, "(wanted_.filter == Filter::int8 && work.size > kLargestSketch)", "false"),
    Mutant("tiny data has any filter", PLAN, "if (work.tiny || ", "if ("),
    Mutant("no rest after giving up", PLAN_H, "until = now + length;", "until = 0 * now;"),
    Mutant("rests are all short", PLAN_H, "      length *= 2;\n", ""),
    Mutant("bounds for few groups", PLAN, "groups >= kFewestGroups && ", ""),
    Mutant("bounds whatever they cost", PLAN, "with < kWorthwhile * cost", "true"),
    Mutant("a new run is calm", PLAN, "  if (work.first) changed_ = 1;\n", ""),
    Mutant(
        "tiles after giving up are lost",
        GIVE_UP,
        "(task.x.rows + task.tile_rows - 1) / task.tile_rows)) {}",
        "(task.x.rows + task.tile_rows - 1) / task.tile_rows), 1) {}",
    ),
    Mutant("a tile that gave up is lost", GIVE_UP, "if (finished) done_[", "done_["),
    Mutant("work that was given up counts", ASSIGN, "if (finished) return add(tile);", "if (true) return add(tile);"),
    Mutant("nobody says what was given up", ASSIGNMENTS, "name_of(plan.filter, gave_up)", "name_of(plan.filter)"),
    Mutant("rows of another scale are counted", ASSIGN, "(dense ? taking_part_ : chosen)", "(dense ? size_ : chosen)"),
    Mutant(
        "places that fill a panel are counted",
        ASSIGN,
        "std::min(end * task_.kernels.panel_width, centroids.k) -",
        "end * task_.kernels.panel_width -",
    ),
    Mutant(
        "nothing is given up",
        GIVE_UP,
        "task_.most_refined * begun) given_up_ = true;",
        "task_.most_refined * begun) given_up_ = false;",
    ),
    # The narrow filter.
    Mutant(
        "the second best is never near", NARROW, "} else if (!(second_[s] < thresholds_[s])) {", "} else if (false) {"
    ),
    Mutant("narrow: ties to the last", NARROW, "if (c == 0 || d < distances_[s])", "if (c == 0 || d <= distances_[s])"),
    Mutant(
        "second best of the first centroids",
        NARROW_KERNELS,
        "second[v] = lower > second[v] ? lower : second[v];",
        "second[v] = c < 4 && lower > second[v] ? lower : second[v];",
    ),
    # Filter and refine.
    Mutant("no tie rule", ASSIGN, "d == distances_[s] && c < labels_[s]", "false"),
    Mutant("ties to the last seen", ASSIGN, "d == distances_[s] && c < labels_[s]", "d == distances_[s]"),
    Mutant("only the best score is refined", ASSIGN, "hit.passed &= ~(std::uint32_t{1} << best);", "hit.passed = 0;"),
    Mutant(
        "copies: the lower one is dropped",
        PREPARE,
        "const std::int32_t slot = slot_of[static_cast<std::size_t>(c)];",
        "const std::int32_t slot = slot_of[static_cast<std::size_t>(seen->second)];",
    ),
    Mutant(
        "equal hashes taken for copies of all",
        PREPARE,
        "if (added || std::memcmp(row(seen->second), row(c)",
        "if (added || std::memcmp(row(c), row(c)",
        "rows of equal hashes are equal but for the sign of zeros, which changes no D; collisions are not to be had",
    ),
    Mutant(
        "all are taken for copies",
        PREPARE,
        "if (added || std::memcmp(row(seen->second), row(c)",
        "if ((added && c == 0) || std::memcmp(row(c), row(c)",
    ),
    Mutant(
        "copies stay in the filter",
        PREPARE,
        "if (added || std::memcmp(row(seen->second), row(c)",
        "if (true || std::memcmp(row(seen->second), row(c)",
        "costs time, not bits: ties go to the lower index anyway",
    ),
    Mutant(
        "points are not centred, centroids are",
        KERNELS,
        "lane[l] += static_cast<double>(a) * static_cast<double>(a);",
        "lane[l] += static_cast<double>(row[j + l]) * static_cast<double>(row[j + l]);",
    ),
    Mutant("no second preparation for tiny data", ASSIGNMENTS, "tiny ? &scaled_ : nullptr", "nullptr"),
    Mutant(
        "scaled rows not marked",
        ASSIGN,
        "store_distance(distances_[s], scaled)",
        "store_distance(distances_[s], false)",
    ),
    Mutant(
        "tiny limit off by one",
        ASSIGNMENTS,
        "centroids.k * centroids.d) < magnitude_bits(kTinyBelow)",
        "centroids.k * centroids.d) <= magnitude_bits(kTinyBelow)",
    ),
    # D.
    Mutant(
        "tree from the other end",
        KERNELS,
        "lane[v] = lane[v] + lane[v + half];",
        "lane[v] = lane[v] + lane[2 * half - 1 - v];",
    ),
    Mutant("emulated fma without its sticky bit", SIMD, "bits += even & (error < 0.0);", ""),
    Mutant("emulated fma rounds twice", SIMD, "bits -= even & (error > 0.0);", ""),
    # Sums.
    Mutant("no second limb", FIXED, "  if (any) lo_inverse = std::move(lo);", ""),
    Mutant("second limb later", FIXED, "0x1p-26 *", "0x1p-25 *"),
    Mutant("one bit too many", FIXED, "62 - static_cast<int>", "63 - static_cast<int>"),
    Mutant("grain rounded towards zero", FIXED, "const double units = std::rint(", "const double units = std::trunc("),
    Mutant("inertia: half-way always up", SUM, "(rest != 0 || (kept & 1))", "true"),
    Mutant("inertia: half-way always down", SUM, "(rest != 0 || (kept & 1))", "rest != 0"),
    Mutant("inertia: tail forgotten", SUM, "rest |= digit(i);", "rest |= 0;"),
    Mutant(
        "inertia: scaled rows count in full",
        SUM,
        "auto& bins = bins_[std::bit_cast<std::uint32_t>(stored) >> 31];",
        "auto& bins = bins_[0];",
    ),
    # Empty clusters.
    Mutant(
        "farthest row: the highest on ties",
        FINALIZE,
        "if (distance > donor.farthest)",
        "if (distance >= donor.farthest)",
    ),
    Mutant("donors: the highest index on ties", FINALIZE, "ia != ib ? ia > ib : a < b", "ia != ib ? ia > ib : a > b"),
    Mutant("donors: the least inertia first", FINALIZE, "ia != ib ? ia > ib : a < b", "ia != ib ? ia < ib : a < b"),
    Mutant("a cluster gives its only row", FINALIZE, "count >= 2 &&", "count >= 1 &&"),
    Mutant("rows on their centroid are given", FINALIZE, ".farthest > 0) order", ".farthest >= 0) order"),
    Mutant(
        "shift as a chain",
        FINALIZE,
        "level[i] = level[2 * i] + level[2 * i + 1]",
        "level[i] = level[i] + level[i + size]",
    ),
    # Loop and choice.
    Mutant(
        "settled in spite of relocation",
        LLOYD,
        "stats.changed == 0 && stats.relocated == 0",
        "stats.changed == 0 || stats.relocated == 0",
    ),
    Mutant("tol reached counts as below", LLOYD, "stats.shift < params.tol", "stats.shift <= params.tol"),
    Mutant("no rows are a row", FIT, "  if (x.rows == 0) return {};\n", ""),
    Mutant("nredo: ties to the last", FIT, "run.inertia < best.inertia", "run.inertia <= best.inertia"),
    Mutant("nredo goes on after a stop", FIT, "best.stopped = stopped;", "best.stopped = false;"),
    Mutant(
        "minus zero is another row",
        "src/numeric/row_hash.hpp",
        "std::bit_cast<std::uint32_t>(row[j] + 0.0f)",
        "std::bit_cast<std::uint32_t>(row[j])",
    ),
    Mutant(
        "equal rows are taken",
        SAMPLE,
        "if (distinct.add(row, centroids.data(), taken))",
        "if (distinct.add(row, centroids.data(), taken) || true)",
    ),
    Mutant(
        "sample: not the smallest",
        SAMPLE,
        "  std::nth_element(chosen.begin(), chosen.begin() + (m - 1), chosen.end());\n",
        "",
    ),
    # Threads.
    Mutant(
        "threads keep the caller's floating-point mode",
        FP_STATE,
        "callers_(get()) { set(kOurs); }",
        "callers_(get()) {}",
    ),
    Mutant("the caller's mode is not restored", FP_STATE, "~FpState() { set(callers_); }", "~FpState() {}"),
    Mutant("callbacks run in our mode", FP_STATE, "state_(state) { set(state.callers_); }", "state_(state) {}"),
    Mutant(
        "callbacks leave their mode to us",
        FP_STATE,
        "state_.callers_ = get();\n      set(kOurs);",
        "state_.callers_ = get();",
    ),
    Mutant("pool threads keep their mode", WORKERS, "    const FpState fp_state;\n", ""),
    Mutant("a failure does not end the other seats", WORKERS, "      stop_ = true;\n", ""),
    Mutant("calls share their threads", WORKERS, "wanted_ += job.seats;", "wanted_ = std::max(wanted_, job.seats);"),
    Mutant("threads without work stay", WORKERS, "kIdle = std::chrono::seconds(2)", "kIdle = std::chrono::hours(1)"),
    Mutant("any number of threads", WORKERS, "std::max(os::usable_cpus(), kAlwaysAllowed)", "kMostThreads"),
    # Rows where they lie.
    Mutant("slices are read as wide as they are stored", KERNELS, "d == ld && col_stride == 4", "col_stride == 4"),
    Mutant("rows misaligned by their stride are read in place", KERNELS_H, "x.row_stride % kAligned != 0 ||", ""),
    Mutant(
        "rows of a misaligned array are read in place",
        KERNELS_H,
        "      reinterpret_cast<std::uintptr_t>(x.data) % kAligned != 0)",
        "      false)",
    ),
    Mutant("a child uses its parent's pool", WORKERS, "current_pool.store(nullptr);", ""),
]
