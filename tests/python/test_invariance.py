# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: NPY002 (numpy's global random state is what must be left alone)
"""The result is a function of data, parameters and seed alone, not of threads, chunks, layout or code path."""

from __future__ import annotations

import functools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from datasets import FEW_PATHS, ISAS, LAYOUTS, PATHS
from fastkmeans import FastKMeans

# (kind, n, k, d): beyond the oracle in numpy, on no tile's edge, with full and part tiles in every direction.
LARGE = [
    ("normal", 100_003, 50, 3),
    ("integers", 40_001, 600, 4),
    ("blobs", 20_011, 300, 64),
    ("repeated", 6_007, 700, 33),
    ("offset", 8_009, 130, 96),
    ("outlier", 5_003, 257, 384),
    ("mixed", 9_001, 200, 40),
    ("all scales", 9_001, 200, 17),
    ("normal", 1_501, 65, 2050),
]


@functools.cache
def large(case: tuple[str, int, int, int]) -> Any:
    kind, n, _, d = case
    return datasets.make(kind, "f4", n, d, seed=7)


@functools.cache
def scalar_outcome(case: tuple[str, int, int, int]) -> dict[str, Any]:
    return datasets.outcome(large(case), case[2], "scalar", niter=3, tol=-1, max_points_per_centroid=None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", LARGE, ids=str)
@pytest.mark.parametrize("path", FEW_PATHS[1:], ids=" ".join)
def test_large_fits_equal_the_scalar_path(path: tuple[str, str], case: tuple[str, int, int, int]) -> None:
    found = datasets.outcome(large(case), case[2], *path, niter=3, tol=-1, max_points_per_centroid=None)
    assert found == scalar_outcome(case)


CASE = ("blobs", 12_011, 60, 24)


def small_outcome(path: tuple[str, str], x: Any = None, **params: Any) -> dict[str, Any]:
    x = large(CASE) if x is None else x
    return datasets.outcome(x, CASE[2], *path, niter=4, max_points_per_centroid=150, nredo=2, **params)


@functools.cache
def usual(path: tuple[str, str]) -> dict[str, Any]:
    return small_outcome(path)


pytestmark = pytest.mark.filterwarnings("ignore:.*(rows|points).*:UserWarning")  # a subsample is meant


@pytest.mark.parametrize("path", FEW_PATHS, ids=" ".join)
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8, 64])
def test_threads(path: tuple[str, str], n_threads: int) -> None:
    assert small_outcome(path, n_threads=n_threads) == usual(path)


@pytest.mark.parametrize("path", FEW_PATHS, ids=" ".join)
@pytest.mark.parametrize(("rows", "centroids"), [(1, 1), (7, 3), (1000, 64), (10**9, 10**9)])
def test_chunk_sizes(path: tuple[str, str], rows: int, centroids: int) -> None:
    assert small_outcome(path, chunk_size_data=rows, chunk_size_centroids=centroids) == usual(path)


@pytest.mark.parametrize("path", FEW_PATHS, ids=" ".join)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(path: tuple[str, str], layout: str) -> None:
    assert small_outcome(path, datasets.lay(large(CASE), layout)) == usual(path)


@pytest.mark.parametrize("path", FEW_PATHS, ids=" ".join)
def test_concurrent_fits(path: tuple[str, str]) -> None:
    def fit(n_threads: int) -> dict[str, Any]:
        km = FastKMeans(CASE[3], CASE[2], gpu=False, niter=4, max_points_per_centroid=150, nredo=2, n_threads=n_threads)
        datasets.expect_ran(*path, km.fit(large(CASE)), large(CASE))
        return datasets.result(km)

    truth = usual(path)
    with datasets.forced(*path), ThreadPoolExecutor(4) as pool:
        assert all(found == truth for found in pool.map(fit, [1, 2, 3, 1, 2]))


@pytest.mark.parametrize("path", PATHS[1:], ids=" ".join)
def test_instruction_sets_and_filters(path: tuple[str, str]) -> None:
    assert usual(path) == usual(PATHS[0])


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_wider_types_of_the_same_values(dtype: str) -> None:
    x = datasets.make("normal", "f2", 500, 20, 1)
    params: dict[str, Any] = {"niter": 5}
    assert datasets.outcome(x.astype(dtype), 30, **params) == datasets.outcome(x, 30, **params)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_predict_is_the_last_step_of_fit(path: tuple[str, str]) -> None:
    x = large(CASE)
    with datasets.forced(*path):
        km = FastKMeans(x.shape[1], CASE[2], gpu=False, niter=3, max_points_per_centroid=150).fit(x)
        datasets.expect_ran(*path, km, x)
        assert km.predict(x).tolist() == km.labels_.tolist()
        assert np.concatenate([km.predict(x[i : i + 3001]) for i in range(0, len(x), 3001)]).tolist() == (
            km.labels_.tolist()
        )
        saved = FastKMeans(x.shape[1], CASE[2], gpu=False)
        saved.centroids = km.centroids.copy()
        assert saved.predict(x).tolist() == km.labels_.tolist()


@pytest.mark.parametrize("isa", ISAS)
def test_bfloat16(isa: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(datasets.make("blobs", "f4", 300, 20, 2)).bfloat16()
    truth = oracle.fit(x.float().numpy(), 12, niter=4)
    found = datasets.outcome(x, 12, isa, niter=4)
    assert found["centroids"] == truth.centroids.tobytes()
    assert found["labels"] == truth.labels.tolist()


def flushes() -> bool:
    """Does this thread take denormals as zero and give none?"""
    return bool(np.float32(1e-40) * np.float32(1) == 0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["denormal", "below 2^-32", "all scales"])
def test_flushed_denormals(isa: str, kind: str) -> None:
    """A caller's flush-to-zero mode (which torch sets, and -ffast-math libraries) neither matters nor is lost."""
    torch = pytest.importorskip("torch")
    x = datasets.make(kind, "f4", 400, 20, 5)
    km = FastKMeans(20, 30, gpu=False, niter=4, n_threads=2)
    with datasets.forced(isa):
        truth, labels = datasets.outcome(x, 30, isa, niter=4), km.fit(x).predict(x)
        centroids = km.centroids.tobytes()
        assert not flushes()
        if not torch.set_flush_denormal(True):
            pytest.skip("this CPU cannot flush denormals")
        try:
            assert flushes()
            found, again = datasets.outcome(x, 30, isa, niter=4), km.fit(x).predict(x)
            assert flushes()
        finally:
            torch.set_flush_denormal(False)
    assert found == truth
    assert again.tobytes() == labels.tobytes()
    assert km.centroids.tobytes() == centroids


def test_global_random_states_are_left_alone() -> None:
    x = large(CASE)
    np.random.seed(3)
    random.seed(3)
    before = repr(np.random.get_state()), random.getstate()
    first = small_outcome(("", ""))
    assert (repr(np.random.get_state()), random.getstate()) == before
    np.random.seed(4)
    random.seed(4)
    assert small_outcome(("", ""), x) == first


def test_torch_random_state_is_left_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state()
    small_outcome(("", ""), torch.from_numpy(large(CASE)))
    assert torch.equal(torch.get_rng_state(), before)
