# SPDX-License-Identifier: Apache-2.0
"""Reports, pages and plots of benchmark results, from made-up times."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

for package in ("jsonschema", "matplotlib", "psutil", "sklearn"):
    pytest.importorskip(package)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program is not part of the package

from benchmarks import cli, plot, presets, report, results  # noqa: E402
from benchmarks.run import Settings, result  # noqa: E402


def made_up(preset: str, ks: list[int], times: dict[str, list[float]]) -> results.Result:
    """A result as if measured: the times of each peer, one for each k; None leaves the row without."""
    cases = [presets.Case(f"{preset}-{k}", 10 * k, 8, k, 10, "made up", lambda rng: iter([])) for k in ks]
    rows = []
    library = {"file": "lib/__init__.py", "version": "1.0", "torch": None, "python": "3", "numpy": "2"}
    for i, case in enumerate(cases):
        for peer, seconds in times.items():
            row = {"case": case.name, "peer": peer, "mode": "host", "status": "ok", "interleaved": True}
            row |= dict.fromkeys(results.MEASURED)
            row |= {"library": library, "inertia_per_point": [1.0 + seconds[i]]}
            row["seconds"] = results.seconds(2 * seconds[i], [seconds[i]])
            rows.append(row)
    results.add_ratios(rows)
    settings = Settings("cpu", Path(), Path(), threads=1)
    return result(preset, cases, rows, settings, ["run", "--preset", preset])


def test_report_of_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    results.save(made_up("clusters", [16, 64], {"ours": [1, 2], "faiss": [3, 4]}), paths[0])
    results.save(made_up("dims", [16], {"sklearn-lloyd": [5]}), paths[1])
    assert cli.main(["report", *map(str, paths)]) == 0
    text = capsys.readouterr().out
    assert "clusters on cpu" in text
    assert "dims on cpu" in text
    assert "3x" in text  # faiss over ours at k = 16
    assert "cuvs" not in text  # what has no row is not spoken of

    assert cli.main(["report", *map(str, paths), "--output", str(tmp_path / "out")]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    drawn = {f"a-{what}.svg" for what in ("time", "ratio", "inertia")}
    assert written == drawn | {"report.md"}  # b has neither two sizes nor anyone to compare


def test_docs_have_results_of_clean_commits_on_a_page_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    for preset, changed in (("clusters", False), ("blobs", True)):
        found = made_up(preset, [16, 64], {"ours": [1, 2], "faiss": [3, 4]})
        results.save(found | {"changed": changed}, tmp_path / f"{preset}.json")
    page, others = tmp_path / "README.md", tmp_path / report.UNCOMMITTED
    assert cli.main(["docs", "--output", str(page)]) == 0
    texts = [page.read_text(), others.read_text()]
    for text, heading, other in zip(
        texts, ["## clusters on cpu", "## blobs on cpu"], ["blobs", "clusters"], strict=True
    ):
        assert heading in text
        assert f"## {other}" not in text
        assert text.count("![") == 1  # the first plot
    assert (tmp_path / "plots" / "clusters-time.svg").exists()
    assert cli.main(["docs", "--output", str(page)]) == 0
    assert [page.read_text(), others.read_text()] == texts
    (tmp_path / "blobs.json").unlink()
    assert cli.main(["docs", "--output", str(page)]) == 0
    assert report.UNCOMMITTED in texts[0]
    assert report.UNCOMMITTED not in page.read_text()
    assert not others.exists()


def test_labels_of_plots_do_not_overlap() -> None:
    moved = plot.spread([5, 5, 5, 90, 99.5], 10, 0, 100)
    assert np.diff(sorted(moved)).min() >= 10 - 1e-9
    assert min(moved) >= 0
    assert max(moved) <= 100
    assert plot.spread([10, 50], 10, 0, 100) == [10, 50]


def test_values_beside_bars_stand_clear_of_the_axis() -> None:
    """Where bars go left, the axis has the libraries' names; values are right of the line at 1."""
    found = made_up("blobs", [16], {"ours": [2], "faiss": [1], "superkmeans-f32": [6]})
    (ax,) = plot.ratios(found, found["rows"]).axes
    assert {text.get_text(): text.xy[0] for text in ax.texts} == {"0.5x": 1, "3x": 3}


def test_the_chart_is_of_clean_commits_or_none() -> None:
    found = []
    for case, device, _ in plot.HEADLINE:
        each = made_up("blobs", [16], {"ours": [1], "faiss": [3]}) | {"device": device, "changed": False}
        found.append(each | {"rows": [row | {"case": case} for row in each["rows"]]})
    chart = plot.headline(found)
    assert [[text.get_text() for text in ax.texts] for ax in chart.axes] == [["3 s", "1 s"]] * len(found)
    assert plot.headline(found[:1]) is None
    assert plot.headline([found[0], found[1] | {"changed": True}]) is None
