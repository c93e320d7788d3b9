# SPDX-License-Identifier: Apache-2.0
"""init="k-means++": the rows of the rule in docs/algorithm.md section 5, and better ones than random rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans


def plus_plus(k: int, d: int, **options: Any) -> FastKMeans:
    return FastKMeans(d, k, **{"init": "k-means++", "tol": 0, "gpu": False, **options})


@pytest.mark.parametrize("k", [1, 2, 7, 30])
@pytest.mark.parametrize("kind", ["normal", "few values", "tiny", "skewed", "weighted"])
def test_equals_the_oracle(kind: str, k: int) -> None:
    rng = np.random.default_rng(k)
    data = rng.standard_normal((150, 9), dtype=np.float32)
    weights = rng.random(150) * rng.integers(0, 2, 150) if kind == "weighted" else None
    if kind == "few values":
        data = data[rng.integers(0, 12, 150)]
    elif kind == "tiny":
        data[:75] *= np.float32(1e-30)
    elif kind == "skewed":
        data *= np.exp(rng.normal(0, 8, (150, 1))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clusters that end empty
        for most in (None, 3):
            got = plus_plus(k, 9, seed=4, niter=2, nredo=2, max_points_per_centroid=most).fit(data, weights=weights)
            expected = oracle.fit(data, k, 2, 0, 4, most, 2, "k-means++", weights)
            assert np.array_equal(got.centroids, expected.centroids)
            assert got.inertia_ == expected.inertia


def test_seeds_and_runs_differ() -> None:
    data = np.random.default_rng(0).standard_normal((500, 4), dtype=np.float32)
    fits = [plus_plus(20, 4, seed=seed, niter=1).fit(data) for seed in (0, 0, 1, 2**40)]
    assert np.array_equal(fits[0].centroids, fits[1].centroids)
    assert not np.array_equal(fits[0].centroids, fits[2].centroids)
    assert not np.array_equal(fits[0].centroids, fits[3].centroids)
    best = plus_plus(20, 4, niter=1, nredo=8).fit(data)
    assert best.iteration_stats[0].redo > 0 or best.inertia_ == fits[0].inertia_


def test_finds_blobs_that_random_rows_miss() -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform(-1000, 1000, (50, 3))
    data = (centers[rng.integers(0, 50, 5000)] + rng.standard_normal((5000, 3))).astype(np.float32)
    found = plus_plus(50, 3, max_points_per_centroid=None).fit(data)
    assert found.inertia_ < 4 * data.size
    assert found.inertia_ < FastKMeans(3, 50, gpu=False).fit(data).inertia_


def test_equal_rows_fill_up() -> None:
    data = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    with pytest.warns(UserWarning, match="5 of 8 clusters ended empty"):
        found = plus_plus(8, 3).fit(data)
    assert found.inertia_ == 0
    assert len(np.unique(found.centroids, axis=0)) == 3


def test_other_names_are_refused() -> None:
    for name in ("kmeans++", "", "k-means|||"):
        with pytest.raises(
            ValueError, match=r"^init must be 'random', 'k-means\+\+', 'k-means\|\|', 'afk-mc2', an array"
        ):
            FastKMeans(2, 2, init=name)
