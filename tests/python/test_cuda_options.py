# SPDX-License-Identifier: Apache-2.0
"""Weights, initialisations, metrics and faiss's options: a GPU gives the bits of the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import KINDS
from fastkmeans import FastKMeans
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

SEEDS = st.integers(0, 2**32 - 1)
METRICS = ["euclidean", "cosine", "inner_product"]
WEIGHTS: dict[str, Any] = {
    "none": lambda rng, n: None,
    "integers": lambda rng, n: rng.integers(0, 5, n),
    "fractions": lambda rng, n: rng.random(n),
    "wide": lambda rng, n: np.ldexp(1.0, rng.integers(-60, 60, n)),
}


def fitted(x: Any, k: int, weights: Any, **params: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        km = FastKMeans(x.shape[1], k, **params).fit(x, weights=weights)
    where = {stats.isa for stats in km.iteration_stats or []}
    assert where == {"cuda"} if params.get("device") == "cuda" else "cuda" not in where, where
    return datasets.result(km)


def check(x: Any, k: int, weights: Any = None, on_gpu: Any = None, **params: Any) -> None:
    truth = fitted(x, k, weights, gpu=False, **params)
    found = fitted(x if on_gpu is None else on_gpu, k, weights, device="cuda", **params)
    for name, value in truth.items():
        assert found[name] == value, name


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 200), st.integers(1, 200), st.sampled_from(sorted(KINDS)),
       st.sampled_from(sorted(WEIGHTS)), st.sampled_from(["random", "k-means++"]), st.sampled_from(METRICS),
       st.booleans(), SEEDS)  # fmt: skip
def test_drawn_options(
    n: int, d: int, k: int, kind: str, weights: str, init: str, metric: str, integers: bool, seed: int
) -> None:
    x = datasets.make(kind, "f4", n, d, seed)
    w = WEIGHTS[weights](np.random.default_rng(seed), n)
    k = min(k, n if w is None else int((w > 0).sum()))
    if k:
        check(x, k, w, init=init, metric=metric, int_centroids=integers, niter=3, seed=seed)


# Labels change in every iteration, those of rows of weight 0 too; whole blocks of rows, and a part of one.
@pytest.mark.parametrize("weights", ["none", "integers"])
@pytest.mark.parametrize("d", [1, 2, 3, 8, 9, 16, 17, 31, 33])
def test_few_dimensions(d: int, weights: str) -> None:
    x = datasets.make("normal", "f4", 5_003, d, d)
    w = WEIGHTS[weights](np.random.default_rng(d), len(x))
    params: dict[str, Any] = {"niter": 6, "tol": -1, "max_points_per_centroid": None}
    truth = fitted(x, 40, w, gpu=False, **params)
    assert all(changed > 0 for _, _, changed, _, _ in truth["stats"])
    for search in ("none", "low_dim", "int8"):
        with datasets.forced("", search):
            assert fitted(x, 40, w, device="cuda", **params) == truth, search


# More rows than a part of the masses has, from a device's memory; candidates drawn from the last part too.
@pytest.mark.parametrize("weights", sorted(WEIGHTS))
@pytest.mark.parametrize("redo", [1, 2])
def test_kmeans_plus_plus_of_many_rows(weights: str, redo: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    x = datasets.make("blobs", "f4", 50_001, 24, 5)
    on_gpu = torch.from_numpy(x).cuda()
    check(x, 60, WEIGHTS[weights](rng, len(x)), on_gpu, init="k-means++", niter=2, nredo=redo)


# Rows that kernels cannot read where they are: those near a candidate are fetched.
@pytest.mark.parametrize("dtype", ["f2", "f8"])
@pytest.mark.parametrize("metric", METRICS)
def test_kmeans_plus_plus_of_rows_that_are_fetched(dtype: str, metric: str) -> None:
    torch = pytest.importorskip("torch")
    x = datasets.make("normal", dtype, 20_000, 64, 5)
    check(x, 200, on_gpu=torch.from_numpy(x).cuda(), init="k-means++", niter=2, metric=metric)


# Rows and candidates of both kinds, the tiny ones scaled: D of each candidate by the rule for it alone.
def test_kmeans_plus_plus_of_tiny_rows() -> None:
    x = datasets.make("mixed", "f4", 5000, 40, 3)
    check(x, 300, init="k-means++", niter=2)
    check(x * np.float32(2.0**-40), 300, init="k-means++", niter=2)


def test_first_centroids_given_and_frozen() -> None:
    x = datasets.make("normal", "f4", 5000, 70, 3)
    check(x, 50, init=x[:50], frozen_centroids=True, niter=4)
    found = []
    for where in ({"gpu": False}, {"device": "cuda"}):
        km = FastKMeans(70, 50, frozen_centroids=True, niter=4, **where)
        km.train(x, init_centroids=x[:7])
        found.append(np.asarray(km.centroids))
    assert np.array_equal(*found)
    assert np.array_equal(found[1][:7], x[:7])


@pytest.mark.parametrize("rule", ["farthest", "split", "random"])
@pytest.mark.parametrize("metric", METRICS)
def test_empty_clusters(rule: str, metric: str) -> None:
    for kind in ("normal", "repeated", "mixed"):
        x = datasets.make(kind, "f4", 5000, 70, 3)
        init = np.concatenate([x[:20], x[:20], x[:10] * np.float32(-0.5)])
        for weights in WEIGHTS.values():
            w = weights(np.random.default_rng(1), len(x))
            check(x, 50, w, init=init, empty_clusters=rule, niter=4, tol=-1, metric=metric)
        check(x, 50, init=init, empty_clusters=rule, niter=3, max_points_per_centroid=20, int_centroids=True)


# Runs of the candidates of k-means|| and of the fit take turns, with other numbers of centroids.
@pytest.mark.parametrize("init", ["k-means||", "afk-mc2"])
@pytest.mark.parametrize("weights", sorted(WEIGHTS))
def test_initialisations_for_large_k(init: str, weights: str) -> None:
    w = WEIGHTS[weights](np.random.default_rng(1), 5000)
    for kind, metric in (
        ("blobs", "euclidean"),
        ("mixed", "euclidean"),
        ("normal", "cosine"),
        ("blobs", "inner_product"),
    ):
        x = datasets.make(kind, "f4", 5000, 70, 3)
        check(x, 60, w, init=init, niter=3, nredo=3, metric=metric)


@pytest.mark.parametrize("name", ["inertia_tol", "changed_tol"])
@pytest.mark.parametrize("metric", METRICS)
def test_tolerances(name: str, metric: str) -> None:
    check(datasets.make("blobs", "f4", 5000, 70, 3), 50, niter=30, metric=metric, **{name: 0.02})


def test_predict_spherical() -> None:
    x = datasets.make("normal", "f4", 5000, 70, 3)
    on_cpu = FastKMeans(70, 50, spherical=True, gpu=False).fit(x)
    on_gpu = FastKMeans(70, 50, spherical=True, device="cuda").fit(x)
    assert np.array_equal(on_cpu.predict(x), on_gpu.predict(x))
    assert np.array_equal(on_cpu.labels_, on_gpu.labels_)


def test_weights_on_the_device() -> None:
    torch = pytest.importorskip("torch")
    x = datasets.make("normal", "f4", 5000, 70, 3)
    w = np.random.default_rng(0).random(5000)
    with_host = FastKMeans(70, 50, device="cuda").fit(torch.from_numpy(x).cuda(), weights=w)
    with_device = FastKMeans(70, 50, device="cuda").fit(torch.from_numpy(x).cuda(), weights=torch.from_numpy(w).cuda())
    assert datasets.result(with_host) == datasets.result(with_device)
