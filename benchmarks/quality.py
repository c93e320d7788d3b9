# SPDX-License-Identifier: Apache-2.0
"""Whether our clusters are as good as theirs: NMI and inertia from each library's own random start, over 10 seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from .results import Result, Row, ours_of

PEERS = ["ours", "faiss", "sklearn-lloyd"]
SEEDS = 10


def spread(values: list[float] | None) -> tuple[float, float] | None:
    return (statistics.fmean(values), statistics.stdev(values)) if values and len(values) > 1 else None


def as_good(ours: Row, row: Row) -> bool | None:
    """Ours is better or within one standard deviation, in inertia and in NMI. None: not both measured.

    The deviation is of both together: each mean is one draw of ten starts, ours as much as theirs.
    """
    verdicts = []
    for key, sign in [("inertia_per_point", 1), ("nmi", -1)]:
        mine, theirs = spread(ours[key]), spread(row[key])
        if mine is None or theirs is None:
            return None
        deviation = math.sqrt((mine[1] ** 2 + theirs[1] ** 2) / 2)
        # A spread of rounding errors alone (all runs in the same optimum) is no yardstick: 1e-6 of the mean is equal.
        verdicts.append(sign * (mine[0] - theirs[0]) <= max(deviation, 1e-6 * abs(theirs[0])))
    return all(verdicts)


def table(result: Result) -> Iterator[str]:
    """Markdown lines."""
    yield "| data | library | inertia per point | NMI | ours as good? |"
    yield "|---|---|---|---|---|"
    for row in result["rows"]:
        cells = []
        for key in ("inertia_per_point", "nmi"):
            found = spread(row[key])
            cells.append(f"{found[0]:.6g} ± {found[1]:.2g}" if found else row["status"])
        ours = ours_of(result["rows"], row)
        verdict = ""
        if ours and row["peer"] != "ours":
            verdict = {True: "yes", False: "NO", None: "not known"}[as_good(ours, row)]
        yield f"| {row['case'].removeprefix('quality-')} | {row['peer']} | {cells[0]} | {cells[1]} | {verdict} |"


def failures(result: Result) -> list[str]:
    """What keeps the claim from being true; an unmeasured peer is one."""
    found = []
    for row in result["rows"]:
        if row["peer"] == "ours":
            if row["status"] != "ok":
                found.append(f"{row['case']}: ours: {row['reason']}")
            continue
        ours = ours_of(result["rows"], row)
        verdict = as_good(ours, row) if ours else None
        if verdict is not True:
            found.append(f"{row['case']}: {row['peer']}: {row['reason'] or 'ours is worse'}")
    return found
