# SPDX-License-Identifier: Apache-2.0
"""Many problems in one call: each is a fit of its own, to the bit."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import fastkmeans
import numpy as np
import pytest
from fastkmeans import BatchResult, EmptyClusterWarning, FastKMeans, SubsampledWarning, _core, fit_batch

SIZES = [40, 3, 700, 1, 0, 90, 5]  # of ragged problems
KS = [4, 5, 9, 2, 3, 90, 1]


def problems(count: int = 6, n: int = 60, d: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(size=(count, n, d)).astype(np.float32)


def ragged(d: int = 5) -> tuple[np.ndarray[Any, Any], list[int]]:
    rows = np.random.default_rng(4).normal(size=(sum(SIZES), d)).astype(np.float32)
    return rows, [0, *np.cumsum(SIZES).tolist()]


def assert_same(result: BatchResult, b: int, centroids: Any, labels: Any, model: FastKMeans) -> None:
    """What a batch found in problem b, beside a fit of it."""
    assert model.centroids is not None
    assert model.labels_ is not None
    np.testing.assert_array_equal(centroids.view(np.uint32), model.centroids.view(np.uint32))
    np.testing.assert_array_equal(labels, model.labels_)
    assert result.inertia[b] == model.inertia_
    assert result.n_iter[b] == model.n_iter_
    assert result.converged[b] == model.converged_
    assert result.n_used[b] == model.n_used_
    assert result.n_zero[b] == model.n_zero_


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_threads": 1},
        {"n_threads": 5, "seed": 2**63, "tol": 0},
        {"init": "k-means++", "nredo": 3, "niter": 4},
        {"spherical": True},
        {"max_points_per_centroid": 9},
        {"init": "k-means||", "inertia_tol": 0.1},
        {"init": "afk-mc2", "changed_tol": 0.2, "max_runtime_secs": 1e9},
    ],
)
def test_each_problem_is_a_fit_of_its_own(options: dict[str, Any]) -> None:
    x = problems()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SubsampledWarning)
        result = fit_batch(x, 5, **options)
        assert result.centroids.shape == (6, 5, 7)
        assert result.labels.shape == (6, 60)
        assert result.centroid_offsets is None
        assert result.converged.dtype == bool
        for b in range(len(x)):
            assert_same(result, b, result.centroids[b], result.labels[b], FastKMeans(7, 5, **options).fit(x[b]))


def test_large_and_small_problems() -> None:
    rng = np.random.default_rng(0)
    sizes = [20_000, 50, 3_000, 50]
    x, offsets = rng.normal(size=(sum(sizes), 3)).astype(np.float16), np.array([0, *np.cumsum(sizes)])
    with pytest.warns(SubsampledWarning, match="problem 0, and 1 more: training on 2048 of 20000"):
        result = fit_batch(x, 8, offsets=offsets, niter=3)
    assert result.centroids.shape == (4, 8, 3)
    assert result.labels.shape == (sum(sizes),)
    for b, (begin, end) in enumerate(pairwise(offsets)):
        model = FastKMeans(3, 8, niter=3, max_points_per_centroid=256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SubsampledWarning)
            model.fit(x[begin:end])
        assert_same(result, b, result.centroids[b], result.labels[begin:end], model)


def test_ragged_problems_with_fewer_rows_than_clusters() -> None:
    rows, offsets = ragged()
    with pytest.warns(EmptyClusterWarning, match=r"problem 1, and 2 more: 2 of 5 clusters ended empty"):
        result = fit_batch(rows, KS, offsets=offsets)
    assert result.centroid_offsets is not None
    assert result.centroid_offsets.tolist() == [0, *np.cumsum(KS)]
    assert result.n_empty.tolist() == [max(k - n, 0) for n, k in zip(SIZES, KS, strict=True)]
    for b, (n, k) in enumerate(zip(SIZES, KS, strict=True)):
        x = rows[offsets[b] : offsets[b + 1]]
        labels = result.labels[offsets[b] : offsets[b + 1]]
        centroids = result.centroids[result.centroid_offsets[b] : result.centroid_offsets[b + 1]]
        if n >= k:
            assert_same(result, b, centroids, labels, FastKMeans(5, k).fit(x))
            continue
        # Each row is a cluster, and the rest are copies of the first.
        assert sorted(labels) == list(range(n))
        assert result.inertia[b] == 0
        assert result.converged[b]
        np.testing.assert_array_equal(centroids[labels], x)
        np.testing.assert_array_equal(centroids[n:], np.broadcast_to(centroids[0] if n else 0, (k - n, 5)))


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_as_many_clusters_as_distinct_rows(init: str) -> None:
    x = np.repeat(np.arange(3, dtype=np.float32)[:, None], 3, axis=0)[None]  # 9 rows, of which 3 differ
    with pytest.warns(EmptyClusterWarning, match=r"problem 0: 9 of 12 clusters"):
        result = fit_batch(x, 12, init=init)
    assert result.n_empty.tolist() == [9]
    assert len(np.unique(result.labels)) == 3
    assert result.inertia[0] == 0


def test_initial_centroids_of_each_problem() -> None:
    x = problems()
    own = x[:, 10:15]
    for init, of in ((own, lambda b: own[b]), (own[2], lambda b: own[2])):
        result = fit_batch(x, 5, init=init)
        for b in range(len(x)):
            assert_same(result, b, result.centroids[b], result.labels[b], FastKMeans(7, 5, init=of(b)).fit(x[b]))
    rows, offsets = ragged()
    starts = np.random.default_rng(8).normal(size=(sum(KS), 5))
    with pytest.warns(EmptyClusterWarning):
        result = fit_batch(rows, KS, offsets=offsets, init=starts)
    model = FastKMeans(5, 9, init=starts[9:18]).fit(rows[43:743])
    assert_same(result, 2, result.centroids[9:18], result.labels[43:743], model)
    # Fewer than k: the others are rows.
    some = fit_batch(x, 5, init=own[:, :2], niter=1, frozen_centroids=True)
    np.testing.assert_array_equal(some.centroids[:, :2], own[:, :2])


@pytest.mark.parametrize("rule", ["farthest", "split", "random"])
def test_empty_clusters(rule: str) -> None:
    x, start = problems(), np.full((5, 7), 99.0)  # but the first get no row at first
    result = fit_batch(x, 5, init=start, empty_clusters=rule)
    for b in range(len(x)):
        model = FastKMeans(7, 5, init=start, empty_clusters=rule).fit(x[b])
        assert model.iteration_stats is not None
        assert model.iteration_stats[0].relocated > 0
        assert_same(result, b, result.centroids[b], result.labels[b], model)


def test_time_is_that_of_the_call() -> None:
    x = problems()
    assert not fit_batch(x, 5).timed_out.any()
    result = fit_batch(x, 5, max_runtime_secs=1e-9)
    assert result.timed_out.dtype == bool
    assert result.timed_out.all()
    assert not result.converged.any()
    assert (result.n_iter == 1).all()
    np.testing.assert_array_equal(result.labels[3], FastKMeans(7, 5, niter=1).fit(x[3]).labels_)


def test_weights_of_each_row() -> None:
    x = problems()
    weights = np.random.default_rng(1).integers(0, 4, size=(6, 60))
    result = fit_batch(x, 5, weights=weights)
    for b in range(len(x)):
        model = FastKMeans(7, 5).fit(x[b], weights=weights[b])
        assert_same(result, b, result.centroids[b], result.labels[b], model)


def test_a_view_is_read_in_place() -> None:
    vectors = problems(1, 200, 24)[0].astype(np.float64)
    parts = vectors.reshape(200, 3, 8).transpose(1, 0, 2)  # for product quantisation
    result = fit_batch(parts, 6)
    for b in range(3):
        model = FastKMeans(8, 6).fit(vectors[:, 8 * b : 8 * b + 8])
        assert_same(result, b, result.centroids[b], result.labels[b], model)


def test_without_labels_or_problems() -> None:
    assert fit_batch(problems(), 5, labels=False).labels is None
    none = fit_batch(np.zeros((0, 4, 3), np.float32), 2)
    assert none.centroids.shape == (0, 2, 3)
    assert none.labels.shape == (0, 4)
    assert none.inertia.shape == (0,)
    none = fit_batch(np.zeros((0, 3), np.float32), [], offsets=[0])
    assert none.centroids.shape == (0, 3)
    assert none.labels.shape == (0,)


def test_a_tensor_comes_back_as_one() -> None:
    torch = pytest.importorskip("torch")
    x = problems()
    result = fit_batch(torch.from_numpy(x), 5)
    assert isinstance(result.labels, torch.Tensor)
    assert isinstance(result.centroids, torch.Tensor)
    np.testing.assert_array_equal(result.labels.numpy(), fit_batch(x, 5).labels)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": np.zeros((4, 3))}, ValueError, r"data must have shape \(B, n, d\).*\(4, 3\)"),
        ({"offsets": [0, 4]}, ValueError, r"data must have shape \(N, d\)"),
        ({"k": 0}, ValueError, "k must be at least 1, given 0"),
        ({"k": [2, 3]}, ValueError, "one for each of 6 problems, given 2"),
        ({"k": [2, 3, 4, 0, 1, 1]}, ValueError, "problem 3: k is 0; it must be at least 1"),
        ({"k": [0.5] * 6}, TypeError, "k must be a one-dimensional array of integers"),
        ({"init": "farthest"}, ValueError, "init must be 'random', .*'afk-mc2', or an array, given 'farthest'"),
        ({"init": max}, TypeError, "init must be the name of a method or an array, and no callable, given <built-in"),
        ({"init": np.zeros((5, 5, 7))}, ValueError, r"init must have shape \(6, m, 7\) or \(m, 7\).*\(5, 5, 7\)"),
        ({"init": np.zeros((6, 7))}, ValueError, r"problem 0: the shape of init is \(6, 7\)"),
        ({"weights": np.ones((6, 59))}, ValueError, r"weights must have shape \(6, 60\)"),
        ({"weights": -np.ones((6, 60))}, ValueError, r"problem 0: weights\[0\] is -1"),
        ({"niter": 0}, ValueError, "niter must be at least 1, given 0"),
        ({"labels": 1}, TypeError, "labels must be True or False"),
        ({"device": "mps"}, NotImplementedError, "mps"),
    ],
)
def test_errors_name_what_is_wrong(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"data": problems(), "k": 5, **change}
    with pytest.raises(error, match=message):
        fit_batch(**arguments)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [([0, 3], "from 0 to the number of rows, 9, given 0 to 3"), ([], "given none"), ([0, 5, 4, 9], "5 and then 4")],
)
def test_offsets_that_do_not_fit(offsets: list[int], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fit_batch(np.zeros((9, 2), np.float32), 1, offsets=np.array(offsets, dtype=np.int64))


def test_the_first_bad_problem_is_named() -> None:
    x = problems(300, 20, 3)
    x[[250, 11, 180], 4, 1] = np.nan
    for n_threads in (1, 4):
        with pytest.raises(ValueError, match=r"^problem 11: data has NaN in 1 row, the first is row 4 \(column 1\)"):
            fit_batch(x, 2, n_threads=n_threads)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_sequence_of_unlike_problems_is_told_of_offsets(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"inhomogeneous.*; problems of unlike sizes are one matrix .* with offsets$"):
        fit_batch(kind([np.zeros((9, 2)), np.zeros((8, 2))]), 2)
    torch = pytest.importorskip("torch")
    with pytest.raises((TypeError, ValueError), match=r"; problems of unlike sizes are one matrix .* with offsets$"):
        fit_batch(kind([torch.zeros(9, 2), torch.zeros(8, 2)]), 2)


@pytest.mark.parametrize(
    ("data", "options"),
    [([["a", "b"]], {}), ([None], {}), ([[1j]], {}), ([[1, 2], [3]], {"offsets": [0, 2]}), ("text", {})],
)
def test_other_sequences_are_told_of_no_offsets(data: Any, options: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        fit_batch(data, 1, **options)
    assert "unlike sizes" not in str(error.value)


def test_it_is_public() -> None:
    assert {"fit_batch", "BatchResult"} <= set(fastkmeans.__all__)
    assert BatchResult.__module__ == "fastkmeans"


def test_room_on_a_device_is_for_rows_on_a_device() -> None:
    given: dict[str, Any] = {"offsets": None, "k": np.full(6, 2), "init_offsets": None, "init": None}
    options = {**FastKMeans(7, 2)._training(), "weights": None, "labels": True, "init_dtype": "float32"}
    where = {"device": "cpu", "memory_limit": 0, "n_threads": 1, "chunk_size_data": 64, "chunk_size_centroids": 64}
    with pytest.raises(ValueError, match="problem 0: the place of data is the host"):
        _core.fit_batch(problems(), "float32", device_centroids=8, device_labels=8, **given, **options, **where)
