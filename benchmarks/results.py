# SPDX-License-Identifier: Apache-2.0
"""Result files: one JSON document for each run, as schema.json has it."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import UsageError

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "results"
SCHEMA = HERE / "schema.json"

# What a row has of a library that ran; null in those of others.
MEASURED = ["reason", "library", "init", "rows_used", "iterations", "seconds", "ratio", "tflops"]
MEASURED += ["inertia_per_point", "nmi", "host_bytes", "device_bytes"]

Row = dict[str, Any]
Result = dict[str, Any]


def validate(result: Result) -> None:
    """Raises jsonschema.ValidationError."""
    import jsonschema

    jsonschema.validate(result, json.loads(SCHEMA.read_text()))


def load(paths: Iterable[Path]) -> list[Result]:
    results = []
    for path in paths:
        try:
            results.append(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {error}") from None
    return results


def committed() -> list[Path]:
    """By date, the newest last."""
    return sorted(FOLDER.glob("*.json"))


def destination(output: Path, date: str, preset: str, device: str) -> Path:
    """The file a run will write; made sure now, before the work, that it can be written."""
    path = output if output.suffix == ".json" else output / f"{date}-{preset}-{device}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise UsageError(f"cannot write to {path}: it is a folder")
    return path


def save(result: Result, path: Path) -> None:
    """Whole or not at all."""
    validate(result)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(part, path)


def ours_of(rows: list[Row], row: Row) -> Row | None:
    """Our row for the same case and mode, if it has a time."""
    for other in rows:
        if other["peer"] == "ours" and all(other[key] == row[key] for key in ("case", "mode")) and other["seconds"]:
            return other
    return None


def add_ratios(rows: list[Row]) -> None:
    """`ratio`: the row's median time over ours, above 1 where ours is faster; null where either has no time."""
    for row in rows:
        ours = ours_of(rows, row)
        both = row["seconds"] and ours
        row["ratio"] = row["seconds"]["median"] / ours["seconds"]["median"] if both and ours else None


def seconds(first: float, warm: list[float]) -> dict[str, Any]:
    """`first`: of a new process. min, median and max: of the fits after it, or of it alone if there are none."""
    times = warm or [first]
    return {
        "first": first,
        "min": min(times),
        "median": statistics.median(times),
        "max": max(times),
        "all": warm,
    }


def name(row: Row) -> str:
    """The library, and where its data was if not on the host."""
    return str(row["peer"]) + (", on device" if row["mode"] == "device" else "")


def figures(value: float) -> str:
    """Three of them, final zeros too."""
    return f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def mean(values: list[float | None] | None) -> float | None:
    known = [value for value in values or [] if value is not None]
    return statistics.fmean(known) if known else None
