# SPDX-License-Identifier: Apache-2.0
"""spherical=True: rows and centroids of length 1."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans, ZeroRowsWarning, fit_batch

pytestmark = pytest.mark.filterwarnings("ignore::fastkmeans.ZeroRowsWarning")


def rows(n: int = 150, d: int = 40, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, d), dtype=np.float32) * np.exp(rng.normal(0, 5, (n, 1))).astype(np.float32)
    data[7] = 0
    return data


@pytest.mark.parametrize("init", ["random", "k-means++", "given"])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_oracle(init: str, weighted: bool) -> None:
    data = rows()
    start = data[:11] if init == "given" else init
    weights = np.random.default_rng(1).random(len(data)) if weighted else None
    options = {"niter": 5, "tol": 0, "seed": 2}
    kmeans = FastKMeans(40, 11, init=start, spherical=True, gpu=False, **options).fit(data, weights=weights)
    expected = oracle.fit(data, 11, init=start, spherical=True, weights=weights, **options)
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert np.array_equal(kmeans.labels_, expected.labels)
    assert kmeans.inertia_ == expected.inertia
    assert np.array_equal(kmeans.predict(data), kmeans.labels_)


def test_lengths_of_rows_do_not_matter() -> None:
    data = rows()
    factors = 2.0 ** np.random.default_rng(1).integers(-9, 9, (len(data), 1))
    first, second = (FastKMeans(40, 5, spherical=True, gpu=False).fit(x) for x in (data, data * factors))
    assert np.array_equal(first.centroids, second.centroids)
    assert first.inertia_ == second.inertia_
    assert np.array_equal(first.predict(data * factors), first.labels_)
    assert np.allclose(np.linalg.norm(first.centroids, axis=1), 1, atol=1e-6)


def test_labels_are_those_of_the_largest_cosine() -> None:
    data = np.delete(rows(), 7, axis=0)
    kmeans = FastKMeans(40, 5, spherical=True, gpu=False).fit(data)
    unit = data / np.linalg.norm(data, axis=1, keepdims=True)
    cosines = unit @ kmeans.centroids.T
    assert np.array_equal(kmeans.labels_, cosines.argmax(axis=1))
    assert kmeans.inertia_ == pytest.approx((2 - 2 * cosines.max(axis=1)).sum(), rel=1e-4)


def test_predict_takes_centroids_as_they_are() -> None:
    kmeans = FastKMeans(2, 2, spherical=True, gpu=False)
    kmeans.centroids = np.array([[1, 0], [0, 9]], np.float32)
    assert kmeans.predict(np.array([[1.0, 50.0], [50.0, 1.0]])).tolist() == [0, 0]
    kmeans.spherical = False
    assert kmeans.predict(np.array([[1.0, 50.0], [50.0, 1.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("zeros", [0, 1, 40])
def test_zero_rows_are_counted(zeros: int) -> None:
    data = rows()
    data[7] = 1
    data[:zeros] = 0
    data[100:103] = 0  # of weight 0
    weights = np.ones(len(data))
    weights[100:103] = 0
    kmeans = FastKMeans(40, 5, gpu=False)
    kmeans.train(data, weights)
    assert kmeans.n_zero_ == zeros
    kmeans.spherical = True
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        kmeans.fit(data, weights=weights)
        fit_batch(np.stack([data[:50], data[50:100]]), 5, spherical=True)
    of_one = f"{zeros} of 147 points are zero: they have no direction, and stay zero"
    of_many = f"problem 0: {zeros} of 50 points are zero: they have no direction, and stay zero"
    expected = [(ZeroRowsWarning, said) for said in (of_one, of_many)] if zeros else []
    assert [(warning.category, str(warning.message)) for warning in found] == expected
    assert kmeans.n_zero_ == zeros
    assert np.isfinite(kmeans.centroids).all()
    assert np.isfinite(kmeans.inertia_)
    assert (kmeans.predict(data[:zeros]) == kmeans.labels_[:zeros]).all()


def test_only_bools() -> None:
    for value in (1, "yes", None):
        with pytest.raises(TypeError, match=r"^spherical must be True or False, given "):
            FastKMeans(2, 2, spherical=value)
    assert FastKMeans(2, 2, spherical=np.True_).spherical is True
