# SPDX-License-Identifier: Apache-2.0
"""Many small problems whose rows lie on a CUDA device: they iterate there, in lockstep."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import _core, fit_batch
from fastkmeans._device_input import DeviceMatrix
from test_cuda_batch import check

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

B, N, D, K = 80, 90, 12, 5
OPTIONS: dict[str, Any] = {"niter": 6, "n_threads": 4}


def rows(problems: int = B) -> np.ndarray:
    """Noise: no cluster gets empty."""
    return np.random.default_rng(3).standard_normal((problems, N, D), dtype=np.float32)


def on_the_device(data: Any, k: Any = K, **options: Any) -> Any:
    """Whatever runs on the CPU asks for its instruction set, here one that does not exist."""
    with datasets.forced("none_such"):
        return fit_batch(data, k, **{**OPTIONS, **options})


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8", "int64"])
def test_tensors_of_every_layout(dtype: str, torch: Any) -> None:
    x = torch.from_numpy(rows() * (20 if "int" in dtype else 1) + (100 if dtype == "uint8" else 0))
    t = x.to(getattr(torch, dtype)).cuda()

    def empty(shape: tuple[int, ...]) -> Any:
        return torch.zeros((B, *shape[1:]), dtype=t.dtype, device=t.device)

    room = empty((B, 2 * N + 1, 3 * D + 1))
    views = {
        "C": t,
        "gaps between rows": room[:, 1::2, 1 : D + 1],
        "columns first": t.transpose(1, 2).contiguous().transpose(1, 2),
        "every second problem": t[::2],
        "one problem for all": t[:1].expand(B, N, D),
    }
    views["gaps between rows"][...] = t
    for name, tensor in views.items():
        before = tensor.clone()
        truth = fit_batch(tensor.cpu(), K, device="cpu", **OPTIONS)
        assert not truth.n_empty.any()
        found = on_the_device(tensor)
        check(found, truth)
        assert found.labels.device == found.centroids.device == tensor.device, name
        assert torch.equal(tensor, before)


@pytest.mark.parametrize(
    "options",
    [
        {"tol": 0, "niter": 25},
        {"metric": "cosine"},
        {"labels": False},
        {"inertia_tol": 0.05},
        {"changed_tol": 0.2},
        {"seed": 7, "niter": 1},
        {"min_points_per_centroid": 30},
        {"max_points_per_centroid": None},
        {"empty_clusters": "split"},
    ],
)
def test_options(options: dict[str, Any], torch: Any) -> None:
    x = rows()
    given = {**OPTIONS, **options}
    check(on_the_device(torch.from_numpy(x).cuda(), **given), fit_batch(x, K, device="cpu", **given))


def test_initial_centroids(torch: Any) -> None:
    x = rows()
    t = torch.from_numpy(x).cuda()
    for init in (x[:, 7 : 7 + K], x[0, 3 : 3 + K] * np.float32(0.1)):  # near 0, so that each gets rows in all problems
        truth = fit_batch(x, K, init=init, device="cpu", **OPTIONS)
        check(on_the_device(t, init=init), truth)
        check(on_the_device(t, init=torch.from_numpy(init.copy()).cuda()), truth)


def test_initial_centroids_on_the_device_in_any_dtype_and_layout(torch: Any) -> None:
    t = torch.from_numpy(rows()).cuda()
    for name in ("float32", "float64", "float16", "bfloat16", "int32"):
        scale = 100 if name == "int32" else 1
        data, init = t * scale, (t[:, 7 : 7 + K] * scale).to(getattr(torch, name))
        room = torch.zeros((B, 2 * K, 2 * D), dtype=init.dtype, device="cuda")[:, ::2, 1::2]
        room.copy_(init)
        truth = fit_batch(data.cpu(), K, init=init.cpu(), device="cpu", **OPTIONS)
        for given in (init, room, init.transpose(1, 2).contiguous().transpose(1, 2)):
            check(on_the_device(data, init=given), truth)


def test_initial_centroids_of_another_library_or_stream(torch: Any) -> None:
    """Those that another stream writes are read when it is done."""
    x = rows()
    t = torch.from_numpy(x).cuda()
    truth = fit_batch(x, K, init=x[:, 7 : 7 + K], device="cpu", **OPTIONS)
    cupy = pytest.importorskip("cupy")
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        with stream:
            check(on_the_device(t, init=cupy.array(x[:, 7 : 7 + K])), truth)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the core is asked for, call by call, and what it gives back."""
    calls: list[dict[str, Any]] = []
    core = _core.fit_batch

    def fit(*args: Any, **options: Any) -> Any:
        found = core(*args, **options)
        calls.append({**options, "found": found})
        return found

    monkeypatch.setattr(_core, "fit_batch", fit)
    return calls


def test_results_are_made_where_the_rows_are(torch: Any, asked: list[dict[str, Any]]) -> None:
    """Of problems that the CPU fits, too."""
    x = rows()
    t = torch.from_numpy(x).cuda()
    for count in (B, 20):
        found = fit_batch(t[:count], K, init=t[:count, 7 : 7 + K], **OPTIONS)
        call = asked[-1]
        assert call["device_centroids"] == found.centroids.data_ptr()
        assert call["device_labels"] == found.labels.data_ptr()
        assert isinstance(call["init"], DeviceMatrix)
        assert call["found"]["centroids"] is None
        assert call["found"]["labels"] is None
        check(found, fit_batch(x[:count], K, init=x[:count, 7 : 7 + K], device="cpu", **OPTIONS))
    assert fit_batch(t, K, labels=False, **OPTIONS).labels is None
    assert asked[-1]["device_labels"] == 0
    for data, k in ((x, K), (t, N + 1)):  # more centroids than rows are no work for a device
        fit_batch(data, k, **OPTIONS)
        assert "device_centroids" not in asked[-1]


def test_results_of_cupy_are_made_where_the_rows_are(asked: list[dict[str, Any]]) -> None:
    cupy = pytest.importorskip("cupy")
    found = fit_batch(cupy.asarray(rows()), K, **OPTIONS)
    assert asked[-1]["device_centroids"] == found.centroids.data.ptr
    assert asked[-1]["device_labels"] == found.labels.data.ptr
    check(found, fit_batch(rows(), K, device="cpu", **OPTIONS))


def test_k_that_cannot_be(torch: Any) -> None:
    """No room is asked for."""
    t = torch.from_numpy(rows()).cuda()
    with pytest.raises(ValueError, match="k must be at least 1, given 0"):
        fit_batch(t, 0, **OPTIONS)
    with pytest.raises(ValueError, match=rf"problem 0: k is {10**12}\b"):
        fit_batch(t, 10**12, **OPTIONS)


def test_results_are_written_after_those_that_had_their_memory(torch: Any) -> None:
    """Torch gives memory to the next of a stream while kernels of that stream still write to it."""
    x = rows()
    t = torch.from_numpy(x).cuda()
    truth = fit_batch(x, K, device="cpu", **OPTIONS)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            centroids = torch.empty((B * K, D), device="cuda")
            labels = torch.empty(B * N, dtype=torch.int64, device="cuda")
            torch.cuda._sleep(100_000_000)  # 50 ms or so
            centroids.fill_(77)
            labels.fill_(77)
            del centroids, labels
            found = on_the_device(t)
            torch.cuda.synchronize()
            check(found, truth)


def test_ragged_problems(torch: Any) -> None:
    random = np.random.default_rng(4)
    sizes, ks = random.integers(60, 400, 50), random.integers(2, 6, 50)  # none is sampled
    offsets = [0, *np.cumsum(sizes)]
    x = random.standard_normal((offsets[-1], D), dtype=np.float32)
    truth = fit_batch(x, ks, offsets=offsets, device="cpu", **OPTIONS)
    check(on_the_device(torch.from_numpy(x).cuda(), ks, offsets=offsets), truth)


def test_many_with_the_options_that_the_cpu_has_alone(torch: Any) -> None:
    x = rows()
    t = torch.from_numpy(x).cuda()
    weights = np.random.default_rng(5).integers(1, 4, (B, N))
    for options in (
        {"weights": weights},
        {"init": "k-means++"},
        {"init": x[:, :2]},
        {"max_points_per_centroid": 10},
        {"nredo": 2},
        {"metric": "inner_product"},
        {"int_centroids": True},
        {"init": x[:, :K], "frozen_centroids": True},
    ):
        check(fit_batch(t, K, **OPTIONS, **options), fit_batch(x, K, device="cpu", **OPTIONS, **options))
        with pytest.raises(RuntimeError, match="none_such"):
            on_the_device(t, **options)
    double = t.double()
    check(fit_batch(double, K, **OPTIONS), fit_batch(x.astype("f8"), K, device="cpu", **OPTIONS))


def test_some_problems_fail_there(torch: Any) -> None:
    """Equal rows, zeros, clusters that get empty: the CPU fits these, and the others stay."""
    x = rows()
    x[3] = x[3, :1]
    x[10] = 0
    x[20, 1:] = x[20, :1]
    x[30, 10:] *= 1e-30
    check(fit_batch(torch.from_numpy(x).cuda(), K, **OPTIONS), fit_batch(x, K, device="cpu", **OPTIONS))


def test_few_problems_run_on_the_cpu(torch: Any) -> None:
    t = torch.from_numpy(rows()).cuda()
    on_the_device(t[:32])
    with pytest.raises(RuntimeError, match="none_such"):
        on_the_device(t[:31])


def test_memory_limits(torch: Any) -> None:
    x = rows()
    t = torch.from_numpy(x).cuda()
    truth = fit_batch(x, K, device="cpu", **OPTIONS)
    for limit in (20_000, 100_000):
        check(on_the_device(t, memory_limit=limit), truth)
    check(fit_batch(t, K, memory_limit=1, **OPTIONS), truth)


def test_rows_are_read_after_what_the_current_stream_was_given(torch: Any) -> None:
    source = torch.from_numpy(rows()).cuda()
    truth = fit_batch(rows(), K, device="cpu", **OPTIONS)
    tensor = torch.full((B, N, D), torch.nan, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(100_000_000)  # 50 ms or so
        tensor.copy_(source)
        check(on_the_device(tensor), truth)


def test_errors_name_the_problem(torch: Any) -> None:
    t = torch.from_numpy(rows()).cuda()
    t[[57, 41], 4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"^problem 41: data has NaN in 1 row, the first is row 4 \(column 1\)"):
        fit_batch(t, K, **OPTIONS)


def test_time(torch: Any) -> None:
    found = on_the_device(torch.from_numpy(rows()).cuda(), max_runtime_secs=1e-9)
    assert found.timed_out.all()
    assert (found.n_iter == 1).all()


FAILING = """
import os, sys
import numpy as np, torch
from fastkmeans import fit_batch
x = np.random.default_rng(0).standard_normal((64, 60, 12), dtype=np.float32)
found = fit_batch(torch.from_numpy(x).cuda(), 5, n_threads=4)
truth = fit_batch(x, 5, device="cpu", n_threads=4)
assert np.array_equal(found.labels.cpu().numpy(), truth.labels)
assert np.array_equal(found.centroids.cpu().numpy(), truth.centroids)
"""


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("number", range(1, 9))
def test_an_allocation_fails(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it is, all problems are fitted by the CPU."""
    monkeypatch.setenv("FASTKMEANS_CUDA_FAIL_ALLOCATION", str(number))
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
