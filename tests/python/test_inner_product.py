# SPDX-License-Identifier: Apache-2.0
"""metric="inner_product": the label is the centroid of largest inner product."""

from __future__ import annotations

import functools
from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from cli_tools import run, train
from fastkmeans import FastKMeans, fit_batch

pytestmark = [
    pytest.mark.filterwarnings("ignore::fastkmeans.EmptyClusterWarning"),
    pytest.mark.filterwarnings("ignore::fastkmeans.ZeroRowsWarning"),
]
K = 11


def rows(n: int = 150, d: int = 40, seed: int = 0) -> Any:
    """Rows of many lengths in a common direction, a zero row and two that are equal among them."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, d), dtype=np.float32) * np.exp(rng.normal(0, 1, (n, 1))).astype(np.float32) + 1
    data[7], data[9] = 0, data[8]
    return data


def fitted(data: Any, k: int = K, weights: Any = None, **options: Any) -> FastKMeans:
    return FastKMeans(data.shape[1], k, metric="inner_product", **options).fit(data, weights=weights)


def expect_the_oracles(kmeans: FastKMeans, data: Any, **options: Any) -> oracle.Fit:
    return expect(kmeans, oracle.fit(data, kmeans.k, products=True, **options))


def expect(kmeans: FastKMeans, expected: oracle.Fit) -> oracle.Fit:
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert np.array_equal(kmeans.labels_, expected.labels)
    assert kmeans.inertia_ == expected.inertia
    assert kmeans.obj is not None
    assert kmeans.obj.tolist() == [stats.inertia for stats in expected.stats]
    return expected


@pytest.mark.parametrize("init", ["random", "k-means++", "given"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("empty_clusters", ["farthest", "split", "random"])
def test_equals_the_oracle(init: str, weighted: bool, empty_clusters: str) -> None:
    data = rows()
    weights = np.random.default_rng(1).random(len(data)) if weighted else None
    options = {"niter": 5, "tol": 0, "seed": 2, "empty_clusters": empty_clusters, "weights": weights}
    options["init"] = data[:K] if init == "given" else init
    expected = expect_the_oracles(fitted(data, **options), data, **options)
    assert sum(stats.empty for stats in expected.stats) > 0


HARD = {"niter": 4, "tol": -1, "max_points_per_centroid": None}


@functools.cache
def hard_case(kind: str) -> tuple[Any, oracle.Fit]:
    data = datasets.make(kind, "f4", 200, 24, 3)
    return data, oracle.fit(data, 20, products=True, **HARD)


@pytest.mark.parametrize("path", datasets.FEW_PATHS, ids=" ".join)
@pytest.mark.parametrize("kind", datasets.KINDS)
def test_every_path_equals_the_oracle(path: tuple[str, str], kind: str) -> None:
    data, expected = hard_case(kind)
    with datasets.forced(*path):
        expect(fitted(data, 20, n_threads=2, **HARD), expected)


@pytest.mark.parametrize("dtype", datasets.DTYPES)
@pytest.mark.parametrize("layout", datasets.LAYOUTS)
def test_types_and_layouts(dtype: str, layout: str) -> None:
    data = datasets.make("normal", dtype, 60, 9, 5)
    expect_the_oracles(fitted(datasets.lay(data, layout), 5, niter=2), data, niter=2)


@pytest.mark.parametrize("tolerance", ["inertia_tol", "changed_tol"])
def test_tolerances(tolerance: str) -> None:
    data, found = rows(), []
    for value in (1.0, 0.1, 0.001):
        options = {"tol": 1e-9, tolerance: value, "niter": 30}
        kmeans = fitted(data, **options)
        expect_the_oracles(kmeans, data, **options)
        found.append(kmeans.n_iter_)
    assert found == sorted(found)
    assert found[0] < 30


def test_the_best_run_is_that_of_the_largest_sum() -> None:
    data = rows()
    for seed in range(5):
        expect_the_oracles(fitted(data, nredo=4, niter=2, seed=seed), data, nredo=4, niter=2, seed=seed)


def test_assign_gives_inner_products() -> None:
    kmeans = FastKMeans(2, 3, metric="inner_product")
    kmeans.centroids = np.array([[2, 2], [9, 0], [2, 2]], np.float32)
    products, labels = kmeans.assign(np.array([[2, 1], [0, 3], [-1, -1], [0, 0]], np.float32))
    assert labels.tolist() == [1, 0, 0, 0]  # the nearest is 0, 0, 0, 0
    assert products.tolist() == [18, 6, -4, 0]
    assert kmeans.predict(np.array([[2, 1]])).tolist() == [1]


def test_a_batch_is_many_fits() -> None:
    data = np.stack([rows(seed=seed) for seed in range(3)])
    found = fit_batch(data, K, metric="inner_product", niter=4)
    for b, x in enumerate(data):
        kmeans = fitted(x, niter=4)
        assert np.array_equal(found.centroids[b], kmeans.centroids)
        assert np.array_equal(found.labels[b], kmeans.labels_)
        assert found.inertia[b] == kmeans.inertia_


def commands_give_the_fit_of_the_cpu(*device: str) -> None:
    """In the fixture `folder`. device: the option that names it."""
    x = np.load("x.npy")
    assert train("--metric", "inner_product", *device) == 0
    expected = FastKMeans(x.shape[1], 5, metric="inner_product", gpu=False).fit(x)
    assert np.array_equal(np.load("out.npy"), expected.centroids)
    command = "assign x.npy out.npy -o labels.npy --distances d.npy --metric inner_product"
    assert run(*command.split(), *device) == 0
    products, labels = expected.assign(x)
    assert np.array_equal(np.load("labels.npy"), labels)
    assert np.array_equal(np.load("d.npy"), products)


@pytest.mark.usefixtures("folder")
def test_the_command_line() -> None:
    commands_give_the_fit_of_the_cpu()


def test_the_oracle_checks_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTKMEANS_VERIFY", "1")
    fitted(rows())


def test_cosine_has_two_names() -> None:
    data = rows()
    first = FastKMeans(40, K, metric="cosine").fit(data)
    second = FastKMeans(40, K, spherical=True).fit(data)
    both = FastKMeans(40, K, metric="cosine", spherical=True).fit(data)
    assert np.array_equal(first.centroids, second.centroids)
    assert np.array_equal(first.centroids, both.centroids)


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
def test_what_contradicts_spherical_is_refused(metric: str) -> None:
    said = rf"^spherical=True is metric='cosine', given metric='{metric}'\.$"
    with pytest.raises(ValueError, match=said):
        FastKMeans(2, 2, metric=metric, spherical=True)
    kmeans = FastKMeans(2, 2, spherical=True)
    kmeans.metric = metric
    with pytest.raises(ValueError, match=said):
        kmeans.fit(np.eye(2))
    with pytest.raises(ValueError, match=said):
        fit_batch(np.zeros((2, 3, 2)), 2, metric=metric, spherical=True)
