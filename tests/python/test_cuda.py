# SPDX-License-Identifier: Apache-2.0
"""A GPU gives the bits of the CPU, which test_exact.py compares with the oracle: rows in host memory."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from datasets import DTYPES, KINDS, LAYOUTS
from fastkmeans import FastKMeans, _core
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

FILTERS = ["", "none", "low_dim", "int8", "int8_lists", "narrow"]
# On both sides of what a block of rows, columns or centroids may be.
EDGES = sorted({2**e + i for e in range(4, 9) for i in (-1, 0, 1)})
SEEDS = st.integers(0, 2**32 - 1)


def on_cpu(x: Any, k: int, **params: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return datasets.result(FastKMeans(x.shape[1], k, gpu=False, **params).fit(x))


def on_gpu(x: Any, k: int, search: str = "", device: Any = "cuda", **params: Any) -> dict[str, Any]:
    """The result of a fit that ran on a CUDA device, with this filter forced."""
    with datasets.forced("", search), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        km = FastKMeans(x.shape[1], k, device=device, **params).fit(x)
    isas = {stats.isa for stats in km.iteration_stats or []}
    assert isas, "no iteration"
    assert all(isa.startswith("cuda") for isa in isas), isas
    return datasets.result(km)


def check(x: Any, k: int, layout: str = "C", search: str = "", **params: Any) -> None:
    truth = on_cpu(x, k, **params)
    found = on_gpu(datasets.lay(x, layout), k, search, **params)
    for name, value in truth.items():
        assert found[name] == value, name


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int]:
    d = draw(st.integers(1, 300) | st.sampled_from(EDGES) | st.integers(301, 1000))
    n = draw(st.integers(1, 3000) | st.sampled_from(EDGES))
    k = draw(st.integers(1, min(n, 400)) | st.sampled_from([e for e in EDGES if e <= n] or [1]))
    return n, k, d


@settings(max_examples=150, deadline=None)
@given(shapes(), st.sampled_from(sorted(KINDS)), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), SEEDS,
       st.integers(1, 5), st.sampled_from(FILTERS))  # fmt: skip
def test_drawn_fits(
    shape: tuple[int, int, int], kind: str, dtype: str, layout: str, seed: int, niter: int, search: str
) -> None:
    n, k, d = shape
    check(datasets.make(kind, dtype, n, d, seed), k, layout, search, niter=niter, seed=seed)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.sampled_from([1e10, 1.0, 1e-20]), st.sampled_from([1.0, 1e10, 1e-20]), st.floats(0, 1), SEEDS,
       st.sampled_from(FILTERS))  # fmt: skip
def test_scales_and_constant_columns(
    shape: tuple[int, int, int], scale: float, other: float, share: float, seed: int, search: str
) -> None:
    n, k, d = shape
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((n, d))
    x[rng.random(n) < share] *= other / scale
    x[:, rng.random(d) < share] = other
    check(x.astype(np.float32), k, search=search, niter=3, tol=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_in_every_dtype(kind: str, dtype: str) -> None:
    """Run to the end, so that rows move in and out of clusters on every scale."""
    check(datasets.make(kind, dtype, 700, 37, seed=len(kind)), 23, niter=12, tol=0)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(KINDS)), SEEDS, st.sampled_from(FILTERS))
def test_given_centroids(shape: tuple[int, int, int], kind: str, other: str, seed: int, search: str) -> None:
    """From any start, with repeated and far centroids: clusters are empty, then filled."""
    n, k, d = shape
    init = datasets.make(other, "f4", k, d, seed ^ 1)[np.random.default_rng(seed).integers(0, k, k)]
    check(datasets.make(kind, "f4", n, d, seed), k, search=search, init=init, niter=4, tol=-1)


@settings(max_examples=40, deadline=None)
@given(shapes(), st.integers(1, 3), st.integers(1, 20), SEEDS)
def test_subsamples_and_runs(shape: tuple[int, int, int], nredo: int, most: int, seed: int) -> None:
    n, k, d = shape
    check(datasets.make("blobs", "f4", n, d, seed), k, nredo=nredo, max_points_per_centroid=most, niter=3, seed=seed)


@pytest.mark.parametrize("k", [1, 2, 150])
@pytest.mark.parametrize("tol", [-1, 1e-8, 0.05, math.inf])
def test_stopping(k: int, tol: float) -> None:
    check(datasets.make("blobs", "f4", 150, 3, 1), k, tol=tol, niter=30)


def test_the_oracle_itself() -> None:
    x = datasets.make("blobs", "f4", 900, 40, 3)
    truth, found = oracle.fit(x, 30, niter=5), on_gpu(x, 30, niter=5)
    assert (found["centroids"], found["labels"]) == (truth.centroids.tobytes(), truth.labels.tolist())
    assert found["inertia"] == truth.inertia.hex()


# (kind, n, k, d): full and part blocks in every direction, on no block's edge.
LARGE = [
    ("normal", 300_007, 50, 3),
    ("integers", 100_003, 600, 4),
    ("blobs", 200_003, 1_025, 128),
    ("offset", 50_021, 2_049, 96),
    ("outlier", 30_011, 257, 384),
    ("all scales", 40_009, 200, 17),
    ("repeated", 20_011, 3_001, 33),
    ("normal", 10_007, 65, 1_000),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large_fits(case: tuple[str, int, int, int]) -> None:
    kind, n, k, d = case
    x, params = datasets.make(kind, "f4", n, d, 7), {"niter": 4, "tol": -1, "max_points_per_centroid": None}
    truth = on_cpu(x, k, **params)
    for search in FILTERS:
        assert on_gpu(x, k, search, **params) == truth, search


@pytest.mark.parametrize(("search", "d"), [("int8", 16), ("int8", 100), ("int8", 1000), ("int8_lists", 90),
                                           ("narrow", 2), ("narrow", 64), ("narrow", 1000), ("narrow", 1537),
                                           ("low_dim", 1), ("low_dim", 3), ("low_dim", 17),
                                           ("none", 2), ("none", 100)])  # fmt: skip
def test_the_filter_that_is_forced_runs(search: str, d: int) -> None:
    x = datasets.make("normal", "f4", 20_003, d, 1)
    with datasets.forced("", search):
        km = FastKMeans(d, 70, device="cuda", niter=4, tol=-1).fit(x)
    assert {stats.filter for stats in km.iteration_stats} == {search}
    assert all(stats.isa.startswith("cuda") for stats in km.iteration_stats)
    assert all(0 < stats.scored <= len(x) * 70 for stats in km.iteration_stats[1:])


def test_lists_of_neighbours_of_rows_on_the_host() -> None:
    """Rows that do not fit cross the bus in pieces, their lists stay on the device."""
    x = datasets.make("blobs", "f4", 800_000, 65, 3)
    found = on_gpu(x, 100, "int8_lists", niter=4, max_points_per_centroid=None, memory_limit=400_000_000)
    assert found == on_cpu(x, 100, niter=4, max_points_per_centroid=None)
    with datasets.forced("", "int8_lists"):
        km = FastKMeans(65, 100, device="cuda", niter=2, max_points_per_centroid=None, memory_limit=400_000_000).fit(x)
    assert {s.filter for s in km.iteration_stats} == {"int8_lists"}


@pytest.mark.slow
def test_narrow_sketches_are_chosen_where_they_pay() -> None:
    """Rows of 96 directions and some noise: the planner's own choice, the bits of sketches of all dimensions."""
    n, k, d = 450_000, 65_536, 1024
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, 96), np.float32) @ rng.standard_normal((96, d), np.float32)
    x += 0.02 * rng.standard_normal((n, d), np.float32)
    found = {}
    for search in ("", "int8"):
        with datasets.forced("", search):
            km = FastKMeans(d, k, device="cuda", niter=3, tol=-1, max_points_per_centroid=None).fit(x)
        assert {stats.filter for stats in km.iteration_stats} == {search or "narrow"}
        found[search] = datasets.result(km)
        assert max(stats.refined for stats in km.iteration_stats) < 200 * n
    assert found[""] == found["int8"]


@pytest.mark.slow
def test_rows_without_structure_have_no_narrow_sketches() -> None:
    """A survey finds that they would leave nearly all centroids."""
    n, k, d = 450_000, 65_536, 1024
    x = np.random.default_rng(6).standard_normal((n, d), np.float32)
    with datasets.forced("", ""):
        km = FastKMeans(d, k, device="cuda", niter=2, tol=-1, max_points_per_centroid=None).fit(x)
    assert {stats.filter for stats in km.iteration_stats} <= {"int8", "int8_lists"}


def test_a_fit_of_many_centroids_begins_with_lists() -> None:
    n, k = 40_000, 16_384
    x = datasets.make("blobs", "f4", n, 65, 3)
    first = FastKMeans(65, k, device="cuda", niter=1, tol=-1, max_points_per_centroid=None).fit(x)
    assert first.iteration_stats[0].filter == "int8_lists"


def test_lists_of_neighbours_save_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where clusters are apart, more and more rows need no scan; the scalar oracle agrees with every assignment."""
    n, k, rng = 40_000, 1_000, np.random.default_rng(3)
    x = 10 * rng.standard_normal((k, 65))[rng.integers(0, k, n)] + 5 * rng.standard_normal((n, 65))
    x = x.astype(np.float32)
    monkeypatch.setenv("FASTKMEANS_VERIFY", "1")
    monkeypatch.setenv("FASTKMEANS_FILTER", "int8_lists")
    km = FastKMeans(65, k, device="cuda", niter=6, tol=-1, max_points_per_centroid=None).fit(x)
    stats = km.iteration_stats
    assert {s.filter for s in stats} == {"int8_lists"}
    assert stats[0].scored == n * k
    assert stats[-1].scored < n * k / 4
    monkeypatch.setenv("FASTKMEANS_FILTER", "int8")
    other = FastKMeans(65, k, device="cuda", niter=6, tol=-1, max_points_per_centroid=None).fit(x)
    assert np.array_equal(km.centroids, other.centroids)
    assert all(s.scored == n * k for s in other.iteration_stats)


def test_lists_of_neighbours_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they spare no scores there are none; then they are tried again, to the same bits."""
    n, k, d = 400_000, 16_384, 128
    x = np.random.default_rng(7).standard_normal((n, d), np.float32)
    fits = {}
    for name in ("", "int8"):
        monkeypatch.setenv("FASTKMEANS_FILTER", name)
        fits[name] = FastKMeans(d, k, device="cuda", niter=12, tol=-1, max_points_per_centroid=None).fit(x)
    assert [s.filter[4:] for s in fits[""].iteration_stats] == ["_lists"] * 2 + [""] * 8 + ["_lists"] * 2
    assert {s.filter for s in fits["int8"].iteration_stats} == {"int8"}
    assert np.array_equal(fits[""].centroids, fits["int8"].centroids)
    assert np.array_equal(fits[""].labels_, fits["int8"].labels_)


@pytest.mark.parametrize("kernel", _core.cuda_kernels())
@pytest.mark.parametrize("d", [7, 64, 130])
def test_every_kernel(kernel: str, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that this device or these rows cannot take is a RuntimeError that names it."""
    x = datasets.make("blobs", "f4", 5_003, d, 5)
    truth = on_cpu(x, 130, niter=4)
    monkeypatch.setenv("FASTKMEANS_CUDA_KERNEL", kernel)
    try:
        found = on_gpu(x, 130, "int8", niter=4)
    except RuntimeError as error:
        assert kernel in str(error)  # noqa: PT017 (any other error is one)
        pytest.skip(str(error))
    assert found == truth


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("kind", ["blobs", "mixed", "repeated"])
def test_the_oracle_verifies_assignments(kind: str, search: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTKMEANS_VERIFY", "1")
    check(datasets.make(kind, "f4", 6_007, 40, 2), 90, search=search, niter=5)


CASE = ("blobs", 120_011, 100, 24)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, dict[str, Any]]:
    kind, n, k, d = CASE
    x = datasets.make(kind, "f4", n, d, 7)
    return x, on_cpu(x, k, niter=4, max_points_per_centroid=None)


def fit_case(x: Any, **params: Any) -> dict[str, Any]:
    return on_gpu(x, CASE[2], niter=4, max_points_per_centroid=None, **params)


# The rows take 11.5 MB: streamed in many parts, in few, all at once.
@pytest.mark.parametrize("limit", [4 << 20, 8 << 20, 64 << 20, 0.5, 1.0])
def test_streamed_is_resident(limit: Any, case: Any) -> None:
    assert fit_case(case[0], memory_limit=limit) == case[1]


def test_a_limit_too_small_is_one_error(case: Any) -> None:
    with pytest.raises((RuntimeError, ValueError), match=r"CUDA|memory_limit"):
        fit_case(case[0], memory_limit=1)
    assert fit_case(case[0]) == case[1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limit", [None, 4 << 20])
def test_layouts_of_host_memory(layout: str, limit: Any, case: Any) -> None:
    assert fit_case(datasets.lay(case[0], layout), memory_limit=limit) == case[1]


@pytest.mark.parametrize(("n_threads", "rows", "centroids"), [(1, 1, 1), (3, 1000, 64), (64, 10**9, 10**9)])
def test_threads_and_chunks(n_threads: int, rows: int, centroids: int) -> None:
    x = datasets.make("blobs", "f4", 2_003, 24, 7)
    found = on_gpu(x, 60, n_threads=n_threads, chunk_size_data=rows, chunk_size_centroids=centroids)
    assert found == on_cpu(x, 60)


def test_concurrent_fits(case: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda limit: fit_case(case[0], memory_limit=limit), [None, 8 << 20] * 4)
        assert all(result == case[1] for result in found)


def test_a_callback_stops() -> None:
    x, seen = datasets.make("blobs", "f4", 5_000, 8, 1), []
    found = on_gpu(x, 20, callback=lambda stats: seen.append(stats) or len(seen) == 3)
    assert found["centroids"] == on_cpu(x, 20, niter=3)["centroids"]
    assert len(seen) == 3


@pytest.mark.parametrize("device", [None, "cuda", "cuda:0", 0])
@pytest.mark.parametrize("n", [3, 300, 30_000])
def test_small_and_large_work_on_any_name_of_the_device(device: Any, n: int) -> None:
    x = datasets.make("normal", "f4", n, 20, 1)
    km = FastKMeans(20, 3, device=device).fit(x)
    assert datasets.result(km) == on_cpu(x, 3)
    assert km.predict(x).tolist() == km.labels_.tolist()
    assert km.use_triton is True
    assert str(km.device).startswith("cuda")


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_predict(kind: str, search: str) -> None:
    """Any rows against any centroids, and no rows at all."""
    cpu, gpu = FastKMeans(40, 77, gpu=False), FastKMeans(40, 77, device="cuda")
    cpu.centroids = gpu.centroids = datasets.make(kind, "f4", 77, 40, 3)
    for other in KINDS:
        x = datasets.make(other, "f4", 500, 40, 4)
        truth = cpu.predict(x).tolist()
        with datasets.forced("", search):
            assert gpu.predict(x).tolist() == truth, other
            assert gpu.predict(x[:0]).shape == (0,)


@pytest.mark.parametrize("search", FILTERS)
def test_ties_go_to_the_lowest_index(search: str) -> None:
    x = datasets.make("integers", "f4", 5_000, 4, 1)
    km = FastKMeans(4, 200, device="cuda")
    km.centroids = np.repeat(x[:50], 4, axis=0)
    with datasets.forced("", search):
        labels = km.predict(x)
    assert labels.tolist() == datasets.true_distances(x, km.centroids).argmin(axis=1).tolist()


@pytest.mark.parametrize("search", FILTERS)
def test_near_ties(search: str) -> None:
    """Integers in 1,000 dimensions: D rounds, so its order differs from that of the true distances."""
    rng = np.random.default_rng(11)
    centre, steps = rng.integers(-3000, 3000, 1000), rng.integers(1400, 1600, 1000)
    km = FastKMeans(1000, 80, device="cuda")
    km.centroids = (centre + np.stack([rng.permutation(steps) for _ in range(80)])).astype(np.float32)
    x = (centre + rng.integers(-1, 2, (600, 1000)) * (rng.random((600, 1000)) < 0.01)).astype(np.float32)
    with datasets.forced("", search):
        assert km.predict(x).tolist() == oracle.predict(x, km.centroids).tolist()


# What may be wrong with rows says the same on both, wherever it lies
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**56])
@pytest.mark.parametrize("n", [10, 70_000])
def test_bad_values_are_the_error_of_the_cpu(bad: float, n: int) -> None:
    x = datasets.make("normal", "f4", n, 20, 1)
    x[[n // 2, n - 1], [0, 19]] = bad
    for method in ("fit", "predict"):
        texts = []
        for place in ({"gpu": False}, {"device": "cuda"}):
            km = FastKMeans(20, 3, max_points_per_centroid=None, **place)
            km.centroids = x[:3]
            with pytest.raises(ValueError, match=f"row {n // 2}|rows") as error:
                getattr(km, method)(x)
            texts.append(str(error.value))
        assert texts[0] == texts[1]
    assert on_gpu(x[: n // 2], 3) == on_cpu(x[: n // 2], 3)  # the device is still well
