# SPDX-License-Identifier: Apache-2.0
"""Which results speak for today: a case is shown as it was last measured, on each kind of hardware."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .results import Result

Key = tuple[str, str]  # case and mode
Found = list[tuple[Path, Result]]


def processor(result: Result) -> str:
    name = str(result["machine"]["cpu"]).replace("(R)", "").removesuffix(" Processor")
    threads = result["settings"]["threads"]
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def hardware(result: Result) -> str:
    """What a time depends on: the GPU, or the CPU and the number of threads."""
    return str(result["machine"]["gpu"]) if result["device"] == "cuda" else processor(result)


def peers(result: Result, key: Key) -> set[str]:
    return {row["peer"] for row in result["rows"] if (row["case"], row["mode"]) == key}


def initialisation(result: Result) -> str:
    """The same rows for all libraries or each its own random ones is the same work, but for a copy."""
    method = str(result["settings"]["init"])
    return "random" if method in {"given", "own"} else method


def supersedes(new: Result, old: Result, key: Key) -> bool:
    """A clean result replaces every one of changes; else all that was compared must have been compared again."""
    if new["device"] != old["device"] or not peers(new, key) or (new["changed"] and not old["changed"]):
        return False
    if old["changed"] and not new["changed"]:
        return True
    alike = hardware(new) == hardware(old) and initialisation(new) == initialisation(old)
    return alike and peers(old, key) <= peers(new, key)


def current(found: Sequence[tuple[Path, Result]]) -> Found:
    """The results, the oldest first, each with those rows only that no later one supersedes; without rows it is left
    out."""
    kept: Found = []
    for i, (path, result) in enumerate(found):
        later = [new for _, new in found[i + 1 :]]
        rows = [
            row
            for row in result["rows"]
            if not any(supersedes(new, result, (row["case"], row["mode"])) for new in later)
        ]
        if rows:
            names = {row["case"] for row in rows}
            kept.append((path, {**result, "rows": rows, "cases": [c for c in result["cases"] if c["name"] in names]}))
    return kept
