# SPDX-License-Identifier: Apache-2.0
"""Peak resident memory of a fit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc"),
]

MIB = 2**20
SPARE = 64 * MIB  # what the contract allows beyond the input and the arrays below
ROW, LABEL, ELEMENT = 12, 8, 24  # bytes planned for a row used, a row given, an element of the centroids

PROGRAM = """
import numpy as np, pathlib, sys, tempfile, warnings
from fastkmeans import FastKMeans
warnings.simplefilter("ignore")
n, d, k, dtype, order, niter, most, method, n_threads = {arguments!r}
def peak(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
with tempfile.TemporaryDirectory() as folder:
    if order == "mapped":
        x = np.lib.format.open_memmap(folder + "/x.npy", "w+", dtype, (n, d))
    else:
        x = np.empty((n, d), dtype, order)
    rng = np.random.default_rng(0)
    for i in range(0, n, 10_000):  # every page is resident before the fit, and no peak is left by the making
        x[i:i + 10_000] = rng.integers(0, 250, x[i:i + 10_000].shape, "u1")
    if order == "mapped":
        x.flush()
        x = np.load(folder + "/x.npy", mmap_mode="r")
        x.max()
    FastKMeans(2, 2, gpu=False).fit(np.eye(2, dtype="f4"))  # threads and first-use costs are not the fit's
    km = FastKMeans(d, k, niter=niter, tol=-1, gpu=False, max_points_per_centroid=most, n_threads=n_threads)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak("VmRSS")
    getattr(km, method)(x)
    print(peak("VmHWM") - before)
"""


def growth(
    n: int,
    d: int,
    k: int,
    dtype: str = "f4",
    order: str = "C",
    niter: int = 2,
    most: int | None = None,
    method: str = "fit",
    n_threads: int = 2,
) -> int:
    """Bytes by which the peak of `method` exceeds the process as it was, the rows resident already."""
    program = PROGRAM.format(arguments=(n, d, k, dtype, order, niter, most, method, n_threads))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


D, K = 128, 20


def rows(dtype: str) -> int:
    """Of 160 MiB, whatever the dtype: a copy, of half of them even, is beyond SPARE."""
    return 160 * MIB // (D * int(dtype[1]))


@pytest.mark.parametrize(
    ("dtype", "order"),
    [("f4", "C"), ("f2", "C"), ("u1", "C"), ("f8", "C"), ("f4", "F"), ("u1", "F"), ("f4", "mapped"), ("f2", "mapped")],
)
def test_rows_are_read_in_place(dtype: str, order: str) -> None:
    n = rows(dtype)
    assert growth(n, D, K, dtype, order) <= SPARE + n * (ROW + LABEL) + K * D * ELEMENT


@pytest.mark.parametrize(("dtype", "order"), [("f4", "C"), ("f2", "F"), ("u1", "mapped")])
def test_a_subsample_is_the_only_copy(dtype: str, order: str) -> None:
    n, item = rows(dtype), int(dtype[1])
    used = n // 2
    planned = used * (D * item + ROW) + n * LABEL + K * D * ELEMENT
    assert growth(n, D, K, dtype, order, most=used // K) <= SPARE + planned


@pytest.mark.parametrize(("n", "d", "dtype"), [(600, 262_144, "u1"), (2_000, 16_384, "f8")])
def test_wide_rows_for_many_threads(n: int, d: int, dtype: str) -> None:
    """A thread holds a tile of rows as fp32: with rows as wide as these, tiles must be few or small."""
    # The filter packs centroids in panels of up to 32, so few are as dear as 32 in 4 of the bytes an element.
    planned = 2 * d * ELEMENT + 30 * d * 4
    assert growth(n, d, 2, dtype, niter=1, method="train", n_threads=16) <= SPARE + planned


def test_many_centroids() -> None:
    """n k = 1e11: no path holds more than 4 MiB of scores a thread."""
    n, d, k, threads = 1_000_000, 8, 100_000, 2
    grown = growth(n, d, k, niter=1, method="train")
    # Scores and lists per thread, a sketch of the centroids (which d = 8 pads to at most 32), and 16 MiB for malloc.
    assert grown <= n * ROW + k * d * ELEMENT + threads * 4 * MIB + k * 32 * 4 + 16 * MIB
