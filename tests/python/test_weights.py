# SPDX-License-Identifier: Apache-2.0
"""Weights: integers are equal rows, bit for bit; others follow the rule of docs/algorithm.md section 8."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans


def rows_and_weights(n: int = 120, d: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d), dtype=np.float32), rng.integers(0, 5, n)


def trained(data: Any, weights: Any = None, **options: Any) -> FastKMeans:
    start = data[np.argsort(data[:, 0])[::24]][:4]  # rows of the data, whatever their order
    return FastKMeans(data.shape[1], 4, **{"init": start, "tol": 0, "gpu": False, **options}).fit(data, weights=weights)


def test_a_weight_is_that_many_rows() -> None:
    data, weights = rows_and_weights()
    repeated = np.repeat(data, weights, axis=0)
    init = data[weights > 0][:4]
    expected = trained(repeated, init=init)
    assert all(stats.empty == 0 for stats in expected.iteration_stats)  # else the equality ends
    got = trained(data, weights, init=init)
    assert np.array_equal(got.centroids, expected.centroids)
    assert got.inertia_ == expected.inertia_
    assert np.array_equal(np.repeat(got.labels_, weights), expected.labels_)
    assert [s.inertia for s in got.iteration_stats] == [s.inertia for s in expected.iteration_stats]
    assert got.n_used_ == (weights > 0).sum()


def test_weights_of_one_change_no_bit() -> None:
    data, _ = rows_and_weights()
    got, expected = trained(data, np.ones(len(data)), init="random"), trained(data, init="random")
    assert np.array_equal(got.centroids, expected.centroids)
    assert got.inertia_ == expected.inertia_


CASES = {
    "integers": lambda rng, n: rng.integers(0, 5, n),
    "fractions": lambda rng, n: rng.random(n),
    "some are 0": lambda rng, n: rng.random(n) * rng.integers(0, 2, n),
    "tiny": lambda rng, n: rng.random(n) * 1e-300,
    "denormal": lambda rng, n: np.full(n, 5e-324),
    "huge": lambda rng, n: np.floor(rng.random(n) * 2.0**60),
    "one outweighs all": lambda rng, n: np.where(np.arange(n) == 7, 1e30, rng.random(n)),
    "a sum of 2^40": lambda rng, n: np.where(np.arange(n) == 7, 2.0**40 - n + 1, 1),
    "a sum beyond 2^40": lambda rng, n: np.where(np.arange(n) == 7, 2.0**40 - n + 2, 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("most", [None, 9])
def test_equals_the_oracle(case: str, most: int | None) -> None:
    data, _ = rows_and_weights()
    weights = CASES[case](np.random.default_rng(1), len(data))
    options = {"init": "random", "seed": 3, "niter": 4, "max_points_per_centroid": most, "nredo": 2}
    with pytest.warns() if most else _nothing():
        got = trained(data, weights, **options)
    expected = oracle.fit(data, 4, niter=4, tol=0, seed=3, max_points_per_centroid=most, nredo=2, weights=weights)
    assert np.array_equal(got.centroids, expected.centroids)
    assert np.array_equal(got.labels_, expected.labels)
    assert got.inertia_ == expected.inertia
    assert [s.inertia for s in got.iteration_stats] == [s.inertia for s in expected.stats]
    assert got.n_used_ == expected.n_used


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_a_power_of_two_scales_the_inertia_alone() -> None:
    data, _ = rows_and_weights()
    weights = np.random.default_rng(1).random(len(data))
    got, expected = trained(data, weights * 2.0**-70), trained(data, weights)
    assert np.array_equal(got.centroids, expected.centroids)
    assert got.inertia_ == expected.inertia_ * 2.0**-70


def test_the_weighted_inertia_is_near() -> None:
    data, _ = rows_and_weights()
    weights = np.random.default_rng(1).random(len(data))
    got = trained(data, weights)
    squares = ((data.astype(float) - got.centroids[got.labels_]) ** 2).sum(axis=1)
    assert got.inertia_ == pytest.approx((weights * squares).sum(), rel=1e-6)
    means = [np.average(data[got.labels_ == c], axis=0, weights=weights[got.labels_ == c]) for c in range(4)]
    assert np.allclose(got.centroids, means, atol=1e-6)


def test_a_tiny_weight_does_not_vanish() -> None:
    data = np.array([[0.0], [1.0], [5.0]], np.float32)
    got = FastKMeans(1, 3, gpu=False).fit(data, weights=[1e30, 1e-30, 1])
    assert sorted(got.centroids[:, 0]) == [0, 1, 5]


def test_the_callback_sees_the_callers_weights() -> None:
    data, _ = rows_and_weights()
    seen = []
    got = trained(data, np.full(len(data), 0.1), callback=lambda stats: seen.append(stats.inertia))
    assert seen == [stats.inertia for stats in got.iteration_stats]
    assert seen[0] == pytest.approx(0.1 * trained(data).iteration_stats[0].inertia, rel=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float32", "float64", ">f4", "longdouble", "bool"])
def test_kinds_of_arrays(dtype: str) -> None:
    data, weights = rows_and_weights()
    weights = weights.astype(bool) if dtype == "bool" else weights
    expected = trained(data, weights.astype(np.float64))
    for given in (weights.astype(dtype), np.repeat(weights.astype(dtype), 2)[::2], weights.tolist()):
        got = trained(data, given)
        assert np.array_equal(got.centroids, expected.centroids)


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    data, weights = rows_and_weights()
    expected = trained(data, weights)
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        got = trained(data, torch.tensor(weights).to(dtype))
        assert np.array_equal(got.centroids, expected.centroids)


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ([1.0, -0.5, 1, 1, 1], ValueError, r"weights\[1\] is -0.5; it must be finite and at least 0"),
        ([1.0, 1, np.nan, -1, 1], ValueError, r"weights\[2\] is nan; it must be finite and at least 0"),
        ([1.0, 1, 1, np.inf, 1], ValueError, r"weights\[3\] is inf; it must be finite and at least 0"),
        ([0] * 5, ValueError, r"weights are all 0; at least one must be above 0"),
        ([1, 0, 0, 0, 0], ValueError, r"Number of training points of weight > 0 \(1\) is less than k \(2\)"),
        ([1, 1, 1], ValueError, r"weights must have shape \(5,\), one for each row, given shape \(3,\)"),
        (np.ones((5, 1)), ValueError, r"weights must have shape \(5,\), one for each row, given shape \(5, 1\)"),
        (2.0, ValueError, r"weights must have shape \(5,\), one for each row, given shape \(\)"),
        ("abc", TypeError, r"weights must be an array of one number for each row, given a str"),
        ([1j] * 5, TypeError, r"weights must have dtype .* given complex128"),
    ],
)
def test_wrong_weights(weights: Any, error: type[Exception], said: str) -> None:
    kmeans = FastKMeans(2, 2, gpu=False)
    data = np.arange(10.0).reshape(5, 2)
    for call in (kmeans.train, kmeans.fit, kmeans.fit_predict):
        with pytest.raises(error, match="^" + said):
            call(data, weights=weights)
    assert kmeans.centroids is None


def test_the_core_refuses_a_wrong_length() -> None:
    from fastkmeans import _core

    data = np.zeros((5, 2), np.float32)
    options = {"k": 1, "niter": 1, "tol": 0, "seed": 0, "max_points_per_centroid": None, "nredo": 1, "init": None}
    rest = {"init_dtype": "float32", "labels": False, "device": "cpu", "memory_limit": 0, "n_threads": 1}
    said = "the length of weights is 4; it must be that of the data, 5"
    with pytest.raises(ValueError, match=re.escape(said)):
        _core.fit(
            data, "float32", weights=np.ones(4), chunk_size_data=1, chunk_size_centroids=1, callback=None,
            **options, **rest,
        )  # fmt: skip


def test_y_is_ignored() -> None:
    data, weights = rows_and_weights()
    kmeans = FastKMeans(5, 4, gpu=False)
    expected = kmeans.fit_predict(data, weights=weights)
    assert np.array_equal(kmeans.fit(data, np.ones(3), weights=weights).labels_, expected)
    assert np.array_equal(kmeans.fit_predict(data, "y", weights=weights), expected)


def test_replaced_methods_get_weights_only_if_there_are_any() -> None:
    class Plain(FastKMeans):
        def train(self, data: Any) -> None:  # type: ignore[override]
            super().train(data)

    class Weighted(FastKMeans):
        def train(self, data: Any, weights: Any = None) -> None:
            self.seen = weights
            super().train(data, weights)

    data, weights = rows_and_weights()
    assert Plain(5, 4, gpu=False).fit(data).centroids is not None
    with pytest.raises(TypeError, match="weights"):
        Plain(5, 4, gpu=False).fit(data, weights=weights)
    weighted = Weighted(5, 4, gpu=False)
    labels = weighted.fit_predict(data, weights=weights)
    assert weighted.seen is weights
    assert np.array_equal(labels, FastKMeans(5, 4, gpu=False).fit_predict(data, weights=weights))
