# SPDX-License-Identifier: Apache-2.0
"""metric="inner_product": the label is the centroid of largest inner product."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans, fit_batch

K = 11


def rows(n: int = 150, d: int = 40, seed: int = 0) -> Any:
    """Rows of many lengths, with a zero row and copies; a direction that all share."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, d), dtype=np.float32) * np.exp(rng.normal(0, 1, (n, 1))).astype(np.float32) + 1
    data[7], data[9] = 0, data[8]
    return data


def by_oracle(data: Any, k: int = K, **options: Any) -> Any:
    return oracle.fit(data, k, products=True, **options)


@pytest.mark.parametrize("init", ["random", "k-means++", "given"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("empty_clusters", ["farthest", "split", "random"])
def test_equals_the_oracle(init: str, weighted: bool, empty_clusters: str) -> None:
    data = rows()
    start = data[:K] if init == "given" else init
    weights = np.random.default_rng(1).random(len(data)) if weighted else None
    options = {"niter": 5, "tol": 0, "seed": 2, "empty_clusters": empty_clusters}
    with pytest.MonkeyPatch.context():
        kmeans = FastKMeans(40, K, init=start, metric="inner_product", **options).fit(data, weights=weights)
    expected = by_oracle(data, init=start, weights=weights, **options)
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert np.array_equal(kmeans.labels_, expected.labels)
    assert kmeans.inertia_ == expected.inertia
    assert kmeans.obj.tolist() == [stats.inertia for stats in expected.stats]
    assert sum(stats.empty for stats in expected.stats) > 0
