# SPDX-License-Identifier: Apache-2.0
"""Copies, threads, signals, processes and the cost of a call."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import interrupted_after
from fastkmeans import FastKMeans


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies(again: Any, x: np.ndarray) -> None:
    for kmeans in (FastKMeans(7, 5, init=x[:5]), FastKMeans(7, 5, seed=3).fit(x)):
        other = again(kmeans)
        assert other.iteration_stats == kmeans.iteration_stats
        if kmeans.centroids is not None:
            np.testing.assert_array_equal(other.predict(x), kmeans.labels_)
        assert other.fit(x).centroids.tobytes() == kmeans.fit(x).centroids.tobytes()


def test_a_fit_on_tensors_pickles(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    kmeans = pickle.loads(pickle.dumps(FastKMeans(7, 5).fit(torch.from_numpy(x))))
    assert torch.equal(kmeans.centroids_device, torch.from_numpy(kmeans.centroids))


def test_concurrent_fits_give_the_same_bits(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20_000, 16)).astype(np.float32)

    def fit(n_threads: int) -> tuple[bytes, bytes, float]:
        kmeans = FastKMeans(16, 50, niter=5, n_threads=n_threads, max_points_per_centroid=None).fit(x)
        return kmeans.centroids.tobytes(), kmeans.labels_.tobytes(), kmeans.inertia_

    alone = fit(1)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(fit, [1, 2, 3, 4] * 3)) == {alone}


# On two cores an iteration of these takes seconds; whatever is waited for happens in the first.
LONG = {"k": 20_000, "niter": 1000, "tol": -1, "max_points_per_centroid": None}


@pytest.fixture
def many_rows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(200_000, 64)).astype(np.float32)


@pytest.mark.usefixtures("sigint_handled")
def test_ctrl_c_acts_within_half_a_second(many_rows: np.ndarray) -> None:
    kmeans = FastKMeans(64, **LONG)
    kmeans.centroids = former = many_rows[:20_000]
    assert interrupted_after(lambda: kmeans.predict(np.concatenate([many_rows] * 4))) < 0.5
    assert interrupted_after(lambda: kmeans.fit(many_rows)) < 0.5
    assert kmeans.centroids is former
    assert FastKMeans(64, 3, niter=2).fit(many_rows[:100]).centroids.shape == (3, 64)  # the threads are still well


def test_the_gil_is_released(many_rows: np.ndarray) -> None:
    ticks = []
    x = many_rows[:50_000]
    worker = threading.Thread(target=lambda: FastKMeans(64, 500, niter=5, tol=-1, max_points_per_centroid=None).fit(x))
    worker.start()
    while worker.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    steps = np.diff(ticks)
    assert steps.sum() > 0.05, "too short to tell"
    assert steps.max() < steps.sum() / 2


DAEMONS = """
import numpy as np, threading, time
from fastkmeans import FastKMeans
x = np.random.default_rng(0).normal(size=(20_000, 16)).astype("f4")
started = threading.Event()
def predict():
    km = FastKMeans(16, 20)
    km.centroids = x[:20]
    while True:
        km.predict(x)
        started.set()
def fit(callback=None):
    started.set()
    while True:
        FastKMeans(16, 2_000, niter=1_000, tol=-1, max_points_per_centroid=None, callback=callback).train(x)
def fit_with_callback():
    fit(lambda stats: time.sleep(0))
for _ in range(3):
    threading.Thread(target={target}, daemon=True).start()
started.wait()
time.sleep(0.2)  # the core looks for Ctrl-C every 50 ms
"""


@pytest.mark.parametrize("target", ["predict", "fit", "fit_with_callback"])
def test_daemon_threads_at_exit(target: str, in_new_process: Any) -> None:
    """They cannot have the GIL again once the interpreter is being finalised; the process must end, and well."""
    for _ in range(4):
        in_new_process(DAEMONS.format(target=target))


def test_nothing_is_printed_of_a_thread_that_sleeps_at_exit() -> None:
    source = """
import threading, time
import numpy as np
from fastkmeans import FastKMeans
started = threading.Event()
def callback(stats):
    started.set()
    time.sleep(100)
target = FastKMeans(2, 2, callback=callback).train
threading.Thread(target=target, args=[np.eye(2)], daemon=True).start()
started.wait()
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_any_number_of_threads_may_be_asked_for(x: np.ndarray) -> None:
    asked = FastKMeans(7, 5, n_threads=2**30).fit(x)
    assert asked.predict(x).tobytes() == asked.labels_.tobytes() == FastKMeans(7, 5).fit(x).labels_.tobytes()


def test_fits_after_fork(in_new_process: Any) -> None:
    said = in_new_process(
        "import os, warnings, numpy as np\n"
        "from fastkmeans import FastKMeans\n"
        "warnings.simplefilter('ignore')\n"
        "x = np.random.default_rng(0).normal(size=(20000, 16))\n"
        "fit = lambda: FastKMeans(16, 50, gpu=False, niter=3, n_threads=4, max_points_per_centroid=None)"
        ".fit(x).centroids\n"
        "here = fit().tobytes()\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if fit().tobytes() == here else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), fit().tobytes() == here)"
    )
    assert said.split() == ["0", "True"]


def test_a_tiny_fit_takes_less_than_a_millisecond(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 64)).astype(np.float32)
    seconds = []
    for _ in range(300):
        start = time.perf_counter()
        FastKMeans(64, 10).train(x)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1e-3
