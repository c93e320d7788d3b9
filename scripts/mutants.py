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


EQUAL_KEYS = "two equal keys of 64 bits are not to be expected below 2^32 rows"

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
    Mutant("point_sq_norm", " - (1 + kFp64Slack) * score_rounding_ * v.sq_norm", ""),
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
    # Of narrow sketches. Not in the list: what the head's coordinates lose; the tail's share hides it.
    Mutant("projection_chain", "kChunk + 2 + chunks", "1"),
    Mutant("projection_rounding", "1.05 * roundings", "0 * roundings"),
    Mutant("tail_error", "1.1 * (excess_ + 2.1 * rounding_ + kFp64Slack)", "0"),
    Mutant("projection_error", "+= tail.error", "+= 0 * tail.error"),
    Mutant("basis_excess", "*std::max_element(sums.begin(), sums.end())", "0"),
    Mutant("sketch_error", " + (rounding + kCentring) * length + Rotation::kUnderflow", ""),
    Mutant("quantisation_error", "sum_lanes(sq_error)", "0"),
    Mutant("quantised_range", "most >= 0x1p-100f", "most > 0"),
    Mutant("quantised_range", "most <= 0x1p55f", "true"),
    Mutant("rotation_rounding", "1.02 * ", "0 * "),
    Mutant("rotation_rounds", "2u : 1u", "1u : 1u"),
    Mutant("rotation_signs", "& 1 ? factor", "& 0 ? factor"),
    Mutant("sketch_levels_avx2", "63", "65"),
    # Lower bounds.
    Mutant("lower_bound_radius", " - load(errors + i)", ""),
    Mutant("lower_bound_radius", " * kDown", ""),
    Mutant("lower_bound_underflow", " - underflow", ""),
    Mutant("lower_bound_saturates", "bound < kMostBound", "true"),
    Mutant(
        "lower_bound_radius_up",
        "round_up(radius)",
        "static_cast<float>(radius)",
        "kDown takes 16 u off the root and needs 3.5 u of it; one more would be needed",
    ),
    Mutant("lower_bound_less_moves", " - drift", ""),
    Mutant("lower_bound_moves_add_up", "return drift + ", "return "),
    Mutant("lower_bound_moves_add_up", "std::ceil", "std::floor"),
    Mutant("lower_bound_farthest_move", "std::max(largest, moved)", "moved"),
    Mutant("lower_bound_rebased", "bound > drift ? bound - drift : 0", "bound"),
    Mutant("lower_bound_drift_fits", "if (drift(group) > kMostDrift) rebase(group)", "static_cast<void>(group)"),
    Mutant("lower_bound_lowered", ": movers + drift", ": movers"),
    Mutant("movers_lower", "bounds_.lower_to_movers(group)", "static_cast<void>(0)"),
    Mutant("cheapest_movers", "cost < least", "m == 0"),
    Mutant("bounds_half_done", "follows_ = false;", "", "nobody goes on with a shard after an exception"),
    Mutant("lower_bound_moves_from_last", "std::copy_n(", "if (false) std::copy_n("),
    Mutant("groups_in_order", "Bisection(", "if (false) Bisection("),
    Mutant("bounds_a_tile", "bytes * tile_rows / stride_ / 2", "bytes / 2"),
    Mutant("last_tile_stride", "padded(rows", "padded(tile_rows + 0 * rows"),
    Mutant("bounds_moved", "bounds_->move_to(call.centroids, sample_rows(call), workers_)", "static_cast<void>(0)"),
    Mutant(
        "old_bounds",
        "follows_ && ",
        "",
        "costs time, not bits: move_to() adds up the way from wherever the centroids were when the bounds were made",
    ),
    Mutant("bounds_fit", " && centroids.k == static_cast<std::int64_t>(groups_.order.size())", " && centroids.k > 0"),
    Mutant("bounds_fit", "tile_rows == tile_rows_ && ", ""),
    Mutant("copies_have_no_bound", "has_copy", "false"),
    Mutant("group_best", "std::max(group_best_[i], best_[i])", "best_[i]"),
    Mutant("bounds_scattered", "values[chosen_[i]]", "values[i]"),
    Mutant("hits_scattered", "return chosen[i]", "return i"),
    Mutant("thresholds_gathered", "threshold(chosen[i])", "threshold(i)"),
    Mutant("none_passes", "quiet_NaN", "infinity"),
    # The planner.
    Mutant("int8_takes", " && problem.size <= kLargestSketch", ""),
    Mutant("int8_takes", "problem.size > 0 && ", ""),
    Mutant("int8_takes", "!problem.tiny && ", ""),
    Mutant("narrow_takes", "!problem.tiny && ", ""),
    Mutant("narrow_takes", " && problem.size <= kLargestSketch", ""),
    Mutant("narrow_limit", "std::min(plan.most_refined, even)", "plan.most_refined"),
    Mutant("next_filter", " && expected.int8 < expected.fp32", ""),
    Mutant("narrow_may_follow", " && !narrow_may_follow", ""),
    Mutant("narrow_rests", " && !history.narrow_rests()", ""),
    Mutant("low_dim_takes", "problem.d <= kMostLowDim", "true"),
    Mutant("low_dim_takes", "!problem.tiny && ", ""),
    Mutant("tiny_plan", "problem.tiny", "false"),
    Mutant("filters_rest", "history.filters_rest()", "false"),
    Mutant("most_refined", "kShareForRefining", "2"),
    Mutant("int8_worthwhile", "kWorthwhile * cost", "2 * cost"),
    Mutant("planned_bounds", "groups >= kFewestGroups && ", ""),
    Mutant("planned_bounds", "!history.bounds_rest() && ", ""),
    Mutant("planned_bounds", "keeping < kCheapBounds * cost", "false"),
    Mutant("planned_bounds", "with < kWorthwhile * cost", "true"),
    Mutant("new_run_changes", "problem.first ? 1 : ", ""),
    Mutant("rest", "now + length", "0 * now"),
    Mutant("rest_grows", "length *= 2;", ""),
    Mutant("rest_after_giving_up", "outcome.gave_up", "false"),
    Mutant("rest_after_giving_up", "(outcome.narrow ? narrow_ : filters_)", "filters_"),
    Mutant("rest_of_bounds", "outcome.scored > outcome.most_scored", "outcome.scored > 0"),
    Mutant("rest_of_bounds", "outcome.scored > outcome.most_scored", "false"),
    Mutant("rest_after_two", "poor && poor_", "poor"),
    # Giving up, and what is counted.
    Mutant("tiles_left", "/ tile_rows))", "/ tile_rows), 1)"),
    Mutant("refused_tiles", "!(*only_)[tile(first)]", "false"),
    Mutant("refused_tiles", "given_up_.load()", "false"),
    Mutant("tile_done", "if (finished) ", ""),
    Mutant("all_done", "if (std::find", "if (false && std::find"),
    Mutant("given_up", "given_up_ = true", "given_up_ = false"),
    Mutant("given_up", "most_refined_ > 0 && ", ""),
    Mutant("counted_if_finished", "if (finished)", "if (true)"),
    Mutant("gave_up_said", "gave_up ?", "false ?"),
    Mutant("changed_rows", "!previous || ", "previous && "),
    Mutant("counted_rows", "points.count *", "size_ *"),
    Mutant("counted_centroids", "static_cast<std::uint8_t>(filled)", "static_cast<std::uint8_t>(width)"),
    # Sketches of rows, kept from one assignment to the next.
    Mutant("sketches_complete", "call.keeps_sketches && ", ""),
    Mutant("forgotten_sketches", "call.keeps_sketches = false;", ""),
    Mutant("rows_waiting", "waiting_ = 0;", ""),
    Mutant("sketches_complete", " && all_good", ""),
    Mutant("whole_groups_kept", "task.tile_rows % sketched_group(*kernels_.sketch) == 0", "true"),
    # Few dimensions.
    Mutant("low_dim_second_best", "!(second_[s] < thresholds_[s])", "false"),
    Mutant("low_dim_tie_rule", "d < distances_[s]", "d <= distances_[s]"),
    Mutant("low_dim_second", "lower > second[v]", "c < 4 && lower > second[v]"),
    # Filter and refine.
    Mutant("tie_rule", "distance == distances_[s] && c < labels_[s]", "false"),
    Mutant("tie_rule", " && c < labels_[s]", ""),
    Mutant("refine_all", "passed &= ~(std::uint32_t{1} << best)", "passed = 0"),
    Mutant("copies_by_hash", "if (at->first != lowest->first) ", ""),
    Mutant("lowest_is_no_copy", "at != lowest &&", "true &&"),
    Mutant("copies_by_value", ") == 0", ") != -1000"),
    Mutant(
        "points_centred",
        "static_cast<double>(a) * static_cast<double>(a)",
        "static_cast<double>(row[j + l]) * static_cast<double>(row[j + l])",
    ),
    Mutant("tiny_scaled", "!call.tiny", "true"),
    Mutant("tiny_limit", " < magnitude_bits(kTinyBelow)", " <= magnitude_bits(kTinyBelow)"),
    Mutant("tiny_row_limit", " < magnitude_bits(kTinyBelow)", " <= magnitude_bits(kTinyBelow)"),
    Mutant("tiny_rows_scaled", "rows_.scale(slot)", "static_cast<void>(0)"),
    Mutant("scaled_marked", "Selection::kScaled", "false"),
    # Rows as the metric takes them.
    Mutant("in_place_as_wanted", "context.metric.keeps_rows() && ", ""),
    Mutant("in_place_as_wanted", "width == context.x.cols && ", ""),
    Mutant("bad_rows_kept", "kernels.largest_bits(copied(i), x.cols) < magnitude_limit_bits(x.cols)", "true"),
    Mutant("zero_row", "most == 0", "false"),
    Mutant("row_scaled_first", "-exponent", "0"),
    Mutant("zero_sum_stays", "length > 0", "length >= 0"),
    Mutant("initial_rows_transformed", "!metric.keeps_rows()", "false"),
    Mutant("init_transformed", "!metric.keeps_rows()", "false"),
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
    Mutant("weighted_inertia", "rows_.weights()", "false"),
    Mutant("weighted_digits", "(low >> 32) + ", ""),
    Mutant("weighted_carry", "(second >> 32) + ", ""),
    Mutant("total_of_weights", "if (rows.weights())", "if (false)"),
    Mutant("summed_rows", " && rows.weight(i) > 0", ""),
    Mutant("moved_out", "if (from)", "if (false)"),
    Mutant("members_count_rows", "times > 0 ? 1 : ~std::uint64_t{0}", "static_cast<std::uint64_t>(times)"),
    Mutant("members_or_weights", "members()", "weights"),
    Mutant("members_of_all_workers", "add_all(other.members_, members_)", "static_cast<void>(0)"),
    Mutant("sums_of_all_workers", "if (part)", "if (part && &part == &parts[0])"),
    Mutant("cleared_sums", ", &members_", ""),
    Mutant("sums_forgotten", "if (sums_)", "if (false)"),
    Mutant("given_rows_skipped", "distinct.add(row, row_hash(row, d), centroids.data(), c)", "static_cast<void>(row)"),
    Mutant("centroid_stays", "weight == 0 || ", ""),
    Mutant("centroid_stays", " || c < rule.frozen", ""),
    Mutant("frozen_get_no_row", "c >= frozen", "c >= 0 * frozen"),
    # Statistics.
    Mutant("zero_rows_have_no_largest", "largest > 0", "true"),
    Mutant("column_max_of_all_workers", "std::max(column_bits[j], found.column_bits[j])", "found.column_bits[j]"),
    # Empty clusters.
    Mutant("farthest_tie", "old > value", "old < value"),
    Mutant("donor_order", ": a < b", ": a > b"),
    Mutant("donor_order", "ia > ib", "ia < ib"),
    Mutant("donors", "members[at] >= 2", "members[at] >= 1"),
    Mutant("donors", "donors.farthest[at] > 0", "true"),
    Mutant("donor_rows", "own.rows.weight(i) > 0", "true"),
    Mutant("donor_weights", " * static_cast<std::uint64_t>(own.rows.weight(i))", ""),
    Mutant("donor_row", "std::bit_cast<std::uint64_t>(distance) == donors.farthest[c]", "true"),
    Mutant("donor_inertia_fits", "63 - ", "70 - "),
    Mutant("relocated_sums", ", std::pair(to, rows_.weight(i))", ""),
    Mutant("relocated_row_transformed", "metric_.transform(row.data(), x_.cols)", "static_cast<void>(0)"),
    Mutant("relocated_label", "static_cast<std::int32_t>(to)", "static_cast<std::int32_t>(from)"),
    Mutant("shift_tree", "level[2 * i] + level[2 * i + 1]", "level[i] + level[i + size]"),
    # Loop and choice.
    Mutant("settled", "stats.changed == 0 && ", "stats.changed == 0 || "),
    Mutant("below_tol", "stats.shift < params.tol", "stats.shift <= params.tol"),
    Mutant("no_rows", "x_.rows == 0", "false"),
    Mutant("best_run_tie", "run.inertia < best.inertia", "run.inertia <= best.inertia"),
    Mutant("stopped_runs", "!run.stopped", "true"),
    Mutant("best_run_assigned", "best.settled = false", "static_cast<void>(0)"),
    Mutant("minus_zero", " + 0.0f", ""),
    Mutant("distinct_rows", "taken))", "taken) || true)"),
    Mutant("smallest_keys", "<= last", ">= last"),
    Mutant("candidates_of_weight", " && rows.weight(i) > 0", ""),
    Mutant("rows_of_weight", "w > 0", "w >= 0"),
    Mutant("sampled_weights", "from.weight(row)", "1"),
    Mutant("weights_sum", "std::ceil", "std::floor"),
    Mutant("weights_room", " - facts.positive", ""),
    Mutant("weights_shift", "room >> shift", "room"),
    Mutant("weights_kept", "facts.whole && ", ""),
    Mutant("weights_kept", " && facts.sum <= kMostWeight", ""),
    Mutant("weights_stay_positive", "std::max<std::int64_t>(rounded, 1)", "rounded"),
    Mutant("inertia_of_weights", "-weights.exponent", "0"),
    Mutant("equal_keys", "number < other.number", "number > other.number", EQUAL_KEYS),
    Mutant("smallest_of_equal_keys", " | number", "", EQUAL_KEYS),
    # What initialisations need.
    Mutant("lowered_distance", "first_of_all || ", ""),
    Mutant("lowered_distance", "true_distance(distance) < true_distance(kept)", "distance < kept"),
    Mutant("largest_of_weight", "rows_.weight(i) > 0", "true"),
    Mutant("draw_carry", " + carry", ""),
    Mutant("largest_of_all_shards", "reducer.max(&bits, 1)", "static_cast<void>(reducer)"),
    Mutant("masses_of_all_shards", "i < all.size()", "i < trials_"),
    Mutant("mass_exponent", "31 - exponent", "30 - exponent"),
    Mutant("lowered_mass", "distance < kept", "true"),
    Mutant("mass_weights", " * static_cast<Mass>(weight)", ""),
    Mutant("mass_of_parts", "row += kRowsPerPass", "++row"),
    Mutant("row_at", "mass < own", "mass <= own"),
    Mutant("row_at", "return row", "return row + 1"),
    # Shards.
    Mutant("gathered_place", "counts.begin() + reducer.rank()", "counts.begin()"),
    Mutant("digits_of_all_shards", "reducer.sum(", "std::make_pair("),
    Mutant("row_places", "mine[static_cast<std::size_t>(i)]", "i"),
    Mutant("column_max_of_all_shards", "reducer.max(", "std::make_pair("),
    Mutant("least_row_of_all_shards", "reducer.min(", "std::make_pair("),
    Mutant("bad_row_number", "rows.number(check.first)", "check.first"),
    Mutant("first_bad_row_of_all_shards", "reducer.min(", "std::make_pair("),
    Mutant("precision_of_all_shards", "gather_over_shards(bits, reducer)", "bits"),
    Mutant("farthest_of_all_shards", "reducer.max(", "std::make_pair("),
    Mutant("inertia_of_all_shards", "reducer.sum(", "std::make_pair("),
    Mutant("lowest_row_of_all_shards", "reducer.min(", "std::make_pair("),
    Mutant("members_of_all_shards", "reducer.sum(", "std::make_pair("),
    Mutant("sums_of_all_shards", "&total_->lo, ", ""),
    # Verification.
    Mutant("verified_label", "nearest.label == labels[at]", "true"),
    Mutant(
        "verified_distance",
        "std::bit_cast<std::uint32_t>(nearest.distance) == std::bit_cast<std::uint32_t>(distances[at])",
        "true",
    ),
    Mutant("verified_row", "metric_.transform(row, d)", "static_cast<void>(0)"),
    Mutant("bad_rows_not_verified", "!is_valid(row, d)", "false"),
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
