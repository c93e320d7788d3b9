#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the tests notice when a rule is broken?

Copies the sources to a temporary folder, breaks one rule at a time by a small change of its line, which a comment marks
(mutants.py), and demands that a C++ test fails, without those that compare with the scalar oracle: only suites whose
name ends in NoOracle run. Needs cmake, ninja and a compiler on the PATH.

    scripts/mutation_check.py [--only TEXT] [--list]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
COPIED = ["CMakeLists.txt", "cmake", "include", "src", "tests/cpp", "benchmarks/kernel_costs.cpp"]
MARKER = re.compile(r"// mutant: (\w+)$")
TESTS = "*NoOracle.*-*Heavy*"
# A broken loop may never end; the whole suite takes a few seconds.
SECONDS = 180


class Line(NamedTuple):
    """A marked line; `file` is relative to the tree."""

    file: Path
    at: int  # from 0
    text: str


def marked_lines(tree: Path) -> dict[str, list[Line]]:
    """The lines that carry a marker, at their end or on the line above, by the name of the rule."""
    found: dict[str, list[Line]] = {}
    for path in sorted((tree / "src").rglob("*.*")):
        lines = path.read_text().split("\n") if path.is_file() else []
        for index, text in enumerate(lines):
            if marker := MARKER.search(text):
                code = text[: marker.start()].rstrip()
                if not code and index + 1 < len(lines):
                    index, code = index + 1, lines[index + 1]
                found.setdefault(marker[1], []).append(Line(path.relative_to(tree), index, code))
    return found


def faults(marked: dict[str, list[Line]], mutants: Sequence[Mutant]) -> list[str]:
    """What does not fit together: a mutant that breaks nothing, or not what was meant, would check nothing."""
    rules = {mutant.rule for mutant in mutants}
    out = [f"{lines[0].file}: marker {rule} has no mutant" for rule, lines in marked.items() if rule not in rules]
    out += [f"{rule} has no marker" for rule in sorted(rules - marked.keys())]
    out += [f"{rule} is marked {len(lines)} times" for rule, lines in marked.items() if len(lines) > 1]
    for mutant in mutants:
        for line in marked.get(mutant.rule, []):
            if (count := line.text.count(mutant.fragment)) != 1:
                out.append(f"{line.file}: {mutant.rule} has {count} times, not once, {mutant.fragment!r}")
    return out


def apply(tree: Path, line: Line, mutant: Mutant) -> str:
    """Returns the text before."""
    path = tree / line.file
    text = path.read_text()
    lines = text.split("\n")
    lines[line.at] = lines[line.at].replace(mutant.fragment, mutant.new, 1)
    path.write_text("\n".join(lines))
    return text


def describe(mutant: Mutant, line: Line) -> str:
    return f"{line.file}: {mutant.rule}: {mutant.fragment} -> {mutant.new or 'nothing'}"


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
    parser.add_argument("--only", default="", help="mutants whose rule or file contains this")
    parser.add_argument("--list", action="store_true", help="print the mutants, and what is wrong with them, and stop")
    options = parser.parse_args()
    marked = marked_lines(ROOT)
    wrong = faults(marked, MUTANTS)
    line_of = {rule: lines[0] for rule, lines in marked.items()}
    chosen = [m for m in MUTANTS if m.rule in line_of and options.only in f"{m.rule} {line_of[m.rule].file}"]
    # Those of a file follow each other: what includes it is compiled once for each, not again for the file put back.
    chosen.sort(key=lambda mutant: line_of[mutant.rule].file)
    if options.list:
        for mutant in chosen:
            print(describe(mutant, line_of[mutant.rule]) + f" (harmless: {mutant.harmless})" * bool(mutant.harmless))
    if wrong:
        sys.exit("\n".join(wrong))
    if options.list:
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
        configure += ["-DFASTKMEANS_CUDA=OFF", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
        done = subprocess.run(configure, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cmake failed:\n{done.stdout}{done.stderr}")
        build(folder)
        if failed := failing_test(folder):
            sys.exit(f"{failed} fails before anything is broken")
        for mutant in chosen:
            line = line_of[mutant.rule]
            before = apply(tree, line, mutant)
            if not mutant.harmless:
                build(folder)
                failed = failing_test(folder)
                verdict = "noticed " if failed else "SURVIVED"
                print(f"{verdict} {describe(mutant, line)}: {failed or 'all tests pass'}", flush=True)
                if not failed:
                    survivors.append(mutant)
            (tree / line.file).write_text(before)
    harmless = sum(bool(m.harmless) for m in chosen)
    print(f"{len(chosen) - harmless} broken, {len(survivors)} not noticed; {harmless} cannot be noticed (see --list)")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
