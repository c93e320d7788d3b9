# SPDX-License-Identifier: Apache-2.0
"""Markdown tables and plots of result files, and the generated part of docs/performance.md.

Compares only rows that are in a file: what has not been measured is not spoken of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import UsageError, plot, quality, results
from .contestant import ROOT
from .results import Result, Row, mean, name

PAGE = ROOT / "docs" / "performance.md"
PLOTS = "plots"  # beside the page
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def number(value: float | None, unit: str = "") -> str:
    """Three figures, or a dash."""
    if value is None:
        return "-"
    return (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}") + unit


def inertia(row: Row) -> str:
    value = mean(row["inertia_per_point"])
    return "-" if value is None else f"{value:.6g}"


def line(row: Row) -> str:
    """One row, in a line of text."""
    if row["status"] != "ok":
        return f"{row['case']:18} {name(row):26} {row['status']}: {row['reason']}"
    seconds = row["seconds"]
    text = f"{row['case']:18} {name(row):26} {number(seconds['median'])} s (first {number(seconds['first'])})"
    return f"{text}, inertia {inertia(row)}" + (f" ({row['reason']})" if row["reason"] else "")


def cells(row: Row) -> list[str]:
    version = row["library"]["version"] if row["library"] else ""
    if row["status"] != "ok":
        reason = str(row["reason"]).replace("|", "/").replace("\n", " ")
        return [name(row), version, f"{row['status']}: {reason[:120]}", *[""] * 7]
    s = row["seconds"]
    return [
        name(row),
        version + (f" (torch {row['library']['torch']})" if row["library"]["torch"] else ""),
        f"{number(s['median'])} ({number(s['min'])} to {number(s['max'])}; {len(s['all'])})",
        number(s["first"]),
        number(row["ratio"], "x"),
        number(row["tflops"]),
        inertia(row) + ("" if row["init"] == "given" else " *"),
        number(mean(row["nmi"])),
        number(row["host_bytes"] and row["host_bytes"] / 2**20),
        number(row["device_bytes"] and row["device_bytes"] / 2**20),
    ]


HEADER = [
    "library",
    "version",
    "seconds: median (min to max; fits)",
    "first fit",
    "over ours",
    "TFLOP/s",
    "inertia/point",
    "NMI",
    "host MiB",
    "device MiB",
]


def markdown(rows: list[list[str]]) -> Iterator[str]:
    """Columns that no row fills are left out."""
    used = [i for i in range(len(HEADER)) if any(row[i] not in ("", "-") for row in rows)]
    yield "| " + " | ".join(HEADER[i] for i in used) + " |"
    yield "|" + "---|" * len(used)
    for row in rows:
        yield "| " + " | ".join(row[i] for i in used) + " |"


def where(result: Result) -> str:
    m = result["machine"]
    gpu = f"{m['gpu']} (driver {m['driver']}), " if m["gpu"] else ""
    flags = f" ({', '.join(m['flags'])})" if m["flags"] else ""
    return f"{gpu}{m['cpus']} CPUs of {m['cpu']}{flags}, {m['memory_gib']:g} GiB, Python {m['python']}"


def tables(result: Result) -> Iterator[str]:
    """Markdown of one result file."""
    commit = f"{(result['commit'] or 'unknown')[:12]}{' with changes' if result['changed'] else ''}"
    yield f"### {result['preset']} on {result['device']}, {result['date']}"
    yield ""
    yield f"{where(result)}. Commit {commit}, {result['settings']['threads']} threads:"
    yield ""
    yield f"    {result['command']}"
    yield ""
    if result["preset"] == "quality":
        yield from quality.table(result)
        yield ""
        return
    for case in result["cases"]:
        rows = [row for row in result["rows"] if row["case"] == case["name"]]
        if not rows:
            continue
        yield (
            f"**{case['name']}**: n = {case['n']:,}, d = {case['d']}, k = {case['k']:,}, "
            f"{case['niter']} iterations; {case['data']}"
        )
        yield ""
        rows.sort(key=lambda row: row["seconds"]["median"] if row["seconds"] else float("inf"))
        yield from markdown([cells(row) for row in rows])
        yield ""


LEGEND = """\
Times are of fits in a process that has made one before (`first fit` is that one), with the data in memory and the
centroids back there, or both on the device where it says so; the libraries take turns. `over ours` is a library's
median over ours. TFLOP/s counts 2nkd for each iteration, whether or not a library computes that much. Inertia is
computed by brute force in float64 over all rows, the same way for every library; with `*` the library drew its own
initial centroids, else all had the same. Memory is the peak beyond the loaded data. Every row is one that was
measured; libraries without a row are not compared."""


def plots(result: Result, folder: Path, stem: str) -> list[Path]:
    """PNG and SVG of each plot that the result has data for; the paths of the PNGs."""
    return plot.draw(result, folder, stem) if result["preset"] != "quality" else []


def report(files: list[Path], output: Path | None) -> int:
    """All files' tables to stdout, or with their plots into a folder."""
    if not files:
        raise UsageError("no result files")
    found = results.load(files)
    lines = [LEGEND, ""]
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {output}: {error.strerror}") from None
    for path, result in zip(files, found, strict=True):
        lines += tables(result)
        if output is not None:
            lines += pictures(result, output, path.stem, "")
    if output is None:
        print("\n".join(lines))
    else:
        (output / "report.md").write_text("\n".join(lines))
        print(f"written: {output / 'report.md'}")
    return 0


def pictures(result: Result, folder: Path, stem: str, prefix: str) -> Iterator[str]:
    for path in plots(result, folder, stem):
        yield f"![{path.stem}]({prefix}{path.with_suffix('.svg').name})"
        yield ""


def docs(page: Path) -> int:
    """Rewrites what stands between the markers of the page from the committed results."""
    try:
        text = page.read_text()
    except OSError as error:
        raise UsageError(f"cannot read {page}: {error.strerror}") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"{page} must have {BEGIN} and then {END}, once each")
    folder = page.parent / PLOTS
    folder.mkdir(exist_ok=True)
    lines = [LEGEND, ""]
    files = results.committed()
    for path, result in zip(files, results.load(files), strict=True):
        lines += [*tables(result), *pictures(result, folder, path.stem, f"{PLOTS}/")]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + "\n".join([BEGIN, *lines]) + END + after)
    return 0
