# SPDX-License-Identifier: Apache-2.0
"""A few small problems whose rows lie on a CUDA device: copied to the host at once, fitted by the CPU, given back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import BatchResult, fit_batch

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

B, N, D, K = 24, 60, 12, 5
OPTIONS: dict[str, Any] = {"niter": 4, "n_threads": 4}


def rows() -> np.ndarray:
    return datasets.make("blobs", "f4", B * N, D, 5).reshape(B, N, D)


def runs_on_the_cpu(data: Any, **options: Any) -> bool:
    """It asks for its instruction set, here one that does not exist; a device does not."""
    with datasets.forced("none_such"):
        try:
            fit_batch(data, K, **OPTIONS, **options)
        except RuntimeError as error:
            assert "none_such" in str(error)  # noqa: PT017 (any other error is one)
            return True
    return False


def host(array: Any) -> np.ndarray:
    """Of any kind, as numpy."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array.get() if hasattr(array, "get") else array)


def check(found: BatchResult, truth: BatchResult) -> None:
    for name, value in truth._asdict().items():
        if value is None:
            assert getattr(found, name) is None
        else:
            assert host(getattr(found, name)).tobytes() == host(value).tobytes(), name


def layouts(xp: Any, t: Any, empty: Any) -> Iterator[tuple[str, Any]]:
    """The same problems, or some of them, as memory may have them."""
    yield "C", t
    room = empty((B, 2 * N + 1, 3 * D + 1))
    for name, view in (
        ("gaps between rows", room[:, 1::2, 1 : D + 1]),
        ("gaps between elements", room[:, :N, 2::3][..., :D]),
        ("gaps between problems", room[:, :N, :D]),
    ):
        view[...] = t
        yield name, view
    yield "every second problem", t[::2]
    yield "parts of vectors", xp.swapaxes(t.reshape(B * N, 4, D // 4), 0, 1)[:, : 8 * N]
    yield "columns first", xp.swapaxes(xp.swapaxes(t, 1, 2).reshape(B, D, N) * 1, 1, 2)
    yield "one problem for all", xp.broadcast_to(t[:1], (B, N, D))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int64", "bool"])
def test_tensors_of_every_dtype_and_layout(dtype: str, torch: Any) -> None:
    t = torch.from_numpy(rows()).to("cuda", getattr(torch, dtype))
    for name, tensor in layouts(torch, t, lambda shape: torch.zeros(shape, dtype=t.dtype, device=t.device)):
        before = tensor.clone()
        truth = fit_batch(tensor.cpu(), K, device="cpu", **OPTIONS)
        for device in (None, "cuda", tensor.device):
            found = fit_batch(tensor, K, device=device, **OPTIONS)
            check(found, truth)
            assert found.labels.device == found.centroids.device == tensor.device, name
            assert found.labels.dtype == torch.int64
            assert found.labels.shape == tensor.shape[:2]
        assert runs_on_the_cpu(tensor), name
        assert torch.equal(tensor, before)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16"])
def test_arrays_of_cupy(dtype: str) -> None:
    cupy = pytest.importorskip("cupy")
    x = cupy.asarray(rows().astype(dtype))
    backwards = x[::-1, ::-1, ::-1]
    for name, array in [*layouts(cupy, x, lambda shape: cupy.zeros(shape, x.dtype)), ("backwards", backwards)]:
        found = fit_batch(array, K, **OPTIONS)
        check(found, fit_batch(array.get(), K, device="cpu", **OPTIONS))
        assert isinstance(found.labels, cupy.ndarray), name
        assert runs_on_the_cpu(array), name


def test_ragged_problems_of_every_size(torch: Any) -> None:
    """Some have no rows, some fewer than clusters; large ones stay on the device."""
    sizes = [60, 0, 3, 700, 61, 1, 0, 40, 200_000, 90]
    x = datasets.make("blobs", "f4", sum(sizes), D, 6)
    offsets = [0, *np.cumsum(sizes)]
    weights = np.random.default_rng(0).integers(1, 4, len(x))
    ks = [3, 2, 7, 9, 5, 4, 1, 6, 8, 5]
    t = torch.from_numpy(x).cuda()
    for given in (None, weights):
        truth = fit_batch(x, ks, offsets=offsets, weights=given, device="cpu", **OPTIONS)
        check(fit_batch(t, ks, offsets=offsets, weights=given, **OPTIONS), truth)


def test_large_problems_stay_on_the_device(torch: Any) -> None:
    t = torch.from_numpy(rows()).cuda()
    assert runs_on_the_cpu(t)
    assert not runs_on_the_cpu(t[:3])  # fewer than threads
    large = torch.from_numpy(datasets.make("blobs", "f4", 5 * 80_000, D, 7).reshape(5, 80_000, D)).cuda()
    assert 80_000 * D * K > 4 * 2**20
    assert not runs_on_the_cpu(large)


def test_initial_centroids_of_each_problem(torch: Any) -> None:
    x = rows()
    t = torch.from_numpy(x).cuda()
    check(fit_batch(t, K, init=t[:, 7 : 7 + K], **OPTIONS), fit_batch(x, K, init=x[:, 7 : 7 + K], **OPTIONS))


def test_rows_are_read_after_what_the_current_stream_was_given(torch: Any) -> None:
    """Without gaps and with them, written late, by a stream that is not the default one."""
    source = torch.from_numpy(rows()).cuda()
    truth = fit_batch(rows(), K, device="cpu", **OPTIONS)
    for gaps in (0, 3):
        for _ in range(3):
            tensor = torch.full((B, N, D + gaps), torch.nan, device="cuda")[..., :D]
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):
                torch.cuda._sleep(100_000_000)  # 50 ms or so
                tensor.copy_(source)
                check(fit_batch(tensor, K, **OPTIONS), truth)


def test_errors_name_the_problem(torch: Any) -> None:
    t = torch.from_numpy(rows()).cuda()
    t[[17, 11], 4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"^problem 11: data has NaN in 1 row, the first is row 4 \(column 1\)"):
        fit_batch(t, K, **OPTIONS)


def test_a_memory_limit_of_one_row(torch: Any) -> None:
    """Rows without gaps take no memory of the device; others are packed there, as many at a time as it has room for."""
    x = rows()
    truth = fit_batch(x, K, device="cpu", **OPTIONS)
    t = torch.from_numpy(x).cuda()
    gaps = torch.zeros((B, N, D + 1), device="cuda")[..., :D]
    gaps.copy_(t)
    check(fit_batch(t, K, memory_limit=1, **OPTIONS), truth)
    for limit in (4 * D, 8 * D, 24 * D, 10_000):
        check(fit_batch(gaps, K, memory_limit=limit, **OPTIONS), truth)
    with pytest.raises(RuntimeError, match="CUDA has too little memory"):
        fit_batch(gaps, K, memory_limit=4 * D - 1, **OPTIONS)


STARVED = """
import numpy as np, torch
from fastkmeans import fit_batch
t = torch.from_numpy(np.random.default_rng(0).standard_normal((24, 60, 13), dtype=np.float32)).cuda()
for data in (t, t[..., :12]):
    try:
        fit_batch(data, 5, n_threads=4)
        print("well")
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.usefixtures("torch")
def test_problems_without_gaps_are_copied_as_they_are() -> None:
    """So no memory of the device is asked for; the first time that it is, for rows with gaps, fails here."""
    env = {**os.environ, "FASTKMEANS_CUDA_FAIL_ALLOCATION": "1"}
    done = subprocess.run([sys.executable, "-c", STARVED], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    without, with_gaps = done.stdout.splitlines()
    assert without == "well"
    assert "CUDA has too little memory" in with_gaps


def test_a_forced_filter_is_a_devices(torch: Any) -> None:
    """It may be one that the CPU has not; no instruction set is asked for."""
    truth = fit_batch(rows(), K, **OPTIONS)
    with datasets.forced("none_such", "none"):
        check(fit_batch(torch.from_numpy(rows()).cuda(), K, **OPTIONS), truth)
