# SPDX-License-Identifier: Apache-2.0
"""Has this tree become slower than a baseline? Both are built and run in turns, on the same data.

The baseline is any commit; unless one is named, that of the newest committed result of preset ci on the CPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from . import UsageError, machine, results
from .contestant import ROOT
from .peers import PEERS
from .presets import Case
from .results import Row
from .run import Settings, race

LIMIT = 1.15  # a new time over the old one that fails
REPS = 15  # pairs for a median that one hiccup of the machine does not move
BUILDS = ROOT / "build" / "bench-check"  # kept: a baseline is built once, the tree only where it changed
BUILD_VARIABLES = ["CXX", "CXXFLAGS", "CMAKE_ARGS", "FASTKMEANS_WHEEL_VERSION", "FASTKMEANS_CUDA"]


def last_measured() -> str:
    """The commit of the newest result; UsageError if there is none to compare with."""
    newest = [path for path in results.committed() if path.name.endswith("-ci-cpu.json")][-1:]
    if not newest:
        raise UsageError("no result of preset ci on the CPU is committed: nothing to compare with")
    return str(results.load(newest)[0]["commit"])


def full_hash(commit: str) -> str:
    """Of any name git knows; UsageError if it knows none."""
    found = machine.output("git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if not found:
        raise UsageError(f"the baseline {commit} is no commit of this repository")
    return found


def settings_digest() -> str:
    """What a build depends on beside the sources."""
    known = [sys.version, *(os.environ.get(name, "") for name in BUILD_VARIABLES)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]


def build(source: Path, target: Path) -> None:
    """The package alone in folder `target`, in the place of what was there."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # A build folder of its own: the tree's holds objects of other commits and settings.
    options = ["--no-build-isolation", "-C", f"build-dir={target}.objects", "--target", str(part), str(source)]
    if subprocess.run([*command, *options]).returncode != 0:
        raise UsageError(f"{target.name} does not build")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def build_commit(commit: str, target: Path) -> None:
    if target.is_dir():
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        build(Path(folder), target)
    shutil.rmtree(f"{target}.objects")  # of sources that are gone


def ratio(base: Row, head: Row) -> float | None:
    """The median of new time / old time over pairs, which saw the same machine; None if either is lost."""
    if not (base["seconds"] and head["seconds"] and head["interleaved"]):
        return None
    pairs = zip(base["seconds"]["all"], head["seconds"]["all"], strict=False)
    return float(statistics.median(new / old for old, new in pairs))


def compare(rows: list[Row], limit: float) -> tuple[list[str], list[str]]:
    """A line for each case and one for all, and the names of those that are slower, or lost."""
    lines, slow, ratios = [], [], []
    for base, head in zip(rows[::2], rows[1::2], strict=True):
        found = ratio(base, head)
        if found is None:
            lines.append(f"{head['case']}: {base['reason'] or head['reason'] or 'not in turns: memory is short'}")
            slow.append(head["case"])
            continue
        ratios.append(found)
        if found >= limit:
            slow.append(head["case"])
        lines.append(
            f"{head['case']}: {base['seconds']['median']:.4g} s before, {head['seconds']['median']:.4g} s now, "
            f"median ratio {found:.3f}{'  SLOWER' if found >= limit else ''}"
        )
    if ratios:
        lines.append(f"median ratio of these cases: {statistics.median(ratios):.3f}")
    return lines, slow


def check(cases: list[Case], commit: str, limit: float, settings: Settings) -> int:
    """0, or 1 if a case takes `limit` times as long as at the baseline, or longer."""
    digest = settings_digest()
    folders = {"baseline": BUILDS / f"{commit}-{digest}", "tree": BUILDS / f"tree-{digest}"}
    print(f"building the baseline {commit[:12]} and this tree", flush=True)
    build_commit(commit, folders["baseline"])
    build(ROOT, folders["tree"])
    sides = [replace(PEERS["ours"], name=name, folder=folder) for name, folder in folders.items()]
    with tempfile.TemporaryDirectory() as work:
        settings = replace(settings, reps=REPS, warmup=1, inertia=False, work=Path(work))
        # A case must be slower twice: once may be the neighbours of these processes.
        for _ in range(2):
            lines, slow = compare([row for rows in race(cases, sides, settings) for row in rows], limit)
            print("\n".join(lines), flush=True)
            cases = [case for case in cases if case.name in slow]
            if not cases:
                print(f"no case takes {limit:g} times as long as at the baseline")
                return 0
    print(f"{limit:g} times as long as at the baseline or longer, or not measured: {', '.join(slow)}")
    return 1
