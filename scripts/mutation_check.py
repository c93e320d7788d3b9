#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the tests notice when a rule is broken?

Copies the sources to a temporary folder, breaks one rule at a time by a small change of text, and demands that a C++
test fails, without those that compare with the scalar oracle: only suites whose name ends in NoOracle run. Needs cmake,
ninja and a compiler on the PATH.

    scripts/mutation_check.py [--only TEXT] [--list]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ["CMakeLists.txt", "cmake", "include", "src", "tests/cpp"]
TESTS = "*NoOracle.*-*Heavy*"
# A broken loop may never end; the whole suite takes a few seconds.
SECONDS = 180


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    # Why no input can show this change, if so: the text must still be there, but nothing is run.
    harmless: str = ""


BOUND, ASSIGN, PREPARE = "src/bound.hpp", "src/cpu/assign.cpp", "src/cpu/prepare.cpp"
CPU_BACKEND, KERNELS, SIMD = "src/cpu/cpu_backend.cpp", "src/cpu/kernels_inl.hpp", "src/cpu/simd.hpp"
FINALIZE, LLOYD, FIT, SAMPLE = "src/finalize.cpp", "src/lloyd.cpp", "src/fit.cpp", "src/sample.cpp"
FIXED, SUM, WORKERS, FP_STATE = "src/fixed_point.cpp", "src/exact_sum.hpp", "src/workers.cpp", "src/fp_state.hpp"

# Notation of the reasons: u = 2^-24, m = ceil(d / 32), A = |a|, N = |b|^2 / 2, R the true distance.
# What a term leaves over when all others are at their worst, against what the deleted term is there for:
#  - scores: gamma counts d + 2 roundings. With fma at most d touch a term, without at most d + 1. So at least
#    u (N + A |b|) <= u A^2 / 2 + 2 u N is left over, u A^2 / 2 of it in the threshold and 2 u N in the start value.
#  - D: two roundings of t^2 through t, m of the chain, 5 of the tree: m + 7; g is 1.01 (m + 8): 1.08 u R^2 / 2 is left.
#  - centring, delta = u: needs u R A in q^2, u R^2 / 2 for (1 + delta), and u N in the start value.
MUTANTS = [
    # The filter's bound.
    Mutant("no score rounding in the start value", BOUND, "(1 - 2 * score_rounding_ - ", "(1 - "),
    Mutant(
        "half the score rounding in the start value",
        BOUND,
        "(1 - 2 * score_rounding_ - ",
        "(1 - 0.4 * score_rounding_ - ",
    ),
    Mutant("no score rounding in the threshold", BOUND, " - (1 + kFp64Slack) * score_rounding_ * sq_norm", ""),
    Mutant(
        "no rounding of D in the threshold",
        BOUND,
        "distance_rounding_(1 + distance_rounding(d))",
        "distance_rounding_(1)",
    ),
    Mutant(
        "no underflow, neither of D nor of scores",
        BOUND,
        "underflow_(static_cast<double>(d) * 0x1p-148)",
        "underflow_(0)",
    ),
    Mutant("score counted as one rounding", BOUND, "(static_cast<double>(d) + 2) * kUnitRoundoff", "2 * kUnitRoundoff"),
    Mutant(
        "threshold of a smaller distance",
        BOUND,
        "static_cast<double>(distance) * distance_rounding_",
        "0.99 * static_cast<double>(distance)",
    ),
    Mutant(
        "no centring in the start value",
        BOUND,
        " - 2 * kCentring - ",
        " - ",
        "u N (1 + u) is needed, 2 u N is left over by the 2 gamma N beside it",
    ),
    Mutant(
        "no centring in the reach",
        BOUND,
        "kCentring * std::sqrt(sq_norm)}",
        "0}",
        "u R A <= u (R^2 + A^2) / 2 is needed, 1.08 u R^2 / 2 is left over by g and u A^2 / 2 by gamma",
    ),
    Mutant(
        "no centring in the square of the reach",
        BOUND,
        "(1 + kCentring) * reach * reach",
        "reach * reach",
        "u R^2 / 2 is needed, 1.08 u R^2 / 2 is left over by g",
    ),
    Mutant(
        "no centring at all",
        BOUND,
        "kCentring = 1.01 * kUnitRoundoff",
        "kCentring = 0",
        "needs u R A + u R |b| <= 0.75 u R^2 / 2 + 2 u A^2 / 2 + 4 u N (weights 1/2 and 1/4); with fma, d roundings a "
        "score, twice the above is left over by gamma, and 1.08 u R^2 / 2 by g. Without fma one rounding less is left: "
        "then the sum is short by 0.42 u R^2 / 2, if every rounding of D and of the score were at its worst at once; "
        "no such input is known (the worst D known, RoundingOfD, leaves 9 u R^2 / 2)",
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
        "return round_down(0.5 * (",
        "return static_cast<float>(0.5 * (",
        "u |T| <= u (A^2 + R^2) / 2: left over by gamma and g, as for the reach",
    ),
    Mutant(
        "start value to nearest",
        BOUND,
        "return round_up(",
        "return static_cast<float>(",
        "u N is needed, 2 u N is left over by gamma",
    ),
    Mutant(
        "scores equal to the threshold dropped",
        ASSIGN,
        "if (scores[best] < thresholds_[s]) return;",
        "if (scores[best] <= thresholds_[s]) return;",
        "a score of a centroid with D <= U is above the threshold, never equal: score_underflow_ is twice the need",
    ),
    # Filter and refine.
    Mutant("no tie rule", ASSIGN, "d == distances_[s] && c < labels_[s]", "false"),
    Mutant("ties to the last seen", ASSIGN, "d == distances_[s] && c < labels_[s]", "d == distances_[s]"),
    Mutant("only the best score is refined", ASSIGN, "hit.passed &= ~(std::uint32_t{1} << best);", "hit.passed = 0;"),
    Mutant(
        "copies: the lower one is dropped",
        PREPARE,
        "starts[static_cast<std::size_t>(c)] = -std::numeric_limits<float>::infinity();\n  }",
        "starts[static_cast<std::size_t>(seen->second)] = -std::numeric_limits<float>::infinity();\n  }",
    ),
    Mutant("equal hashes taken for copies of all", PREPARE, "if (!added && std::memcmp", "if (added || std::memcmp"),
    Mutant(
        "copies stay in the filter",
        PREPARE,
        "if (!added && std::memcmp",
        "if (false && std::memcmp",
        "costs time, not bits: ties go to the lower index anyway",
    ),
    Mutant(
        "points are not centred, centroids are",
        KERNELS,
        "lane[l] += static_cast<double>(a) * static_cast<double>(a);",
        "lane[l] += static_cast<double>(row[j + l]) * static_cast<double>(row[j + l]);",
    ),
    Mutant("no second preparation for tiny data", CPU_BACKEND, "tiny ? &scaled_ : nullptr", "nullptr"),
    Mutant(
        "scaled rows not marked",
        ASSIGN,
        "store_distance(distances_[s], scaled)",
        "store_distance(distances_[s], false)",
    ),
    Mutant(
        "tiny limit off by one",
        CPU_BACKEND,
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
    Mutant("nredo: ties to the last", FIT, "run.inertia < best.inertia", "run.inertia <= best.inertia"),
    Mutant("nredo goes on after a stop", FIT, "best.stopped = stopped;", "best.stopped = false;"),
    Mutant(
        "minus zero is another row",
        "src/row_hash.hpp",
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
    Mutant("a child uses its parent's pool", WORKERS, "current_pool.store(nullptr);", ""),
]


def require_texts() -> None:
    """A mutant whose text is gone checks nothing; `make lint` looks too, since the whole check is not for every day."""
    for mutant in MUTANTS:
        count = (ROOT / mutant.file).read_text().count(mutant.old)
        if count != 1:
            sys.exit(f"{mutant.file} has {count} times, not once, the text of '{mutant.name}':\n{mutant.old}")


def apply(tree: Path, mutant: Mutant) -> str:
    """Returns the text before."""
    path = tree / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    return text


def build(folder: Path) -> None:
    done = subprocess.run(
        ["cmake", "--build", str(folder), "--target", "fastkmeans_tests"], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"the build failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def failing_test(folder: Path) -> str:
    """The name of a test that failed, "(crash)" or "(time)"; "" if all passed."""
    command = [
        str(folder / "tests/cpp/fastkmeans_tests"),
        f"--gtest_filter={TESTS}",
        "--gtest_fail_fast",
        "--gtest_brief=1",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "FASTKMEANS_ISA"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return "(time)"
    if done.returncode == 0:
        return ""
    failed = [
        line.split()[3].rstrip(",")
        for line in done.stdout.splitlines()
        if line.startswith("[  FAILED  ]") and "." in line
    ]
    return failed[0] if failed else "(crash)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name or file contains this")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    options = parser.parse_args()
    require_texts()
    chosen = [m for m in MUTANTS if options.only in m.name or options.only in m.file]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.file}: {mutant.name}" + (f" (harmless: {mutant.harmless})" if mutant.harmless else ""))
        return 0

    survivors = []
    with tempfile.TemporaryDirectory() as temporary:
        tree, folder = Path(temporary, "tree"), Path(temporary, "build")
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, tree / name)
        # -O1: quick to build, and the tests are quick enough.
        configure = ["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(folder), "-DFASTKMEANS_BUILD_TESTS=ON"]
        configure += ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
        done = subprocess.run(configure, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cmake failed:\n{done.stdout}{done.stderr}")
        build(folder)
        if failed := failing_test(folder):
            sys.exit(f"{failed} fails before anything is broken")
        for mutant in chosen:
            before = apply(tree, mutant)
            if not mutant.harmless:
                build(folder)
                failed = failing_test(folder)
                verdict = "noticed " if failed else "SURVIVED"
                print(f"{verdict} {mutant.file}: {mutant.name}: {failed or 'all tests pass'}", flush=True)
                if not failed:
                    survivors.append(mutant)
            (tree / mutant.file).write_text(before)
    harmless = sum(bool(m.harmless) for m in chosen)
    print(f"{len(chosen) - harmless} broken, {len(survivors)} not noticed; {harmless} cannot be noticed (see --list)")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
