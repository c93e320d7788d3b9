# SPDX-License-Identifier: Apache-2.0
"""Plots on a white card, legible on light and dark pages; Okabe and Ito's colours, and a label on every curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .current import hardware
from .peers import LABELS
from .results import Result, Row, figures, mean, name, ours_of

PAPER, INK, GRID = "#ffffff", "#24292f", "#d8dee4"
OURS = "#d55e00"
COLOURS = ["#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7f6000", "#000000", "#8c8c8c", "#5b3a9e", "#b59f00", "#1f4e4e"]
MARKERS = "osD^vPX*<>hp"
COLUMNS = 2


def styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each curve; ours in vermilion, drawn last and strongest."""
    found: dict[str, dict[str, Any]] = {}
    others = [each for each in names if not each.startswith("ours")]
    for i, each in enumerate(others):
        found[each] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[1 + i % (len(MARKERS) - 1)]}
    for each in names:
        if each.startswith("ours"):
            found[each] = {"color": OURS, "marker": "o" if each == "ours" else "s", "linewidth": 2.6, "zorder": 5}
    return found


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places, moved as little as puts them `gap` apart, in their order and, with room for all, in [low, high]."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    # Less its rank's gaps each place only must not be below the one before: runs that are, share their mean.
    runs: list[list[float]] = []
    for rank, i in enumerate(order):
        runs.append([places[i] - rank * gap])
        while len(runs) > 1 and fmean(runs[-2]) > fmean(runs[-1]):
            runs[-2:] = [runs[-2] + runs[-1]]
    flat = [fmean(run) for run in runs for _ in run]
    top = max(low, high - (len(places) - 1) * gap)
    moved = list(places)
    for rank, i in enumerate(order):
        moved[i] = min(max(flat[rank], low), top) + rank * gap
    return moved


def figure(panels: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure and its panels, at most COLUMNS beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "fastkmeans"  # the same picture is the same file
    matplotlib.rcParams["font.size"] = 9
    columns = min(panels, COLUMNS)
    rows = -(-panels // columns)
    fig, grid = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    fig.patch.set_facecolor(PAPER)
    axes = list(grid.flat)
    for ax in axes[panels:]:
        ax.set_visible(False)
    for ax in axes[:panels]:
        ax.set_facecolor(PAPER)
        ax.grid(True, color=GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("bottom", "left"):
            ax.spines[side].set_color(INK)
        ax.tick_params(colors=INK, which="both")
    return fig, axes[:panels]


def plain_log(axis: Any) -> None:
    """Ticks as plain numbers, a few to a decade where there are few decades."""
    from matplotlib import ticker

    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())


def label_right(fig: Any, ax: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Names at the right margin, one below the other, each with a thin line to its point (x, y, name, colour)."""
    fig.canvas.draw()
    box = ax.get_window_extent()
    heights = [ax.transData.transform((x, y))[1] for x, y, _, _ in ends]
    line = 12 * fig.dpi / 72  # a line of text takes 12 points
    for (x, y, text, colour), pixel in zip(ends, spread(heights, line, box.y0, box.y1), strict=True):
        ax.annotate(
            text,
            (x, y),
            xytext=(1.04, (pixel - box.y0) / box.height),
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontweight="bold" if text.startswith("ours") else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.5,
                "shrinkA": 2,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def time_against_k(result: Result, timed: list[Row]) -> Any:
    case_k = {case["name"]: case["k"] for case in result["cases"]}
    names = list(dict.fromkeys(map(name, timed)))
    # A curve is of one kind of data at one dimension, which a preset may mix, and has three points.
    if len({case["d"] for case in result["cases"]}) > 1 or len({case_k[row["case"]] for row in timed}) < 3:
        return None
    if len(names) < 2:
        return None
    fig, (ax,) = figure(1, 8.5, 5)
    look = styles(names)
    ends = []
    for each in names:
        points = sorted((case_k[row["case"]], row["seconds"]["median"]) for row in timed if name(row) == each)
        ax.plot(*zip(*points, strict=True), label=each, **look[each])
        ends.append((*points[-1], each, look[each]["color"]))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ks = sorted(set(case_k.values()))
    ax.set_xticks(ks, [f"{k:,}" for k in ks])
    ax.minorticks_off()
    plain_log(ax.yaxis)
    ax.set_xlabel("clusters, k", color=INK)
    ax.set_ylabel("seconds", color=INK)
    label_right(fig, ax, ends)
    return fig


def ratios(result: Result, timed: list[Row]) -> Any:
    """Bars: a library's time over ours, for each case."""
    pairs = [(row, row["ratio"]) for row in timed if row["ratio"] and row["peer"] != "ours"]
    cases = [case["name"] for case in result["cases"] if any(row["case"] == case["name"] for row, _ in pairs)]
    if len(pairs) < 2:  # one bar says no more than its table
        return None
    most = max(sum(row["case"] == case for row, _ in pairs) for case in cases)
    fig, axes = figure(len(cases), 5.5, 1.1 + 0.26 * most)
    for ax, case in zip(axes, cases, strict=True):
        bars = sorted(((ratio, name(row)) for row, ratio in pairs if row["case"] == case), reverse=True)
        values = [ratio for ratio, _ in bars]
        # From 1 outwards on a logarithmic scale: half the time is as long a bar as twice the time.
        colours = [COLOURS[0] if value >= 1 else OURS for value in values]
        ax.barh(range(len(bars)), [value - 1 for value in values], left=1, color=colours, height=0.6)
        ax.set_xscale("log")
        ax.set_xlim(min([0.8, *(0.5 * value for value in values if value < 1)]), 2 * max([*values, 1]))
        plain_log(ax.xaxis)
        ax.set_yticks(range(len(bars)), [text for _, text in bars])
        for i, value in enumerate(values):
            # Right of the bar and of the line at 1, also where the bar goes left: the axis has its labels there.
            ax.annotate(
                f"{figures(value)}x",
                (max(value, 1), i),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                color=INK,
            )
        ax.axvline(1, color=INK, linewidth=1)
        ax.grid(False, axis="y")
        ax.set_title(case, color=INK)
        ax.set_xlabel("median time over ours (the line at 1)", color=INK)
    return fig


def inertia_against_time(result: Result, timed: list[Row]) -> Any:
    known = [row for row in timed if mean(row["inertia_per_point"])]
    cases = [case["name"] for case in result["cases"] if sum(row["case"] == case["name"] for row in known) > 1]
    if not cases:
        return None
    look = styles(list(dict.fromkeys(map(name, known))))
    fig, axes = figure(len(cases), 6, 3.8)
    labels = []
    for ax, case in zip(axes, cases, strict=True):
        rows = [row for row in known if row["case"] == case]
        ours = ours_of(rows, rows[0])
        against = mean((ours or min(rows, key=lambda row: mean(row["inertia_per_point"]) or 0))["inertia_per_point"])
        ends = []
        for row in rows:
            x, y = row["seconds"]["median"], 100 * ((mean(row["inertia_per_point"]) or 0) / (against or 1) - 1)
            style = look[name(row)]
            ax.plot([x], [y], linestyle="", markersize=7, **{k: v for k, v in style.items() if k != "linewidth"})
            ends.append((x, y, name(row), style["color"]))
        ax.set_xscale("log")
        ax.margins(0.12, 0.12)
        plain_log(ax.xaxis)
        ax.set_title(case, color=INK)
        ax.set_xlabel("seconds", color=INK)
        ax.set_ylabel(f"inertia over {'ours' if ours else 'the lowest'}, %", color=INK)
        labels.append((ax, ends))
    for ax, ends in labels:
        label_right(fig, ax, ends)
    return fig


# What the chart of README.md shows: a preset's case and device, and what it is in words.
HEADLINE = [
    ("tok768", "cpu", "token embeddings, 262,144 x 768\ninto 2,621 clusters"),
    ("colbert-131072", "cuda", "blobs, 13,107,200 x 128\ninto 131,072 clusters"),
]


def headline(found: Sequence[Result]) -> Any:
    """Seconds of a fit, ours and the peers', on a CPU and on a GPU, of the newest clean results that have peers; None
    where there are none."""
    panels = []
    for case, device, words in HEADLINE:
        clean = [result for result in found if result["device"] == device and not result["changed"]]
        for result in reversed(clean):
            rows = [r for r in result["rows"] if (r["case"], r["mode"]) == (case, "host") and r["seconds"]]
            rows = [r for r in rows if not r["peer"].startswith("ours-")]
            if len(rows) > 1 and ours_of(rows, rows[0]):
                panels.append((f"{hardware(result)}\n{words}", rows))
                break
    if len(panels) != len(HEADLINE):
        return None
    fig, axes = figure(len(panels), 4.8, 2.3)
    fig.get_layout_engine().set(wspace=0.08)
    for ax, (title, rows) in zip(axes, panels, strict=True):
        bars = sorted(((row["seconds"]["median"], LABELS.get(name(row), name(row))) for row in rows), reverse=True)
        colours = [OURS if text == "ours" else COLOURS[0] for _, text in bars]
        ax.barh([text for _, text in bars], [value for value, _ in bars], color=colours, height=0.6)
        for i, (value, _) in enumerate(bars):
            ax.annotate(
                f"{figures(value)} s", (value, i), xytext=(3, 0), textcoords="offset points", va="center", color=INK
            )
        ax.set_xlim(0, 1.2 * bars[0][0])
        ax.grid(False, axis="y")
        ax.set_title(title, color=INK, fontsize=9)
        ax.set_xlabel("seconds of a fit of 10 iterations", color=INK)
    return fig


def save(fig: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    fig.savefig(path, facecolor=PAPER, metadata={"Date": None}, bbox_inches="tight")
    plt.close(fig)


def draw(result: Result, folder: Path, stem: str, most: int = 3) -> list[Path]:
    """Writes an SVG of each of the first `most` plots there is data for; gives their paths."""
    timed = [row for row in result["rows"] if row["seconds"]]
    paths: list[Path] = []
    for what, make in [("time", time_against_k), ("ratio", ratios), ("inertia", inertia_against_time)]:
        if len(paths) < most and (fig := make(result, timed)) is not None:
            paths.append(folder / f"{stem}-{what}.svg")
            save(fig, paths[-1])
    return paths
