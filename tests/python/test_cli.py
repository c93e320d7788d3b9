# SPDX-License-Identifier: Apache-2.0
"""The command `fastkmeans`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import fastkmeans
import numpy as np
import pytest
from cli_tools import COMMAND, TRAIN_BOTH, refused, run, train
from fastkmeans import FastKMeans, _cli

pytestmark = pytest.mark.usefixtures("folder")


def test_train(x: np.ndarray, capsys: Any) -> None:
    assert train() == 0
    expected = FastKMeans(7, 5)
    expected.train(x)
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert sorted(os.listdir(".")) == ["c.npy", "out.npy", "x.npy"]
    out, err = capsys.readouterr()
    line = f"k=5, {expected.n_iter_} iterations (converged), inertia {expected.inertia_:.9g}"
    assert re.fullmatch(re.escape(line) + r", \d+\.\d\d s\n", out)
    assert err == ""


def test_the_line_of_a_fit_that_was_cut_short(capsys: Any) -> None:
    assert train("--niter", "1") == 0
    assert capsys.readouterr().out.startswith("k=5, 1 iteration (not converged), inertia ")


def test_the_line_of_assign(x: np.ndarray, capsys: Any) -> None:
    np.save("row.npy", x[:1])
    for name, rows in (("x.npy", "400 rows"), ("row.npy", "1 row")):
        assert run("assign", name, "c.npy", "-o", "labels.npy") == 0
        out, err = capsys.readouterr()
        assert re.fullmatch(rf"k=5, {rows}, \d+\.\d\d s\n", out)
        assert err == ""


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet_prints_nothing(option: str, capsys: Any) -> None:
    assert train(option) == 0
    assert run("assign", "x.npy", "out.npy", "-o", "labels.npy", option) == 0
    assert capsys.readouterr() == ("", "")
    assert sorted(os.listdir(".")) == ["c.npy", "labels.npy", "out.npy", "x.npy"]


def test_train_with_labels_and_every_option(x: np.ndarray, capsys: Any) -> None:
    options = "--niter 3 --tol -1 --seed 5 --nredo 2 --n-threads 2 --max-points-per-centroid 50 --labels labels.npy"
    assert train(*options.split(), "--init", "k-means++") == 0
    assert capsys.readouterr().err.startswith("fastkmeans: warning: ")  # 250 of the 400 rows
    with pytest.warns(UserWarning, match="250"):
        expected = FastKMeans(7, 5, niter=3, tol=-1, seed=5, nredo=2, max_points_per_centroid=50, init="k-means++").fit(
            x
        )
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert np.load("labels.npy").tobytes() == expected.labels_.tobytes()


def test_weights(x: np.ndarray, capsys: Any) -> None:
    weights = np.random.default_rng(0).random(400)
    np.save("w.npy", weights)
    assert train("--weights", "w.npy") == 0
    expected = FastKMeans(7, 5).fit(x, weights=weights)
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    capsys.readouterr()
    line = ("train", "x.npy", "-k", "5", "-o", "out2.npy", "--weights")
    said = "x.npy must be a .npy file with a non-empty vector (n) of numbers, given shape (400, 7)"
    assert said in refused(capsys, *line, "x.npy")
    np.save("w.npy", weights - 0.5)
    assert f"weights[{np.flatnonzero(weights < 0.5)[0]}] is -0." in refused(capsys, *line, "w.npy")
    assert "w.npy" in refused(capsys, "train", "x.npy", "-k", "5", "-o", "w.npy", "--weights", "w.npy")


def test_spherical(x: np.ndarray) -> None:
    assert train("--spherical") == 0
    expected = FastKMeans(7, 5, spherical=True).fit(x)
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert run("assign", "x.npy", "out.npy", "-o", "labels.npy", "--spherical") == 0
    assert np.load("labels.npy").tobytes() == expected.labels_.tobytes()


def test_what_faiss_has(x: np.ndarray, capsys: Any) -> None:
    np.save("first.npy", x[:2])
    options = "--init-centroids first.npy --frozen-centroids --int-centroids --min-points-per-centroid 100"
    options += " --empty-clusters split"
    assert train(*options.split()) == 0
    assert "fewer than min_points_per_centroid = 100 each" in capsys.readouterr().err
    expected = FastKMeans(7, 5, frozen_centroids=True, int_centroids=True, empty_clusters="split")
    expected.train(x, init_centroids=x[:2])
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()


def test_stopping(x: np.ndarray, capsys: Any) -> None:
    assert train("--inertia-tol", "0.2", "--changed-tol", "0.1") == 0
    expected = FastKMeans(7, 5, inertia_tol=0.2, changed_tol=0.1).fit(x)
    assert f" {expected.n_iter_} iterations (converged)" in capsys.readouterr().out
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert train("--max-runtime-secs", "1e-9") == 0
    assert " 1 iteration (out of time)" in capsys.readouterr().out


def test_verbose_writes_a_line_for_each_iteration(capsys: Any) -> None:
    assert train("--verbose", "--niter", "2") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert re.fullmatch(r"Iteration 1/2: inertia .* s\nIteration 2/2: .* s\n", err)
    assert train() == 0
    assert capsys.readouterr().err == ""


def test_distances(x: np.ndarray) -> None:
    assert run("assign", "x.npy", "c.npy", "-o", "labels.npy", "--distances", "d.npy") == 0
    kmeans = FastKMeans(7, 5)
    kmeans.centroids = x[:5]
    expected = kmeans.assign(x)
    assert np.load("d.npy").tobytes() == expected[0].tobytes()
    assert np.load("labels.npy").tobytes() == expected[1].tobytes()


def test_every_row_is_used_on_request(x: np.ndarray, capsys: Any) -> None:
    assert train("--max-points-per-centroid", "all", "--niter", "2") == 0
    assert capsys.readouterr().err == ""


def test_assign_in_steps(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = FastKMeans(7, 5)
    kmeans.centroids = x[:5]
    for step in (_cli._ROWS_PER_STEP, 7):
        monkeypatch.setattr(_cli, "_ROWS_PER_STEP", step)
        assert run("assign", "x.npy", "c.npy", "-o", "labels.npy") == 0
        labels = np.load("labels.npy")
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, kmeans.predict(x))


def test_bad_rows_of_all_steps_are_counted(x: np.ndarray, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli, "_ROWS_PER_STEP", 100)
    spoiled = x.copy()
    spoiled[[150, 399], [2, 3]] = np.nan
    np.save("spoiled.npy", spoiled)
    said = "NaN in 2 rows, the first is row 150 (column 2)"
    assert said in refused(capsys, "assign", "spoiled.npy", "c.npy", "-o", "out.npy")
    monkeypatch.setattr(FastKMeans, "train", lambda self, data, *_: setattr(self, "centroids", x[:5]))
    train_both = ["train", "spoiled.npy", "-k", "5", "-o", "out.npy", "--labels", "labels.npy"]
    assert said in refused(capsys, *train_both)


def test_info(capsys: Any) -> None:
    assert run("info") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"fastkmeans {fastkmeans.__version__}\n")
    sets = dict(line.split()[:2] for line in out.splitlines() if line.startswith("  "))
    assert sets["scalar"] == "yes"
    assert set(sets.values()) <= {"yes", "no"}
    assert out.count("(used)") == 1
    assert "threads: " in out
    assert "build: " in out


def test_version_and_help(capsys: Any) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fastkmeans {fastkmeans.__version__}\n"
    for command in ([], ["train"], ["assign"], ["info"]):
        assert run(*command, "--help") == 0
        assert "usage: fastkmeans" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "COMMAND"),
        ("cluster", "invalid choice: 'cluster'"),
        ("train x.npy -o out.npy", "-k"),
        ("train x.npy -k five -o out.npy", "invalid int value: 'five'"),
        ("train x.npy -k 0 -o out.npy", "k must be at least 1, given 0"),
        ("train x.npy -k 401 -o out.npy", "Number of training points (400) is less than k (401)."),
        ("train x.npy -k 5 -o out.npy --niter 0", "niter must be at least 1, given 0"),
        ("train x.npy -k 5 -o out.npy --seed -1", "seed must be at least 0, given -1"),
        ("train x.npy -k 5 -o out.npy --n-threads 0", "n_threads must be at least 1, given 0"),
        (
            "train x.npy -k 5 -o out.npy --max-points-per-centroid some",
            "centroid: must be an integer or 'all', given 'some'",
        ),
        ("train x.npy -k 5 -o out.npy --unknown", "--unknown"),
        ("assign x.npy -o out.npy", "CENTROIDS.npy"),
        ("assign x.npy narrow.npy -o out.npy", "data must have d = 6 columns, given 7"),
    ],
)
def test_wrong_options(arguments: str, said: str, x: np.ndarray, capsys: Any) -> None:
    np.save("narrow.npy", x[:5, :6])
    assert said in refused(capsys, *arguments.split())


def npy(header: str, *, length: int | None = None, version: int = 1) -> bytes:
    """A .npy file with this header, whose length it may lie about, and 2,000 bytes of data."""
    size = (len(header) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + bytes(2000)


def shaped(shape: str, dtype: str = "'<f4'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n"


EXPECTED = " must be a .npy file with a non-empty matrix (n, d) of numbers, given "
HEADER = "a damaged or unfinished header"
BAD_FILES = {
    "empty.npy": (b"", "an empty file"),
    "text.npy": (b"1 2 3\n4 5 6\n", "a file of another format"),
    "zeros.npy": (bytes(5000), "a file of another format"),
    "archive.npz": (b"PK\x03\x04junk", "an archive (.npz)"),
    "magic.npy": (b"\x93NUMPY", HEADER),
    "unfinished.npy": (npy(shaped("(50, 7)"))[:50], HEADER),
    "endless.npy": (npy(shaped("(50, 7)"), length=2**32 - 1, version=2), HEADER),
    "version.npy": (npy(shaped("(50, 7)"), version=9), HEADER),
    "bracket.npy": (npy(shaped("(50, 7")), HEADER),
    "brackets.npy": (npy("((((\n"), HEADER),
    "short.npy": (npy(shaped("(72, 7)")), "a file cut short: 2071 bytes of the 2087 that its header tells of"),
    "many.npy": (npy(shaped("(99999999999999999999, 7)")), "a file cut short: "),
    "overflow.npy": (npy(shaped("(4611686018427387904, 7)")), "a file cut short: "),
    "bools.npy": (npy(shaped("(True, 4)")), "shape (True, 4)"),
    "negative.npy": (npy(shaped("(-5, 7)")), "shape (-5, 7)"),
    "vector.npy": (npy(shaped("(3,)")), "shape (3,)"),
    "cube.npy": (npy(shaped("(3, 3, 3)")), "shape (3, 3, 3)"),
    "norows.npy": (npy(shaped("(0, 7)")), "shape (0, 7)"),
}
BAD_DTYPES = {
    "objects.npy": ("'|O'", "object"),
    "complex.npy": ("'<c8'", "complex64"),
    "text.npy": ("'<U2'", "<U2"),
    "fields.npy": ("[('a', '<f4'), ('b', '<f4')]", "[('a', '<f4'), ('b', '<f4')]"),
    "huge.npy": ("'|V2147483647'", "|V2147483647"),
}


def uses(name: str) -> list[list[str]]:
    """Commands that read the file in every place where they read one."""
    return [
        ["train", name, "-k", "5", "-o", "out.npy", "--labels", "labels.npy"],
        ["assign", name, "c.npy", "-o", "out.npy"],
        ["assign", "x.npy", name, "-o", "out.npy"],
    ]


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, capsys: Any) -> None:
    content, given = BAD_FILES[name]
    Path(name).write_bytes(content)
    for arguments in uses(name):
        assert refused(capsys, *arguments).startswith(f"fastkmeans {arguments[0]}: {name}{EXPECTED}{given}")


@pytest.mark.parametrize(("name", "given"), [(".", "a directory"), ("pipe.npy", "a pipe"), ("/dev/zero", "a device")])
def test_what_is_no_file(name: str, given: str) -> None:
    """In a process of its own: what must not happen is that it hangs."""
    os.mkfifo("pipe.npy")
    for arguments in uses(name):
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"fastkmeans {arguments[0]}: {name}{EXPECTED}{given}\n"
        assert sorted(os.listdir(".")) == ["c.npy", "pipe.npy", "x.npy"]


@pytest.mark.parametrize("name", BAD_DTYPES)
def test_bad_dtypes(name: str, capsys: Any) -> None:
    dtype, given = BAD_DTYPES[name]
    Path(name).write_bytes(npy(shaped("(5, 7)", dtype)))
    line = refused(capsys, "train", name, "-k", "5", "-o", "out.npy")
    assert line.startswith(f"fastkmeans train: {name} must have dtype float32, ")
    assert re.search(rf", given {re.escape(given)}[.;]", line)  # some come with advice


def test_missing_and_forbidden_files(capsys: Any) -> None:
    assert "cannot read no.npy: No such file" in refused(capsys, "train", "no.npy", "-k", "5", "-o", "out.npy")
    assert "cannot read x.npy/y: Not a dir" in refused(capsys, "assign", "x.npy", "x.npy/y", "-o", "out.npy")


def test_rows_that_are_no_numbers(x: np.ndarray, capsys: Any) -> None:
    np.save("nan.npy", np.where(np.arange(400)[:, None] == 17, np.nan, x))
    assert "row 17 " in refused(capsys, "train", "nan.npy", "-k", "5", "-o", "out.npy", "--labels", "labels.npy")
    assert "row 17 " in refused(capsys, "assign", "nan.npy", "c.npy", "-o", "out.npy")


def test_a_header_is_not_read_at_any_length(capsys: Any) -> None:
    """A damaged length must not fill the memory."""
    with open("endless.npy", "wb") as file:
        file.write(npy(shaped("(50, 7)"), length=2**26, version=2))
        file.truncate(2**27)
    tracemalloc.start()
    refused(capsys, "train", "endless.npy", "-k", "5", "-o", "out.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("shape", ["(50, 7)", "(50L, 7L)"])  # Python 2's numpy wrote the L
def test_every_kind_of_header_is_read(version: int, shape: str, capsys: Any) -> None:
    Path("old.npy").write_bytes(npy(shaped(shape), version=version))
    assert run("assign", "old.npy", "c.npy", "-o", "labels.npy") == 0
    assert np.load("labels.npy").shape == (50,)
    assert capsys.readouterr().err == ""


def test_layouts_and_dtypes(x: np.ndarray) -> None:
    expected = FastKMeans(7, 5)
    expected.centroids = x[:5]
    for array in (np.asfortranarray(x), x.astype(np.float64), x.astype(">f4"), x.astype(np.longdouble)):
        np.save("kind.npy", array)
        assert run("assign", "kind.npy", "c.npy", "-o", "labels.npy") == 0
        np.testing.assert_array_equal(np.load("labels.npy"), expected.predict(x))


def drawn_by(*command: str) -> tuple[int, bytes, bytes]:
    """Exit code, stdout, and what was drawn on a terminal that is stderr."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, *command], stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 65536):
            drawn += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return done.returncode, done.stdout, drawn


def test_a_progress_bar_on_terminals_only() -> None:
    pytest.importorskip("rich")
    code, out, drawn = drawn_by(*TRAIN_BOTH)
    assert (code, out.count(b"\n")) == (0, 1)
    assert b"training" in drawn
    assert b"assigning" in drawn
    assert b"100%" in drawn
    assert drawn_by(*TRAIN_BOTH, "--quiet") == (0, b"", b"")
