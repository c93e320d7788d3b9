# SPDX-License-Identifier: Apache-2.0
"""The command's output files, stdout and stderr, whatever happens to them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from cli_tools import BOTH, COMMAND, TRAIN_BOTH, refused, run, train
from conftest import default_sigint
from fastkmeans import FastKMeans

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("no/such/out.npy", "No such file"),
        ("x.npy/out.npy", "Not a directory"),
        ("folder", "not a regular file"),
        ("new/", "not a regular file"),
        ("n" * 256, "File name too long"),
    ],
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


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)],
    ids=["full", "ctrl-c"],
)
@pytest.mark.parametrize("there", [[], ["out.npy"], ["out.npy", "labels.npy"]])
@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("time", [1, 2])
def test_outputs_are_whole_whenever_it_ends(
    step: str,
    time: int,
    there: list[str],
    trouble: BaseException,
    code: int,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trouble while the first or second file is written or renamed: old files stay in place until the new ones come."""

    def look() -> list[str]:
        """What each output is."""
        states = []
        for name in ("out.npy", "labels.npy"):
            old = os.path.exists(name) and Path(name).read_bytes() == b"previous " + name.encode()
            states.append("old" if old else "new" if os.path.exists(name) and np.load(name).size else "none")
        return states

    def ends(*arguments: Any) -> None:
        seen.append(look())
        if len(seen) == time:
            raise trouble
        original(*arguments)

    for name in there:
        Path(name).write_text(f"previous {name}")
    before = look()
    seen: list[list[str]] = []
    original = getattr(os, step)
    monkeypatch.setattr(os, step, ends)
    assert run(*TRAIN_BOTH) == code
    first = "new" if step == "replace" and time == 2 else before[0]
    assert look() == [first, before[1]]
    assert seen == [before, [first, before[1]]][:time]
    named = ["out.npy", "labels.npy"][time - 1]
    said = f"fastkmeans train: cannot write {named}: No space left on device\n" if code == 2 else ""
    assert capsys.readouterr() == ("", said)
    assert set(os.listdir(".")) <= set(BOTH)


# The first file is written when the signal comes.
SIGNALLED = """
import os, signal, sys
from fastkmeans import _cli
def fsync(_): os.kill(os.getpid(), {number})
os.fsync = fsync
sys.exit(_cli.main({arguments}))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_no_temporary_file_is_left_by_a_signal(number: int, code: int) -> None:
    source = SIGNALLED.format(number=int(number), arguments=TRAIN_BOTH)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, preexec_fn=default_sigint)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert sorted(os.listdir(".")) == ["c.npy", "x.npy"]


def test_sigterm_stays_ignored() -> None:
    source = SIGNALLED.format(number=int(signal.SIGTERM), arguments=TRAIN_BOTH)
    ignore = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)  # noqa: E731
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, preexec_fn=ignore)
    assert done.returncode == 0
    assert sorted(os.listdir(".")) == BOTH


def test_what_a_killed_process_left_is_in_nobodys_way() -> None:
    """Also if this process has its number again."""
    left = [f".out.npy.{os.getpid()}.tmp", f".out.npy.{os.getpid()}.old", ".fastkmeans-0123456789abcdef.tmp"]
    for name in left:
        Path(name).write_text("left")
    assert run(*TRAIN_BOTH) == 0
    assert sorted(os.listdir(".")) == sorted([*left, *BOTH])
    assert [Path(name).read_text() for name in left] == ["left"] * 3


def test_a_name_of_any_length_that_the_system_takes() -> None:
    name = "n" * 255
    assert run("assign", "x.npy", "c.npy", "-o", name) == 0
    assert np.load(name).shape == (400,)


def test_neither_output_appears_if_the_disk_is_full(folder: Path) -> None:
    """The centroids fit under the limit on file sizes, the labels do not."""
    done = subprocess.run(
        [*COMMAND, *TRAIN_BOTH],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(".")) == ["c.npy", "x.npy"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_an_existing_output_keeps_its_permissions_and_links_are_followed(mode: int) -> None:
    Path("real.npy").write_bytes(b"old")
    os.chmod("real.npy", mode)
    os.symlink("real.npy", "out.npy")
    assert train("--labels", "labels.npy") == 0
    assert os.path.islink("out.npy")
    assert np.load("real.npy").shape == (5, 7)
    assert os.stat("real.npy").st_mode & 0o7777 == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to any group")
def test_an_existing_output_keeps_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced() -> tuple[int, int]:
        Path("out.npy").write_bytes(b"old")
        os.chown("out.npy", -1, 4321)
        os.chmod("out.npy", 0o2664)
        assert train() == 0
        status = os.stat("out.npy")
        return status.st_gid, status.st_mode & 0o7777

    assert replaced() == (4321, 0o2664)

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    assert replaced() == (os.getgid(), 0o604)


def test_a_replacement_is_private_until_it_has_the_old_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.npy").write_bytes(b"old")
    original = os.fchmod
    first: list[int] = []

    def look(file: int, mode: int) -> None:
        first.append(os.fstat(file).st_mode & 0o777)
        original(file, mode)

    monkeypatch.setattr(os, "fchmod", look)
    assert train() == 0
    assert first == [0o600]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_output_has_the_permissions_of_any_new_file(umask: int) -> None:
    before = os.umask(umask)
    try:
        assert train() == 0
    finally:
        os.umask(before)
    assert os.stat("out.npy").st_mode & 0o7777 == 0o666 & ~umask


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_work_at_once(number: int, code: int, rng: np.random.Generator) -> None:
    np.save("large.npy", rng.normal(size=(100_000, 64)).astype(np.float32))
    command = [*COMMAND, "train", "large.npy", "-k", "20000", "-o", "out.npy", "--niter", "1000", "--tol", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_sigint
    )
    while psutil.Process(process.pid).cpu_times().user < 3:  # past the imports, in the first iteration
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    start = time.perf_counter()
    out, err = process.communicate(timeout=30)
    assert time.perf_counter() - start < 2  # half a second, and leaving Python
    assert process.returncode == code
    assert (out, err) == ("", "")
    assert sorted(os.listdir(".")) == ["c.npy", "large.npy", "x.npy"]


def redirected(redirection: str, *arguments: str, unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it with this redirection."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    command = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


WARNS = [*TRAIN_BOTH, "--max-points-per-centroid", "50"]


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_stderr_never_decides(redirection: str) -> None:
    assert run(*WARNS) == 0
    expected = Path("out.npy").read_bytes(), Path("labels.npy").read_bytes()
    done = redirected(redirection, *WARNS)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
    assert (Path("out.npy").read_bytes(), Path("labels.npy").read_bytes()) == expected
    assert sorted(os.listdir(".")) == BOTH
    for wrong in (["train", "no.npy", "-k", "5", "-o", "out.npy"], ["train", "x.npy"], ["cluster"]):
        done = redirected(redirection, *wrong)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_stderr_that_nobody_reads(nobody_reads: int) -> None:
    done = subprocess.run([*COMMAND, *WARNS], stdout=subprocess.PIPE, stderr=nobody_reads)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1)
    assert sorted(os.listdir(".")) == BOTH


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    ("redirection", "why"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
def test_stdout_that_cannot_be_written(redirection: str, why: str, unbuffered: bool) -> None:
    for arguments in (["info"], ["--help"], TRAIN_BOTH):
        done = redirected(redirection, *arguments, unbuffered=unbuffered)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"fastkmeans: cannot write to stdout: {why}\n"
    assert sorted(os.listdir(".")) == BOTH
    assert redirected(f"{redirection} 2>&-", "info").returncode == 1


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", ">&- 2>&-"])
def test_quiet_needs_no_stdout(redirection: str) -> None:
    done = redirected(redirection, *TRAIN_BOTH, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(".")) == BOTH


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_stdout_that_nobody_reads(unbuffered: str, nobody_reads: int) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    for arguments in (["info"], ["--help"], TRAIN_BOTH):
        done = subprocess.run([*COMMAND, *arguments], stdout=nobody_reads, stderr=subprocess.PIPE, env=env)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    assert sorted(os.listdir(".")) == BOTH
