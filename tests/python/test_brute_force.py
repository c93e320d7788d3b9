# SPDX-License-Identifier: Apache-2.0
"""Labels against fp64 brute force: wrong by no more than the rounding of D itself, with no oracle in between."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ISAS
from fastkmeans import FastKMeans

SOURCES: dict[str, tuple[int, Callable[[], Any]]] = {  # k, rows
    "random": (100, lambda: datasets.make("normal", "f4", 5000, 50, 1)),
    "duplicated": (300, lambda: datasets.make("repeated", "f4", 2000, 64, 2)),
    "large offset": (60, lambda: datasets.make("offset", "f4", 4000, 96, 3)),  # mean 1e6, unit spread
    "sift": (128, lambda: datasets.sift_like(8000, 4)),
    "outlier": (60, lambda: datasets.make("outlier", "f4", 3000, 100, 5)),
    "wide": (40, lambda: datasets.make("normal", "f4", 1000, 2050, 6)),
    "tokens": (128, datasets.tokens),
    "mnist": (64, datasets.mnist),
}


@functools.cache
def brute_force(name: str) -> tuple[Any, Any, Any]:
    """Rows, centroids after a few iterations, and all true distances."""
    k, rows = SOURCES[name]
    x = rows()
    km = FastKMeans(x.shape[1], k, gpu=False, niter=3, max_points_per_centroid=None)
    km.train(x)
    return x, km.centroids, datasets.true_distances(x, km.centroids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(mean|empty).*:UserWarning")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("isa", ISAS)
def test_labels_are_nearest(isa: str, name: str) -> None:
    x, centroids, true = brute_force(name)
    n, d = x.shape
    km = FastKMeans(d, len(centroids), gpu=False)
    km.centroids = centroids
    with datasets.forced(isa):
        labels = km.predict(x)
    slack = (-(-d // 32) + 8) * 2.0**-23
    best = true.min(axis=1)
    assert (true[np.arange(n), labels] <= best * (1 + slack)).all()
    rows, first = np.unique(centroids, axis=0, return_index=True)
    repeats = np.setdiff1d(np.arange(len(centroids)), first)
    assert not np.isin(labels, repeats).any(), f"{len(rows)} centroids differ; ties go to the lowest index"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [24, 512, 2048])
def test_exact_distances_far_from_the_centre(isa: str, d: int) -> None:
    """Small integers apart, so that D is exact, but so far from most rows that a filter's products round by more."""
    rng = np.random.default_rng(d)
    far = rng.integers(-60_000, 60_000, d)
    x, centroids = np.zeros((1000, d), np.int64), far + rng.integers(-2, 3, (200, d))
    x[::4] = far + rng.integers(-2, 3, (250, d))
    km = FastKMeans(d, 200, gpu=False)
    km.centroids = centroids.astype(np.float32)
    with datasets.forced(isa):
        labels = km.predict(x.astype(np.float32))[::4]
    true = np.square(centroids).sum(axis=1) - 2 * x[::4] @ centroids.T  # less |x|^2; int64 does not round
    assert labels.tolist() == true.argmin(axis=1).tolist()


def test_sift_like_norm() -> None:
    x = datasets.sift_like(8000, 4).astype(np.float64)
    assert 2.3e5 < np.square(x).sum(axis=1).mean() < 2.6e5
