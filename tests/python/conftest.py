# SPDX-License-Identifier: Apache-2.0
"""What several test files share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import fake_cupy
import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device that can be used")
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Where there is no GPU, the line before the last says how many tests need one."""
    yield
    skipped = sum("gpu" in report.keywords for report in terminalreporter.stats.get("skipped", []))
    if skipped and not datasets.HAS_GPU:
        terminalreporter.write_line(f"NO CUDA DEVICE: {skipped} TESTS THAT NEED ONE WERE SKIPPED")


@pytest.fixture
def torch() -> Any:
    """For tensors on a GPU; files of other tests have a fixture of this name of their own."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("THIS TORCH HAS NO CUDA")
    return torch


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """400 rows of 7 columns in 5 clumps."""
    return (rng.normal(size=(400, 7)) + 8 * rng.integers(0, 5, size=(400, 1))).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: np.ndarray) -> Path:
    """A working folder that holds x.npy and c.npy."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    np.save("c.npy", x[:5])
    return tmp_path


@pytest.fixture
def nearest() -> Callable[[object, object], np.ndarray]:
    """Labels by brute force in float64; for data whose nearest centroids are apart by more than float32's rounding."""

    def labels(x: object, centroids: object) -> np.ndarray:
        x, c = np.asarray(x, np.float64), np.asarray(centroids, np.float64)
        return ((x[:, None] - c[None]) ** 2).sum(axis=2).argmin(axis=1)

    return labels


def default_sigint() -> None:
    """For a child's preexec_fn: where SIGINT is ignored (background jobs of a shell), Python installs no handler."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def sigint_handled() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, whatever this process was started with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_after(work: Any) -> float:
    """Seconds between Ctrl-C and the KeyboardInterrupt that comes out of `work`."""
    sent = []

    def press() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        return time.perf_counter() - sent[0]
    finally:
        timer.cancel()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for cupy, whose memory is the host's."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    return fake_cupy


@pytest.fixture
def in_new_process() -> Callable[[str], str]:
    """Run Python source in a process of its own, where nothing else has been imported; gives its stdout."""

    def run(source: str) -> str:
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
