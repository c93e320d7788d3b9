# SPDX-License-Identifier: Apache-2.0
"""What may go wrong on a GPU: Ctrl-C, fork, no memory; and what must not be left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from conftest import interrupted_after
from fastkmeans import FastKMeans

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.alone
@pytest.mark.usefixtures("sigint_handled")
def test_ctrl_c_acts_within_half_a_second(rng: np.random.Generator) -> None:
    """In a fit of 65,536 centroids that would take minutes, and in a prediction of streamed rows, again and again."""
    x = rng.standard_normal((1_000_000, 64), dtype=np.float32)
    km = FastKMeans(64, 65_536, device="cuda", niter=100_000, tol=-1, max_points_per_centroid=None)
    km.centroids = former = x[:65_536]

    def predict() -> None:
        while True:
            km.predict(x)

    km.predict(x[:1000])  # the first use of a device takes longer, in the driver
    assert interrupted_after(lambda: km.fit(x)) < 0.5
    assert interrupted_after(predict) < 0.5
    assert km.centroids is former
    small = x[:2000]
    assert FastKMeans(64, 3, device="cuda").fit(small).labels_.tolist() == (
        FastKMeans(64, 3, gpu=False).fit(small).labels_.tolist()
    )


FORK = """
import os, sys
import numpy as np
from fastkmeans import FastKMeans
x = np.random.default_rng(0).normal(size=(20_000, 16)).astype("f4")
def fit(**place):
    return FastKMeans(16, 50, niter=3, **place).fit(x).centroids.tobytes()
here = fit(device="cuda")
former = FastKMeans(16, 50, device="cuda").fit(x)
child = os.fork()
if child == 0:
    for use in (fit, lambda: fit(device="cuda"), lambda: former.predict(x), lambda: former.fit(x)):
        try:
            use()
            print("no error")
        except RuntimeError as error:
            print("CUDA" in str(error) and "spawn" in str(error))
    print(fit(gpu=False) == here, fit(device="cpu") == here, flush=True)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, fit(device="cuda") == here)
"""


def test_after_fork(in_new_process: Any) -> None:
    assert in_new_process(FORK).split() == ["True"] * 6 + ["0", "True"]


SPAWN = """
import multiprocessing
import numpy as np
from fastkmeans import FastKMeans
def fit(_=None):
    x = np.random.default_rng(0).normal(size=(20_000, 16)).astype("f4")
    return FastKMeans(16, 50, device="cuda", niter=3).fit(x).centroids.tobytes()
if __name__ == "__main__":
    here = fit()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(all(there == here for there in pool.map(fit, range(4))))
"""


def test_spawn(tmp_path: Path) -> None:
    (tmp_path / "spawn.py").write_text(SPAWN)
    command = [sys.executable, str(tmp_path / "spawn.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


# A fit while the N-th allocation of the process fails, and one after it; each "same", or the text of its error.
STARVED = """
import warnings
import numpy as np
from fastkmeans import FastKMeans
warnings.simplefilter("ignore")
x = np.random.default_rng(0).normal(size=(30_011, 40)).astype("f4")
def fit(**place):
    km = FastKMeans(40, K, init=INIT, niter=3, **place).fit(x)
    return km.centroids.tobytes(), km.labels_.tobytes(), km.inertia_
truth = fit(gpu=False)
for _ in range(2):
    try:
        print("same" if fit(device="cuda") == truth else "OTHER BITS")
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("init", "k"), [("random", 130), ("k-means++", 8)])  # of eight, the last by sketches
def test_every_allocation_may_fail(init: str, k: int) -> None:
    """A fit that meets it gives the same bits or one RuntimeError with "CUDA" in it; the next is well."""

    def starved(failing: int) -> list[str]:
        env = {**os.environ, "FASTKMEANS_CUDA_FAIL_ALLOCATION": str(failing), "OMP_NUM_THREADS": "2"}
        code = f"INIT, K = {init!r}, {k}\n{STARVED}"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (failing, done.stderr)
        return done.stdout.splitlines()

    errors = 0
    with ThreadPoolExecutor(8) as pool:
        for first in range(1, 400, 8):
            batch = list(pool.map(starved, range(first, first + 8)))
            for number, said in enumerate(batch, first):
                assert len(said) == 2, (number, said)
                assert said[0] == "same" or "CUDA" in said[0], (number, said)
                # An allocation beyond those of the first fit fails in the second.
                assert said[1] == "same" or (said[0] == "same" and "CUDA" in said[1]), (number, said)
            errors += sum(said[0] != "same" for said in batch)
            if all(said == ["same", "same"] for said in batch):
                break
        else:
            pytest.fail("more than 400 allocations")
    assert errors > 0, "no allocation failed: FASTKMEANS_CUDA_FAIL_ALLOCATION does nothing"


def free_memory() -> int:
    """Bytes of device 0 that nobody has."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("THIS TORCH HAS NO CUDA: device memory cannot be measured")
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info(0)[0])


@pytest.mark.alone
def test_fits_leave_no_device_memory_behind(rng: np.random.Generator) -> None:
    """10,000 tiny fits; then some that fail, and some that are stopped."""
    x = rng.standard_normal((300, 64), dtype=np.float32)
    spoiled = x.copy()
    spoiled[3] = np.nan

    def fit(times: int) -> None:
        for _ in range(times):
            FastKMeans(64, 10, device="cuda:0", niter=2).fit(x)

    def fail(times: int) -> None:
        for i in range(times):
            with pytest.raises(ValueError, match="row 3"):
                FastKMeans(64, 10, device="cuda:0").fit(spoiled)
            with pytest.raises(ZeroDivisionError):
                FastKMeans(64, 10, device="cuda:0", callback=lambda stats: 1 // 0).fit(x)
            assert FastKMeans(64, 10, device="cuda:0", seed=i, callback=lambda stats: True).fit(x).n_iter_ == 1

    for work, times in ((fit, 10_000), (fail, 300)):
        work(100)
        before = free_memory()
        work(times)
        assert before - free_memory() < 4 << 20  # one byte a fit, in blocks of 2 MiB, and noise


@pytest.mark.alone
def test_large_fits_give_their_memory_back(rng: np.random.Generator) -> None:
    """What a fit keeps for the next does not grow with the fits, whatever their shapes."""
    free = []
    for _ in range(3):
        for d in (8, 40, 128):
            x = rng.standard_normal((200_000, d), dtype=np.float32)
            FastKMeans(d, 500, device="cuda:0", niter=2, max_points_per_centroid=None).fit(x)
        free.append(free_memory())
    assert free[1] - free[2] < 4 << 20
