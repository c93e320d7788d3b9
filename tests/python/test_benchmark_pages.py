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

from benchmarks import cli, pages, peers, plot, presets, report, results, targets  # noqa: E402
from benchmarks.current import current, hardware  # noqa: E402
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
    results.save(made_up("clusters", [16, 64, 256], {"ours": [1, 2, 3], "faiss": [3, 4, 5]}), paths[0])
    results.save(made_up("dims", [16], {"sklearn-lloyd": [5]}), paths[1])
    assert cli.main(["report", *map(str, paths)]) == 0
    text = capsys.readouterr().out
    assert "clusters on cpu" in text
    assert "dims on cpu" in text
    assert "3.00x" in text  # faiss over ours at k = 16
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
        found = made_up(preset, [16, 64, 256], {"ours": [1, 2, 3], "faiss": [3, 4, 5]})
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


@pytest.mark.parametrize(("name", "preset", "device"), [(report.GPU, "blobs", "cuda"), (report.STARTS, "init", "cpu")])
def test_docs_have_results_on_gpus_and_initial_centroids_on_pages_of_their_own(
    name: str, preset: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    page, others = tmp_path / "README.md", tmp_path / name
    for its_preset, its_device in (("clusters", "cpu"), (preset, device)):
        found = made_up(its_preset, [16, 64, 256], {"ours": [1, 2, 3], "faiss": [3, 4, 5]})
        results.save(found | {"changed": False, "device": its_device}, tmp_path / f"{its_preset}.json")
    assert cli.main(["docs", "--output", str(page)]) == 0
    assert name in page.read_text()
    assert "## clusters on cpu" in page.read_text()
    assert f"{preset} on" not in page.read_text()
    assert "on cuda" not in page.read_text()
    assert f"## {preset} on {device}" in others.read_text()
    assert "clusters" not in others.read_text()
    if device == "cuda":
        assert "on cpu" not in others.read_text()
    (tmp_path / f"{preset}.json").unlink()
    assert cli.main(["docs", "--output", str(page)]) == 0
    assert name not in page.read_text()
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
    assert {text.get_text(): text.xy[0] for text in ax.texts} == {"0.500x": 1, "3.00x": 3}


def test_the_chart_is_of_clean_commits_or_none() -> None:
    found = []
    for case, device, _ in plot.HEADLINE:
        each = made_up("blobs", [16], {"ours": [1], "faiss": [3]}) | {"device": device, "changed": False}
        found.append(each | {"rows": [row | {"case": case} for row in each["rows"]]})
    chart = plot.headline(found)
    assert [[text.get_text() for text in ax.texts] for ax in chart.axes] == [["3.00 s", "1.00 s"]] * len(found)
    assert plot.headline(found[:1]) is None
    assert plot.headline([found[0], found[1] | {"changed": True}]) is None
    newer = made_up("blobs", [16], {"ours": [2], "faiss": [5]}) | {"changed": False}
    newer["rows"] = [row | {"case": plot.HEADLINE[0][0]} for row in newer["rows"]]
    chart = plot.headline([*found, newer])
    assert [text.get_text() for text in chart.axes[0].texts] == ["5.00 s", "2.00 s"]


def shown(*found: results.Result) -> list[list[tuple[str, str]]]:
    """Case and peer of the rows that are current."""
    kept = dict(current([(Path(str(i)), each) for i, each in enumerate(found)]))
    rows = [kept[Path(str(i))]["rows"] if Path(str(i)) in kept else [] for i in range(len(found))]
    return [[(row["case"], row["peer"]) for row in each] for each in rows]


def test_a_newer_run_supersedes_what_it_measured_again() -> None:
    clean = {"changed": False}
    old = made_up("blobs", [16, 64], {"ours": [1, 2], "faiss": [3, 4]}) | clean
    again = made_up("blobs", [16], {"ours": [1], "faiss": [3]}) | clean
    both = [("blobs-16", "ours"), ("blobs-16", "faiss")]
    rest = [("blobs-64", "ours"), ("blobs-64", "faiss")]
    assert shown(old, again) == [rest, both]
    assert shown(again, old) == [[], both + rest]  # the second is the newer one
    alone = made_up("blobs", [16], {"ours": [1]}) | clean
    assert shown(old, alone)[0] == [*both, *rest]  # without the peer there is nothing to compare it with
    other_machine = again | {"machine": again["machine"] | {"cpu": "another"}}
    assert hardware(other_machine) != hardware(again)
    assert shown(old, other_machine)[0] == [*both, *rest]
    for method, first in (("own", rest), ("k-means++", [*both, *rest])):  # random rows are random rows
        other_start = again | {"settings": again["settings"] | {"init": method}}
        assert shown(old, other_start)[0] == first


def test_results_of_changes_give_way_to_every_clean_one() -> None:
    old = made_up("blobs", [16], {"ours": [1], "faiss": [3]})
    new = made_up("blobs", [16], {"ours": [1]})
    new["machine"] = new["machine"] | {"cpu": "another"}
    both = [("blobs-16", "ours"), ("blobs-16", "faiss")]
    assert shown(old | {"changed": True}, new | {"changed": False}) == [[], both[:1]]
    assert shown(old | {"changed": False}, old | {"changed": True}) == [both, both]


def measured_cpu(case: str, times: dict[str, float]) -> tuple[Path, results.Result]:
    """A clean result of two threads of a CPU with VNNI."""
    found = made_up("highdim", [16], {peer: [seconds] for peer, seconds in times.items()})
    for each in found["cases"]:
        each["name"] = case
    for row in found["rows"]:
        row["case"] = case
    found["machine"] |= {"cpu": "Intel(R) Xeon(R) Processor", "flags": ["avx2", "avx512f", "avx512_vnni"]}
    found["settings"]["threads"] = 2
    return Path(case), found | {"changed": False, "commit": "0123456789abcdef"}


def test_tables_show_what_is_wanted_beside_what_is_measured() -> None:
    found = [measured_cpu("tok768", {"ours": 2, "ours-avx2": 4, "superkmeans-f32": 8})]
    made = pages.tables(found)
    lines = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in made["cpu"].splitlines()}
    size = "token embeddings, 160 x 8, k = 16"
    assert (size, "Intel Xeon, 2 threads, VNNI", "2.00", "4.00 (5)", "0123456") in lines
    assert (size, "Intel Xeon, 2 threads, AVX2", "4.00", "2.00 (3)", "0123456") in lines
    missing = [line for line in made["unmeasured"].splitlines() if "token embeddings, 262,144 x 768" in line]
    assert [line.split("|")[2:4] for line in missing] == [
        [" AMX ", " 5 x superkmeans flat f32, 7 x faiss SuperKMeans "]
    ]
    assert (
        f"| {size} | Intel Xeon, 2 threads, VNNI | 2.00 | superkmeans flat f32 1.0: 8.00 | 0123456 |" in made["front"]
    )

    changed = [(path, each | {"changed": True}) for path, each in found]
    assert "0123456" not in "".join(pages.tables(changed).values())


def test_our_own_loop_stands_beside_us_as_a_peer() -> None:
    path, found = measured_cpu("batch", {"ours": 2, "sklearn-lloyd": 24, "ours-loop": 8})
    found["cases"][0] |= {"problems": 1000, "n": 500}
    (made,) = [line for line in pages.tables([(path, found)])["cpu"].splitlines() if "iid normal" in line]
    what = "iid normal, 1,000 problems of 500 x 8, k = 16"
    assert made == f"| {what} | Intel Xeon, 2 threads, VNNI | 2.00 | 12.0 (10) | 4.00 (5) | 0123456 |"
    what = "iid normal, 1,000 problems of 500 x 64, k = 16, 25 iterations"
    wanted = [line for line in pages.tables([])["unmeasured"].splitlines() if what in line]
    assert wanted == [
        f"| {what} | AMX, VNNI, AVX2 | 10 x scikit-learn, 10 x scikit-learn on 1 thread, 5 x ours in a loop |",
        f"| {what} | GPU, rows on the device | 2 x flash-kmeans fp16 |",
    ]


def ended(row: results.Row, status: str, reason: str) -> results.Row:
    return {**row, "status": status, "reason": reason, "seconds": None, "ratio": None}


def test_initialisations_stand_beside_those_of_peers() -> None:
    found = []
    for method, seconds in {"own": 0.5, "k-means++": 4, "k-means||": 2}.items():
        path, each = measured_cpu("init-iid", {"ours": seconds, "faiss": 3 * seconds, "sklearn-lloyd": 8})
        each["cases"][0]["niter"] = 1
        each["settings"] |= {"init": method, "threads": 1, "timeout": 20.0}
        found.append((path, each))
    ours, faiss, sklearn = found[1][1]["rows"]
    found[1][1]["rows"] = [ours, faiss, ended(sklearn, "timeout", "fit took more than 20 s")]
    ours, faiss, sklearn = found[2][1]["rows"]
    lacking = ended(faiss, "unsupported", "NotImplementedError: no k-means||")
    found[2][1]["rows"] = [ours, lacking, ended(sklearn, "timeout", "load took more than 600 s")]
    start = "| iid normal, 160 x 8, k = 16, 1 iteration"
    made = [line for line in pages.tables(found)["initialisations"].splitlines() if line.startswith(start)]
    assert made == [
        f"{start} | random rows | Intel Xeon, 1 thread, VNNI | 0.500 | 3.00 | 16.0 | 0123456 |",
        f"{start} | k-means\\|\\| | Intel Xeon, 1 thread, VNNI | 2.00 | unsupported | timeout | 0123456 |",
        f"{start} | k-means++ | Intel Xeon, 1 thread, VNNI | 4.00 | 3.00 | > 5.00 | 0123456 |",
    ]
    assert pages.tables(found)["initialisations_cuda"] == "Nothing yet.\n"


def test_tables_are_written_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: front -->\nold\n<!-- end -->\nafter\n")
    found = [measured_cpu("tok768", {"ours": 2, "faiss": 8})]
    pages.write(found, [page])
    text = page.read_text()
    assert text.startswith("before\n<!-- measured: front -->\n\n| data |")
    assert text.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in text
    pages.write(found, [page])
    assert page.read_text() == text


@pytest.mark.skipif(not results.committed(), reason="no results in this copy")
def test_the_pages_are_those_of_the_committed_results() -> None:
    files = results.committed()
    found = current(list(zip(files, results.load(files), strict=True)))
    assert [path for path, _ in found] == files, "the others are superseded: to be deleted"
    for page in pages.PAGES:
        text = page.read_text(encoding="utf-8")
        assert pages.filled(text, pages.tables(found)) == text, "python -m benchmarks docs"


def test_every_peer_of_a_target_has_a_name() -> None:
    wanted = {peer for target in [*targets.CPU, *targets.CUDA] for peer in target.times}
    assert wanted <= peers.LABELS.keys() <= peers.PEERS.keys()
