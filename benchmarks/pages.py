# SPDX-License-Identifier: Apache-2.0
"""Tables of README.md and docs/performance.md, made from the current results of clean commits.

A table stands between `<!-- measured: NAME -->` and `<!-- end -->`: what is written there by hand is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import presets, targets
from .contestant import over_limit
from .current import Found, hardware
from .machine import ROOT
from .peers import LABELS
from .results import Result, Row, figures
from .targets import Target

PAGES = [ROOT / "README.md", ROOT / "docs" / "performance.md"]
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

WORDS = {  # what the rows of a case are, by the beginning of its name
    "tok": "token embeddings",
    "lowrank": "low rank and noise",
    "colbert": "blobs",
    "blobs": "blobs",
    "mnist": "MNIST",
    "iid": "iid normal",
    "small": "iid normal",
    "batch": "iid normal",
    "sift-like": "SIFT-like",
    "lowdim": "blobs",
    "memory": "blobs",
    "init-iid": "iid normal",
    "init-blobs": "blobs",
}
FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "amx_int8": "AMX"}
FORCED = {"ours-avx2": "AVX2", "ours-vnni": "VNNI"}
LIMITS = {"ours-11gb": ", in 11 GB", "ours-6gb": ", in 6 GB"}
METHODS = {"own": "random rows"}  # as results name an initialisation, where that says too little

# The rows of README.md's table: device and case, rows and centroids in host memory.
FRONT = [("cpu", "tok768"), ("cpu", "tok384-4096"), ("cpu", "lowrank1024"), ("cuda", "colbert-8192")]
FRONT += [("cuda", "colbert-131072")]

Line = dict[str, str]  # cells by their column


def table(lines: list[Line]) -> str:
    """Markdown; columns in the order in which they first have something."""
    if not lines:
        return "Nothing yet.\n"
    columns = list(dict.fromkeys(column for line in lines for column in line))
    rows = [columns, ["---"] * len(columns), *([line.get(column, "") for column in columns] for line in lines)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def data(case: dict[str, object]) -> str:
    """A case in words."""
    name = str(case["name"])
    words = next(words for start, words in WORDS.items() if name.startswith(start))
    niter = int(str(case["niter"]))
    iterations = "" if niter == 10 else f", {niter} iteration{'s' if niter > 1 else ''}"
    problems = f"{case['problems']:,} problems of " if case.get("problems", 1) != 1 else ""
    return f"{words}, {problems}{case['n']:,} x {case['d']:,}, k = {case['k']:,}{iterations}"


def isa(result: Result, row: Row) -> str:
    if result["device"] == "cuda":
        return ""
    best = [FLAGS[flag] for flag in result["machine"]["flags"] if flag in FLAGS]
    return FORCED.get(row["peer"]) or best[-1]


def commit(result: Result) -> str:
    return str(result["commit"])[:7]


def runs(found: Found, device: str, case: str, mode: str = "host") -> Iterator[tuple[Result, Row]]:
    """Our rows of the case, those by one instruction set and in limited memory too; not our loop, which is a peer."""
    for _, result in found:
        if result["device"] == device:
            for row in result["rows"]:
                ours = row["peer"].startswith("ours") and row["peer"] not in LABELS
                if (row["case"], row["mode"]) == (case, mode) and ours and row["seconds"]:
                    yield result, row


def others(result: Result, row: Row) -> Iterator[Row]:
    """The peers' rows of the same case, in the order of LABELS."""
    for peer in LABELS:
        for other in result["rows"]:
            if other["peer"] == peer and all(other[key] == row[key] for key in ("case", "mode")):
                yield other


def case_of(result: Result, row: Row) -> dict[str, object]:
    return next(case for case in result["cases"] if case["name"] == row["case"])


def beside(wanted: float | None) -> str:
    return "" if wanted is None else f" ({wanted:g})"


def ran_on(result: Result, row: Row) -> str:
    return ", ".join(filter(None, [hardware(result), isa(result, row)]))


def times(result: Result, row: Row, other: Row) -> str:
    """How many times as long as ours the other took; of a fit that was ended, more than so many."""
    ours = row["seconds"]["median"]
    if other["seconds"]:
        return figures(other["seconds"]["median"] / ours)
    limit = result["settings"]["timeout"]
    ended = other["status"] == "timeout" and other["reason"] == over_limit("fit", limit)
    return f"> {figures(limit / ours)}" if ended else str(other["status"])


def compared(result: Result, row: Row, target: Target) -> Line:
    """Seconds of ours, and how many times as long each peer takes, beside what is wanted."""
    line = {"seconds": figures(row["seconds"]["median"]) + beside(target.seconds)}
    for other in others(result, row):
        line[LABELS[other["peer"]]] = times(result, row, other) + beside(target.times.get(other["peer"]))
    return line | {"commit": commit(result)}


def measured(target: Target, result: Result, row: Row) -> Line:
    line = {"data": data(case_of(result, row)) + LIMITS.get(row["peer"], "")}
    line |= {"CPU": ran_on(result, row)} if target.isa else {"rows on the": target.mode}
    return line | compared(result, row, target)


def measurements(found: Found, device: str, target: Target) -> list[Line]:
    return [
        measured(target, result, row)
        for result, row in runs(found, device, target.case, target.mode)
        if isa(result, row) == target.isa
    ]


def ordered(lines: list[Line]) -> str:
    """The table of these, with the peers in one order, whichever a line has first."""
    order = ["data", "initial centroids", "CPU", "rows on the", "seconds", *LABELS.values(), "commit"]
    used = [column for column in order if any(column in line for line in lines)]
    return table([{column: line.get(column, "") for column in used} for line in lines])


def reached(found: Found, device: str, wanted: list[Target]) -> str:
    """A line for each measurement."""
    return ordered([line for target in wanted for line in measurements(found, device, target)])


def unmeasured(found: Found) -> str:
    """A line for what is wanted of a case and has not been measured, by one or several instruction sets."""
    by: dict[tuple[str, str], list[str]] = {}
    for device, wanted in (("cpu", targets.CPU), ("cuda", targets.CUDA)):
        known = {case.name: case for what in presets.PRESETS.values() for case in what[1](presets.Options(device))}
        for target in wanted:
            wishes = [f"{times:g} x {LABELS[peer]}" for peer, times in target.times.items()]
            if target.seconds is not None:
                wishes.insert(0, f"{target.seconds:g} s")
            if wishes and not measurements(found, device, target):
                key = (data(vars(known[target.case])), ", ".join(wishes))
                by.setdefault(key, []).append(target.isa or f"GPU, rows on the {target.mode}")
    return table([{"data": what, "by": ", ".join(isas), "wanted": wish} for (what, wish), isas in by.items()])


def initialisations(found: Found, device: str, mode: str) -> str:
    """Of rows without structure and of blobs, the fastest first."""
    lines = []
    for case in ("init-iid", "init-blobs"):
        by_time = sorted(runs(found, device, case, mode), key=lambda run: float(run[1]["seconds"]["median"]))
        for result, row in by_time:
            method = result["settings"]["init"]
            line = {"data": data(case_of(result, row))}
            line |= {"initial centroids": METHODS.get(method, method).replace("|", "\\|")}
            line |= {"CPU": ran_on(result, row)} if device == "cpu" else {}
            lines.append(line | compared(result, row, Target(case)))
    return ordered(lines)


def front(found: Found) -> str:
    """README.md's: seconds, ours and the peers', of the newest run on each kind of hardware."""
    lines = []
    for device, case in FRONT:
        newest = {hardware(result): (result, row) for result, row in runs(found, device, case) if row["peer"] == "ours"}
        for result, row in newest.values():
            peers = [
                f"{LABELS[other['peer']]} {other['library']['version']}: {figures(other['seconds']['median'])}"
                for other in others(result, row)
                if other["seconds"]
            ]
            lines.append(
                {
                    "data": data(case_of(result, row)),
                    "machine": ran_on(result, row),
                    "ours": figures(row["seconds"]["median"]),
                    "others": "; ".join(peers),
                    "commit": commit(result),
                }
            )
    return table(lines)


def tables(found: Found) -> dict[str, str]:
    """All tables, by name, of the clean ones among current results."""
    clean = [each for each in found if not each[1]["changed"]]
    return {
        "front": front(clean),
        "cpu": reached(clean, "cpu", targets.CPU),
        "cuda": reached(clean, "cuda", targets.CUDA),
        "unmeasured": unmeasured(clean),
        "initialisations": initialisations(clean, "cpu", "host"),
        "initialisations_cuda": initialisations(clean, "cuda", "device"),
    }


def filled(text: str, made: dict[str, str]) -> str:
    return BLOCK.sub(lambda block: f"{block[1]}\n{made[block[2]]}\n{block[3]}", text)


def write(found: Found, pages: list[Path] = PAGES) -> None:
    made = tables(found)
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
