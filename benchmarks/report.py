# SPDX-License-Identifier: Apache-2.0
"""Markdown tables and plots of result files, and the page benchmarks/results/README.md.

Compares only rows that are in a file: what has not been measured is not spoken of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import UsageError, pages, plot, quality, results
from .current import current
from .results import Result, Row, figures, mean, name

PAGE = results.FOLDER / "README.md"
PLOTS = "plots"  # beside the page


def number(value: float | None, unit: str = "") -> str:
    """Three figures, or a dash."""
    return "-" if value is None else figures(value) + unit


def inertia(row: Row) -> str:
    value = mean(row["inertia_per_point"])
    return "-" if value is None else f"{value:.6g}" + ("" if row["init"] == "given" else " *")


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
        inertia(row),
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
    """Markdown of one result file: where and how it was measured, then its rows."""
    commit = f"{(result['commit'] or 'unknown')[:12]}{' with changes' if result['changed'] else ''}"
    yield f"{result['date']}, {where(result)}. Commit {commit}, {result['settings']['threads']} threads:"
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
        problems = f"{case['problems']:,} problems of " if case.get("problems", 1) != 1 else ""
        yield (
            f"**{case['name']}**: {problems}n = {case['n']:,}, d = {case['d']}, k = {case['k']:,}, "
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


def title(result: Result) -> str:
    return f"{result['preset']} on {result['device']}"


def plots(result: Result, folder: Path, stem: str, most: int = 3) -> list[Path]:
    """The SVG of each plot that the result has data for, of the first `most`."""
    return plot.draw(result, folder, stem, most) if result["preset"] != "quality" else []


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
        lines += [f"### {title(result)}", "", *tables(result)]
        if output is not None:
            lines += pictures(plots(result, output, path.stem), "")
    if output is None:
        print("\n".join(lines))
    else:
        (output / "report.md").write_text("\n".join(lines))
        print(f"written: {output / 'report.md'}")
    return 0


def pictures(paths: list[Path], prefix: str) -> Iterator[str]:
    for path in paths:
        yield f"![{path.stem}]({prefix}{path.name})"
        yield ""


GPU, STARTS, UNCOMMITTED = "gpu.md", "initialisations.md", "uncommitted.md"  # beside README.md
INTRODUCTION = """# Results

`python -m benchmarks docs` writes this page from the result files beside it: each case as it was last measured on each
kind of hardware, with the command, the machine and the commit."""
ON_GPUS = """# Results on GPUs

How to read them: [README.md](README.md), which has those on CPUs."""
ON_STARTS = """# Initial centroids on CPUs

Fits of one iteration, by how they begin. How to read them: [README.md](README.md), which has all others."""
SEE_ALSO = {
    GPU: f"Results on GPUs: [{GPU}]({GPU}).",
    STARTS: f"Initial centroids on CPUs: [{STARTS}]({STARTS}).",
    UNCOMMITTED: f"Results of changes that were not committed: [{UNCOMMITTED}]({UNCOMMITTED}).",
}

DIRTY = """# Measured with changes that were not committed

Nobody can check out what these measured. They stand here until they are run again, and no other page quotes them. How
to read them: [README.md](README.md)."""


def sections(found: list[tuple[Path, Result]], folder: Path) -> Iterator[str]:
    """Tables and one plot of each, under the presets' names."""
    headings = []
    for path, result in found:
        if title(result) not in headings:  # a preset's cases may come from several files
            headings.append(title(result))
            yield from (f"## {headings[-1]}", "")
        yield from tables(result)
        yield from pictures(plots(result, folder, path.stem, 1), f"{PLOTS}/")


def docs(page: Path) -> int:
    """Writes the page of the committed results of clean commits on CPUs, one of initial centroids there, one of
    those on GPUs and one of others, if there are any, and the plots; beside the project's own page the tables of
    README.md and docs/performance.md too."""
    folder = page.parent / PLOTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    files = results.committed()
    found = current(list(zip(files, results.load(files), strict=True)))
    for path in sorted({*files} - {path for path, _ in found}):
        print(f"superseded, to be deleted: {path.name}")
    by_title = sorted(found, key=lambda each: title(each[1]))
    clean = [each for each in by_title if not each[1]["changed"]]
    on_gpus = [each for each in clean if each[1]["device"] == "cuda"]
    starts = [each for each in clean if each not in on_gpus and each[1]["preset"] == "init"]
    on_cpus = [each for each in clean if each not in on_gpus + starts]
    changed = [each for each in by_title if each[1]["changed"]]
    if page == PAGE:  # the plots of results that are no longer there
        for old in folder.glob("*.svg"):
            old.unlink()
    see_also = []
    pages_beside = ((GPU, ON_GPUS, on_gpus), (STARTS, ON_STARTS, starts), (UNCOMMITTED, DIRTY, changed))
    for beside, head, others in pages_beside:
        if others:
            see_also += [SEE_ALSO[beside], ""]
            page.with_name(beside).write_text("\n".join([head, "", *sections(others, folder)]))
        else:
            page.with_name(beside).unlink(missing_ok=True)
    page.write_text("\n".join([INTRODUCTION, "", *see_also, LEGEND, "", *sections(on_cpus, folder)]))
    if chart := plot.headline([result for _, result in found]):
        plot.save(chart, folder / "headline.svg")
    if page == PAGE:
        pages.write(found)
    return 0
