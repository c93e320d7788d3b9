# SPDX-License-Identifier: Apache-2.0
"""A machine with two GPUs: the one that was asked for is used, and the caller's current device is as it was."""

from __future__ import annotations

import functools
import threading
from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import FastKMeans, _core

pytestmark = [
    *datasets.on_gpu,
    pytest.mark.alone,  # fits of other tests take memory, too
    pytest.mark.skipif(len(_core.cuda_state()["devices"]) < 2, reason="ONE GPU: NOTHING OF A SECOND ONE IS TESTED"),
]


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


ROWS = datasets.make("blobs", "f4", 200_000, 64, 3)


@functools.cache
def on_cpu() -> FastKMeans:
    return FastKMeans(64, 300, niter=3, gpu=False).fit(ROWS)


def users_of_memory(torch: Any, kmeans: FastKMeans, data: Any) -> list[int]:
    """The devices whose free memory a fit takes: a part of that for the sketches, at least."""
    before = [torch.cuda.mem_get_info(number)[0] for number in range(2)]
    taken = [0, 0]

    def look(_: Any) -> bool:
        for number in range(2):
            taken[number] = max(taken[number], before[number] - torch.cuda.mem_get_info(number)[0])
        return False

    kmeans.callback = look
    kmeans.fit(data)
    return [number for number in range(2) if taken[number] >= ROWS.nbytes / 4]


@pytest.mark.parametrize("current", [0, 1])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", ["host", "tensor here", "tensor elsewhere", "cupy"])
def test_the_device_that_was_asked_for(kind: str, number: int, current: int, torch: Any) -> None:
    expected = on_cpu()
    data: Any = ROWS
    if kind.startswith("tensor"):
        data = torch.from_numpy(ROWS).to(f"cuda:{number if kind == 'tensor here' else 1 - number}")
    if kind == "cupy":
        cupy = pytest.importorskip("cupy")
        with cupy.cuda.Device(number):
            data = cupy.asarray(ROWS)
    device = None if kind in ("tensor here", "cupy") else f"cuda:{number}"  # rows are read where they lie
    with torch.cuda.device(current):
        kmeans = FastKMeans(64, 300, niter=3, device=device)
        assert users_of_memory(torch, kmeans, data) == [number]
        labels = kmeans.predict(data)
        assert torch.cuda.current_device() == current
        assert torch.zeros(1, device="cuda").device.index == current
    assert kmeans.iteration_stats[0].isa.startswith("cuda")
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert np.array_equal(kmeans.labels_, expected.labels_)
    if kind.startswith("tensor"):
        assert labels.device == data.device
        labels = labels.cpu().numpy()
    if kind == "cupy":
        assert labels.device.id == number
        labels = labels.get()
    assert np.array_equal(labels, expected.labels_)


def test_both_at_once(torch: Any) -> None:
    expected = on_cpu()
    found: dict[int, FastKMeans] = {}

    def fit(number: int) -> None:
        x = torch.from_numpy(ROWS).to(f"cuda:{number}")
        for _ in range(5):
            found[number] = FastKMeans(64, 300, niter=3).fit(x)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert np.array_equal(found[number].centroids, expected.centroids), number
        assert np.array_equal(found[number].labels_, expected.labels_), number
