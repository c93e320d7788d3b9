# SPDX-License-Identifier: Apache-2.0
"""init="k-means||" and "afk-mc2", by the rules of docs/initialisation.md; and a callable."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans, KMeans

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # clusters that end empty
METHODS = ["k-means||", "afk-mc2"]


def rows(kind: str) -> Any:
    rng = np.random.default_rng(5)
    data = rng.standard_normal((90, 5), dtype=np.float32)
    if kind == "few values":
        return data[rng.integers(0, 6, 90)]
    if kind == "half tiny":
        data[:45] *= np.float32(1e-30)
    return data


@pytest.mark.parametrize("init", METHODS)
@pytest.mark.parametrize("kind", ["normal", "few values", "half tiny", "weighted"])
def test_equals_the_oracle(kind: str, init: str) -> None:
    data = rows(kind)
    weights = np.random.default_rng(1).integers(0, 3, 90) if kind == "weighted" else None
    for k, most in ((1, None), (8, None), (8, 4)):
        options = {"niter": 2, "tol": 0, "seed": 2**40 + 4, "max_points_per_centroid": most, "nredo": 2, "init": init}
        got = FastKMeans(5, k, gpu=False, **options).fit(data, weights=weights)
        expected = oracle.fit(data, k, weights=weights, **options)
        assert np.array_equal(got.centroids, expected.centroids)
        assert got.inertia_ == expected.inertia


@pytest.mark.parametrize("init", METHODS)
@pytest.mark.parametrize("spherical", [False, True])
def test_what_is_given_stays_first(init: str, spherical: bool) -> None:
    data = rows("normal")
    options: dict[str, Any] = {"niter": 1, "tol": 0, "init": init, "spherical": spherical}
    given = data[[3, 3, 7]] * np.float32(1.5)
    km = FastKMeans(5, 9, gpu=False, frozen_centroids=True, **options)
    km.train(data, init_centroids=given)
    expected = oracle.fit(data, 9, given=given, frozen=True, **options)
    assert np.array_equal(km.centroids, expected.centroids)
    km.train(data, init_centroids=data[:9])  # all of them
    assert np.array_equal(km.centroids, oracle.fit(data, 9, init=data[:9], frozen=True, spherical=spherical).centroids)


@pytest.mark.parametrize("init", METHODS)
def test_finds_blobs_that_random_rows_miss(init: str) -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-1000, 1000, (50, 3))
    data = (centers[rng.integers(0, 50, 5000)] + rng.standard_normal((5000, 3))).astype(np.float32)
    options: dict[str, Any] = {"gpu": False, "niter": 10, "max_points_per_centroid": None}
    found = FastKMeans(3, 50, init=init, **options).fit(data)
    assert found.inertia_ < 0.5 * FastKMeans(3, 50, **options).fit(data).inertia_
    assert found.inertia_ < 2 * FastKMeans(3, 50, init="k-means++", **options).fit(data).inertia_ + 4 * data.size
    other = FastKMeans(3, 50, init=init, seed=1, **options).fit(data)
    assert not np.array_equal(found.centroids, other.centroids)


@pytest.mark.parametrize("init", METHODS)
def test_equal_rows_fill_up(init: str) -> None:
    data = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    found = FastKMeans(3, 8, init=init, gpu=False).fit(data)
    assert found.inertia_ == 0
    assert len(np.unique(found.centroids, axis=0)) == 3
    found = FastKMeans(3, 2, init=init, gpu=False).fit(np.ones((4, 3)))
    assert np.array_equal(found.centroids, np.ones((2, 3)))


@pytest.mark.parametrize("init", METHODS)
def test_of_the_estimator(init: str) -> None:
    data = np.unique(rows("normal"), axis=0)  # which KMeans does to few rows
    seed = int(np.random.RandomState(3).randint(2**32, dtype=np.uint64))
    got = KMeans(8, init=init, tol=0, random_state=3, device="cpu").fit(data)
    expected = FastKMeans(5, 8, init=init, niter=300, seed=seed, max_points_per_centroid=None, gpu=False).fit(data)
    assert np.array_equal(got.cluster_centers_, expected.centroids)
    assert got.inertia_ == expected.inertia_
    assert np.array_equal(got.labels_, expected.labels_)


def test_a_callable() -> None:
    data = rows("normal")
    seen = []

    def init(given: Any, k: int, seed: int) -> Any:
        seen.append((given is data, k, seed))
        return "rows" if len(seen) > 1 else given[:k]

    km = FastKMeans(5, 7, init=init, seed=3, nredo=4, gpu=False)
    assert seen == []
    expected = FastKMeans(5, 7, init=data[:7], gpu=False).fit(data)
    assert np.array_equal(km.fit(data).centroids, expected.centroids)
    assert seen == [(True, 7, 3)]
    assert km.init is init
    with pytest.raises(TypeError, match=r"^init must be a matrix"):
        km.fit(data)
    km.init = lambda given, k, seed: given[:2]
    with pytest.raises(ValueError, match=r"^init must have k = 7 rows, given 2\.$"):
        km.fit(data)
    km.train(data, init_centroids=data[:7])  # these are asked first
    assert np.array_equal(km.centroids, expected.centroids)
