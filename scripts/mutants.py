# SPDX-License-Identifier: Apache-2.0
"""The rules that scripts/mutation_check.py breaks, one at a time.

The line of a rule carries its name, at its end or on the line above: `// mutant: tie_rule`. Here is what to break in
it. Lines may move between files, and change around the fragment.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    rule: str  # one marker in src/; a rule may be broken in several ways
    fragment: str  # once in the marked line
    new: str
    # Why no input can show this change, if so: the fragment must still be there, but nothing is run.
    harmless: str = ""


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
    Mutant("start_value", "2 * score_rounding_ - ", ""),
    Mutant("start_value", "2 * score_rounding_", "0.4 * score_rounding_"),
    Mutant("start_value", " - error * (1 + score_rounding_ + kFp64Slack)", ""),
    Mutant(
        "start_value_up",
        "round_up",
        "static_cast<float>",
        "u N is needed, 2 u N is left over by gamma",
    ),
    Mutant("point_head", " - (1 + kFp64Slack) * score_rounding_ * v.sq_norm", ""),
    Mutant("distance_rounding", "1 + distance_rounding(d)", "1"),
    Mutant(
        "distance_underflow",
        "static_cast<double>(d) * 0x1p-148",
        "0",
        "in the threshold D needs d 2^-151 and scores d 2^-149, and s has d 2^-148; bounds lose s twice",
    ),
    Mutant("score_roundings", "static_cast<double>(d) + 2, ", "2, "),
    Mutant("sketch_score", "{d, 4, ", "{d, 0, "),
    Mutant("sketch_score", "0x1p-120", "0"),
    Mutant("radius", "static_cast<double>(distance) * distance_rounding_", "0.99 * static_cast<double>(distance)"),
    Mutant("centroid_error_split", " * (1 + 1 / split_)", ""),
    Mutant("row_error", " + static_cast<double>(point.error)", ""),
    Mutant("threshold", "(1 + split_) * ", ""),
    # Neither the underflow of D nor that of scores: each covers the other's need (see distance_underflow).
    Mutant("threshold", "apart * apart) - score_underflow_", "(apart * apart - distance_underflow_))"),
    Mutant("bound_split", " * (1 + split_)", ""),
    Mutant("threshold_down", "std::max(std::numeric_limits<float>::lowest(), round_down(least))", "round_down(least)"),
    Mutant(
        "threshold_down",
        "round_down",
        "static_cast<float>",
        "u |T| <= u (A^2 + R^2) / 2: left over by gamma and g, as for centring",
    ),
    Mutant(
        "centring",
        "1.01 * kUnitRoundoff",
        "0x1p-60",
        "fp32: needs u R A + u R |b| <= 0.75 u R^2 / 2 + 2 u A^2 / 2 + 4 u N (weights 1/2 and 1/4); with fma, d "
        "roundings a score, twice the above is left over by gamma, and 1.08 u R^2 / 2 by g. Without fma one rounding "
        "less is left: then the sum is short by 0.42 u R^2 / 2, if every rounding of D and of the score were at its "
        "worst at once; no such input is known (the worst D known, RoundingOfD, leaves 9 u R^2 / 2). int8: the "
        "rotation's share of the error is 7 u A or more",
    ),
    Mutant(
        "fp64_slack",
        "0x1p-30",
        "0",
        "fp64 sums are right to 2^-33; 2^-24 (N and A^2 / 2) is left over by gamma",
    ),
    Mutant(
        "drop_below",
        "scores[best] < ",
        "scores[best] <= ",
        "a score of a centroid with D <= U is above the threshold, never equal: score_underflow_ is twice the need",
    ),
    # Sketches.
    Mutant("sketch_error", " + (rounding_ + kCentring) * length + Rotation::kUnderflow", ""),
    Mutant("quantisation_error", "sum_lanes(sq_error)", "0"),
    Mutant("quantised_range", "most >= 0x1p-100f", "most > 0"),
    Mutant("quantised_range", "most <= 0x1p55f", "true"),
    Mutant("rotation_rounding", "1.02 * ", "0 * "),
    Mutant("rotation_rounds", "2u : 1u", "1u : 1u"),
    Mutant("rotation_signs", "& 1 ? factor", "& 0 ? factor"),
    Mutant("sketch_levels_avx2", "63", "65"),
    # Drift bounds.
    Mutant("drift_radius", " - load(reaches + i)", ""),
    Mutant("drift_radius", " * kDown", ""),
    Mutant("drift_underflow", " - underflow", ""),
    Mutant("drift_sum_down", " * kDownAgain", " * (1 + 0x1p-22f)"),
    Mutant("drift_sum_down", " * kDownAgain", ""),
    Mutant(
        "drift_radius_up",
        "radius * (1 + 0x1p-20)",
        "radius",
        "kDown takes 16 u off the root and needs 2.5 u of it; one more is needed, for least - drift",
    ),
    Mutant("drift_taken_off", " - broadcast(drift)", ""),
    Mutant("drift_adds_up", "round_up", "static_cast<float>"),
    Mutant("drift_adds_up", "static_cast<double>(drift_[g]) + ", ""),
    Mutant("drift_farthest_member", "std::max(most, squared_distance(", "(squared_distance("),
    Mutant("drift_from_last", "std::copy(", "if (false) std::copy("),
    Mutant("groups_in_order", "bisect(", "if (false) bisect("),
    Mutant("bounds_a_tile", "bytes * tile_rows / stride_ / 4", "bytes / 4"),
    Mutant("last_tile_stride", "padded(rows", "padded(tile_rows + 0 * rows"),
    Mutant("copies_have_no_bound", "copy || ", "copy && "),
    Mutant("group_best", "panel == begin || best_[s] > group_best_[s] ? best_[s] : group_best_[s]", "best_[s]"),
    Mutant("bounds_scattered", "least[chosen_[static_cast<std::size_t>(i)]]", "least[static_cast<std::size_t>(i)]"),
    Mutant("hits_scattered", "if (!dense)", "if (dense)"),
    Mutant(
        "thresholds_gathered",
        "panel > begin && !dense",
        "false",
        "costs time, not bits: a threshold only rises, and an old one drops too little",
    ),
    Mutant("none_passes", "quiet_NaN", "infinity"),
    Mutant("known_rows", "known_->data == x.data && ", ""),
    Mutant("bounds_of_as_many", " && centroids.k == static_cast<std::int64_t>(order_.size())", " && centroids.k > 0"),
    # The planner, and giving up.
    Mutant("planned_filter", "(wanted_.filter == Filter::int8 && work.size > kLargestSketch)", "false"),
    Mutant("planned_filter", "work.tiny || ", ""),
    Mutant("rest", "now + length", "0 * now"),
    Mutant("rest_grows", "length *= 2;", ""),
    Mutant("fewest_groups", "groups >= kFewestGroups && ", ""),
    Mutant("bounds_worthwhile", "with < kWorthwhile * cost", "true"),
    Mutant("new_run_changes", "changed_ = 1", ""),
    Mutant("tiles_left", "/ task.tile_rows))", "/ task.tile_rows), 1)"),
    Mutant("tile_done", "if (finished) ", ""),
    Mutant("counted_if_finished", "if (finished)", "if (true)"),
    Mutant("gave_up_said", ", gave_up", ""),
    Mutant("counted_rows", "dense ? taking_part_", "dense ? size_"),
    Mutant(
        "counted_centroids", "std::min(end * task_.kernels.panel_width, centroids.k)", "end * task_.kernels.panel_width"
    ),
    Mutant("given_up", "given_up_ = true", "given_up_ = false"),
    # The narrow filter.
    Mutant("narrow_second_best", "!(second_[s] < thresholds_[s])", "false"),
    Mutant("narrow_tie_rule", "d < distances_[s]", "d <= distances_[s]"),
    Mutant("narrow_second", "lower > second[v]", "c < 4 && lower > second[v]"),
    # Filter and refine.
    Mutant("tie_rule", "d == distances_[s] && c < labels_[s]", "false"),
    Mutant("tie_rule", " && c < labels_[s]", ""),
    Mutant("refine_all", "hit.passed &= ~(std::uint32_t{1} << best)", "hit.passed = 0"),
    Mutant("copy_of_lowest", "slot_of[static_cast<std::size_t>(c)]", "slot_of[static_cast<std::size_t>(seen->second)]"),
    Mutant(
        "copies",
        "row(seen->second)",
        "row(c)",
        "rows of equal hashes are equal but for the sign of zeros, which changes no D; collisions are not to be had",
    ),
    # All are taken for copies.
    Mutant("copies", "added || std::memcmp(row(seen->second)", "(added && c == 0) || std::memcmp(row(c)"),
    Mutant(
        "copies",
        "added || ",
        "true || ",
        "costs time, not bits: ties go to the lower index anyway",
    ),
    Mutant(
        "points_centred",
        "static_cast<double>(a) * static_cast<double>(a)",
        "static_cast<double>(row[j + l]) * static_cast<double>(row[j + l])",
    ),
    Mutant("tiny_scaled", "tiny ? &scaled_ : nullptr", "nullptr"),
    Mutant("scaled_marked", ", scaled)", ", false)"),
    Mutant("tiny_limit", " < magnitude_bits(kTinyBelow)", " <= magnitude_bits(kTinyBelow)"),
    # D.
    Mutant("distance_tree", "lane[v + half]", "lane[2 * half - 1 - v]"),
    Mutant("fma_sticky_down", "bits -= even & (error > 0.0);", ""),
    Mutant("fma_sticky_up", "bits += even & (error < 0.0);", ""),
    # Sums.
    Mutant("second_limb", "if (any)", "if (false)"),
    Mutant("second_limb_limit", "0x1p-26", "0x1p-25"),
    Mutant("limb_bits", "62", "63"),
    Mutant("limb_rounding", "std::rint", "std::trunc"),
    Mutant("inertia_half_way", "(rest != 0 || (kept & 1))", "true"),
    Mutant("inertia_half_way", " || (kept & 1)", ""),
    Mutant("inertia_tail", "rest |= digit(i)", "rest |= 0"),
    Mutant("inertia_scaled", "std::bit_cast<std::uint32_t>(stored) >> 31", "0"),
    # Empty clusters.
    Mutant("farthest_tie", "old > value", "old < value"),
    Mutant("donor_order", ": a < b", ": a > b"),
    Mutant("donor_order", "ia > ib", "ia < ib"),
    Mutant("donors", "members[at] >= 2", "members[at] >= 1"),
    Mutant("donors", "donors.farthest[at] > 0", "true"),
    Mutant("shift_tree", "level[2 * i] + level[2 * i + 1]", "level[i] + level[i + size]"),
    # Loop and choice.
    Mutant("settled", "stats.changed == 0 && ", "stats.changed == 0 || "),
    Mutant("below_tol", "stats.shift < params.tol", "stats.shift <= params.tol"),
    Mutant("no_rows", "x.rows == 0", "false"),
    Mutant("best_run_tie", "run.inertia < best.inertia", "run.inertia <= best.inertia"),
    Mutant("stopped_runs", "= run.stopped", "= false"),
    Mutant("minus_zero", " + 0.0f", ""),
    Mutant("distinct_rows", "taken))", "taken) || true)"),
    Mutant("smallest_keys", "<= last", ">= last"),
    # Threads.
    Mutant("our_fp_mode", "set(kOurs);", ""),
    Mutant("callers_fp_mode", "set(callers_);", ""),
    Mutant("lent_fp_mode", "set(state.callers_);", ""),
    Mutant("fp_mode_taken_back", "set(kOurs);", ""),
    Mutant("pool_fp_mode", "const FpState fp_state;", ""),
    Mutant("failure_stops_all", "stop_ = true;", ""),
    Mutant("workers_add_up", "own += job->joining", "own = std::max(own, job->joining)"),
    Mutant("idle_threads_end", "std::chrono::seconds(2)", "std::chrono::hours(1)"),
    Mutant("most_threads", "std::max(os::usable_cpus(), kAlwaysAllowed)", "kMostThreads"),
    Mutant("pool_of_a_child", "current_pool.store(nullptr);", ""),
    # Rows where they lie.
    Mutant("in_place_if_dense", "d == ld && ", ""),
    Mutant("in_place_if_stride_aligned", "x.row_stride % kAligned != 0", "false"),
    Mutant("in_place_if_aligned", "reinterpret_cast<std::uintptr_t>(x.data) % kAligned != 0", "false"),
]
