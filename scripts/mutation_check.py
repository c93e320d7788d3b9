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

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
COPIED = ["CMakeLists.txt", "cmake", "include", "src", "tests/cpp", "benchmarks/kernel_costs.cpp"]
TESTS = "*NoOracle.*-*Heavy*"
# A broken loop may never end; the whole suite takes a few seconds.
SECONDS = 180


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
