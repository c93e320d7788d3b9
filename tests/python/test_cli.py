# SPDX-License-Identifier: Apache-2.0
"""The command `fastkmeans`."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastkmeans
import numpy as np
import pytest
from conftest import default_sigint
from fastkmeans import FastKMeans, _cli

COMMAND = [sys.executable, "-m", "fastkmeans"]
TRAIN_BOTH = [*COMMAND, "train", "x.npy", "-k", "5", "-o", "out.npy", "--labels", "labels.npy"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: np.ndarray) -> Path:
    """A working folder that holds x.npy and c.npy."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    np.save("c.npy", x[:5])
    return tmp_path


def train(*extra: str) -> int:
    return run("train", "x.npy", "-k", "5", "-o", "out.npy", *extra)


def run(*arguments: str) -> int:
    try:
        return _cli.main(arguments)
    except SystemExit as leaving:  # argparse
        return int(leaving.code or 0)


def refused(capsys: Any, *arguments: str) -> str:
    """The one line on stderr of a command that must fail with exit code 2 and leave no file behind."""
    before = sorted(os.listdir("."))
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("fastkmeans")
    assert sorted(os.listdir(".")) == before
    return str(err)


def test_train(x: np.ndarray, capsys: Any) -> None:
    assert train() == 0
    assert capsys.readouterr() == ("", "")
    expected = FastKMeans(7, 5)
    expected.train(x)
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert sorted(os.listdir(".")) == ["c.npy", "out.npy", "x.npy"]


def test_train_with_labels_and_every_option(x: np.ndarray, capsys: Any) -> None:
    options = "--niter 3 --tol -1 --seed 5 --nredo 2 --n-threads 2 --max-points-per-centroid 50 --labels labels.npy"
    assert train(*options.split()) == 0
    assert capsys.readouterr().err.startswith("fastkmeans: warning: ")  # 250 of the 400 rows
    with pytest.warns(UserWarning, match="250"):
        expected = FastKMeans(7, 5, niter=3, tol=-1, seed=5, nredo=2, max_points_per_centroid=50).fit(x)
    assert np.load("out.npy").tobytes() == expected.centroids.tobytes()
    assert np.load("labels.npy").tobytes() == expected.labels_.tobytes()


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
    monkeypatch.setattr(FastKMeans, "train", lambda self, data: setattr(self, "centroids", x[:5]))
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


# Headers of .npy files on which numpy's reader fails with more than a ValueError.
SHAPES = ["(99999999999999999999, 7)", "(4611686018427387904, 7)", "(-5, 7)"]
DAMAGED = [
    *[f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n" for shape in SHAPES],
    "{'descr': '<f4', 'fortran_order': False, 'shape': (50, 7), \n",
    "((((\n",
]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.npy", "No such file"),
        (".", "Is a directory"),
        ("empty.npy", "not a .npy file"),
        ("text.npy", "not a .npy file"),
        ("short.npy", "not a .npy file"),
        ("objects.npy", "not a .npy file"),
        ("archive.npz", ".npz"),
        ("vector.npy", "given shape (3,)"),
        ("norows.npy", "given shape (0, 7)"),
        ("complex.npy", "given complex"),
        ("nan.npy", "17"),
        *[(f"damaged{i}.npy", "not a .npy file") for i in range(len(DAMAGED))],
        ("damaged.npz", "not a .npy file"),
    ],
)
def test_bad_files(name: str, said: str, x: np.ndarray, capsys: Any) -> None:
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1 2 3\n4 5 6\n")
    Path("short.npy").write_bytes(Path("x.npy").read_bytes()[:-1])
    np.save("objects.npy", np.array([[object()]]), allow_pickle=True)
    np.savez("archive.npz", x)
    np.save("vector.npy", x[0, :3])
    np.save("norows.npy", x[:0])
    np.save("complex.npy", x + 1j)
    for i, header in enumerate(DAMAGED):
        length = len(header).to_bytes(2, "little")
        Path(f"damaged{i}.npy").write_bytes(b"\x93NUMPY\x01\x00" + length + header.encode() + bytes(2000))
    Path("damaged.npz").write_bytes(b"PK\x03\x04junk")
    np.save("nan.npy", np.where(np.arange(400)[:, None] == 17, np.nan, x))
    assert said in refused(capsys, "train", name, "-k", "5", "-o", "out.npy", "--labels", "labels.npy")
    assert said in refused(capsys, "assign", name, "c.npy", "-o", "out.npy")


@pytest.mark.parametrize(
    ("output", "said"),
    [("no/such/out.npy", "No such file"), ("x.npy/out.npy", "Not a directory"), ("folder", "not a regular file")],
)
def test_unwritable_outputs_are_found_before_the_work(
    output: str, said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any) -> None:
        raise AssertionError("the work has begun")

    os.mkdir("folder")
    monkeypatch.setattr(FastKMeans, "train", work)
    monkeypatch.setattr(FastKMeans, "predict", work)
    line = refused(capsys, "train", "x.npy", "-k", "5", "-o", output)
    assert f"cannot write {output}" in line
    assert said in line
    assert said in refused(capsys, "train", "x.npy", "-k", "5", "-o", "out.npy", "--labels", output)
    assert said in refused(capsys, "assign", "x.npy", "c.npy", "-o", output)


def test_outputs_that_would_overwrite_an_input_or_each_other(capsys: Any) -> None:
    os.symlink("x.npy", "link.npy")
    assert "is an input" in refused(capsys, "train", "x.npy", "-k", "5", "-o", "./x.npy")
    assert "is an input" in refused(capsys, "assign", "x.npy", "c.npy", "-o", "link.npy")
    assert "both outputs" in refused(capsys, "train", "x.npy", "-k", "5", "-o", "a.npy", "--labels", "./a.npy")


@pytest.mark.parametrize("there", [[], ["out.npy"], ["out.npy", "labels.npy"]])
def test_nothing_changes_if_an_output_cannot_be_renamed(
    there: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def fail_at_labels(source: str, target: str) -> None:
        if target.endswith("labels.npy"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    for name in there:
        Path(name).write_text(f"previous {name}")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_at_labels)
        line = refused(capsys, "train", "x.npy", "-k", "5", "-o", "out.npy", "--labels", "labels.npy")
    assert "No space left on device" in line
    assert [Path(name).read_text() for name in there] == [f"previous {name}" for name in there]
    assert train("--labels", "labels.npy") == 0
    assert np.load("out.npy").shape == (5, 7)
    assert sorted(os.listdir(".")) == ["c.npy", "labels.npy", "out.npy", "x.npy"]


def test_neither_output_appears_if_the_disk_is_full(folder: Path) -> None:
    """The centroids fit under the limit on file sizes, the labels do not."""
    done = subprocess.run(
        TRAIN_BOTH,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(".")) == ["c.npy", "x.npy"]


def test_an_existing_output_is_replaced_and_links_are_followed() -> None:
    Path("real.npy").write_bytes(b"old")
    os.symlink("real.npy", "out.npy")
    assert train() == 0
    assert os.path.islink("out.npy")
    assert np.load("real.npy").shape == (5, 7)
    umask = os.umask(0)
    os.umask(umask)
    assert os.stat("real.npy").st_mode & 0o777 == 0o666 & ~umask


def test_ctrl_c(rng: np.random.Generator) -> None:
    np.save("large.npy", rng.normal(size=(100_000, 64)).astype(np.float32))
    command = [*COMMAND, "train", "large.npy", "-k", "20000", "-o", "out.npy", "--niter", "1000", "--tol", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_sigint
    )
    time.sleep(1.5)  # past the imports, in the first iteration
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    out, err = process.communicate(timeout=30)
    assert time.perf_counter() - start < 2  # half a second, and leaving Python
    assert process.returncode == 130
    assert (out, err) == ("", "")
    assert sorted(os.listdir(".")) == ["c.npy", "large.npy", "x.npy"]


def test_a_progress_bar_on_terminals_only() -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    done = subprocess.run(TRAIN_BOTH, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 65536):
            drawn += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"training" in drawn
    assert b"assigning" in drawn
    assert b"100%" in drawn
