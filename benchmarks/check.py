# SPDX-License-Identifier: Apache-2.0
"""Has this tree become slower than the last committed baseline? Both are built and run side by side.

The baseline is the commit named in the newest committed result of preset ci on the CPU.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from . import UsageError, machine, presets, results
from .contestant import ROOT
from .peers import PEERS
from .results import Row
from .run import Settings, race

SLOWER = 1.15
REPS = 15  # pairs for a median that one hiccup of the machine does not move


def baseline() -> str:
    """The commit; UsageError if there is none to compare with."""
    newest = [path for path in results.committed() if path.name.endswith("-ci-cpu.json")][-1:]
    if not newest:
        raise UsageError("no result of preset ci on the CPU is committed: nothing to compare with")
    commit = results.load(newest)[0]["commit"]
    if machine.output("git", "cat-file", "-t", f"{commit}^{{commit}}") != "commit":
        raise UsageError(f"{newest[0].name} names commit {commit}, which is not in this repository")
    return str(commit)


def build(source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # A build folder of its own: the tree's holds objects of other commits and settings.
    options = ["--no-build-isolation", "-C", f"build-dir={target}-build", "--target", str(target), str(source)]
    if subprocess.run([*command, *options]).returncode != 0:
        raise UsageError(f"{target.name} does not build")


def check_out(commit: str, target: Path) -> None:
    target.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)


def compare(rows: list[Row]) -> tuple[list[str], list[str]]:
    """A line for each case, and the names of those that are slower, or lost: by pairs, which saw the same machine."""
    lines, slow = [], []
    for base, head in zip(rows[::2], rows[1::2], strict=True):
        if not (base["seconds"] and head["seconds"]):
            lines.append(f"{head['case']}: {base['reason'] or head['reason']}")
            slow.append(head["case"])
            continue
        pairs = zip(base["seconds"]["all"], head["seconds"]["all"], strict=False)
        ratio = statistics.median(new / old for old, new in pairs)
        if ratio >= SLOWER:
            slow.append(head["case"])
        lines.append(
            f"{head['case']}: {base['seconds']['median']:.4g} s before, {head['seconds']['median']:.4g} s now, "
            f"median ratio {ratio:.3f}{'  SLOWER' if ratio >= SLOWER else ''}"
        )
    return lines, slow


def check(settings: Settings) -> int:
    """0, or 1 if a case takes 15 % longer than at the baseline."""
    commit = baseline()
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        print(f"building the baseline {commit[:12]} and this tree", flush=True)
        check_out(commit, there / "source")
        build(there / "source", there / "baseline")
        build(ROOT, there / "tree")
        sides = [replace(PEERS["ours"], name=name, folder=there / name) for name in ("baseline", "tree")]
        settings = replace(settings, reps=REPS, warmup=1, inertia=False, work=there)
        cases = presets.cases("ci", presets.Options())
        # A case must be slower twice: once may be the neighbours of these processes.
        for _ in range(2):
            lines, slow = compare([row for rows in race(cases, sides, settings) for row in rows])
            print("\n".join(lines), flush=True)
            cases = [case for case in cases if case.name in slow]
            if not cases:
                print("no case is 15 % slower")
                return 0
    print(f"15 % slower than the baseline, or not measured: {', '.join(slow)}")
    return 1
