# SPDX-License-Identifier: Apache-2.0
"""Every instruction set and filter of this machine gives the oracle's bits, on drawn shapes and hard data."""

from __future__ import annotations

import math
import warnings
from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from datasets import DTYPES, KINDS, LAYOUTS, PATHS
from fastkmeans import FastKMeans
from hypothesis import given, settings
from hypothesis import strategies as st

# On both sides of each power of two: no d, n or k may be a multiple of every tile size.
EDGES = sorted({2**e + i for e in range(4, 12) for i in (-1, 0, 1, 2)})
BUDGET = 1_500_000  # n k d of one assignment by the oracle, whose lanes come in 32: about 0.05 s


def expected(x: Any, k: int, **params: Any) -> dict[str, Any]:
    fit = oracle.fit(x, k, **params)
    return {
        "centroids": fit.centroids.tobytes(),
        "labels": fit.labels.tolist(),
        "inertia": fit.inertia.hex(),
        "n_iter": len(fit.stats),
        "converged": fit.converged,
        "n_used": fit.n_used,
        "n_zero": fit.n_zero,
        "stats": [(s.inertia.hex(), s.shift.hex(), s.changed, s.empty, s.relocated) for s in fit.stats],
    }


def check(x: Any, k: int, layout: str = "C", n_threads: int = 2, **params: Any) -> None:
    truth = expected(x, k, **params)
    laid = datasets.lay(x, layout)
    for isa, search in PATHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # empty clusters, precision, subsamples: other tests look at these
            found = datasets.outcome(laid, k, isa, search, n_threads=n_threads, **params)
        for name, value in truth.items():
            assert found[name] == value, (isa, search, name)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int]:
    d = draw(st.integers(1, 70) | st.integers(71, 2050) | st.sampled_from(EDGES))
    pairs = BUDGET // (-(-d // 32) * 32)
    n = draw(st.integers(1, min(1000, pairs)) | st.sampled_from([e for e in EDGES if e <= min(1000, pairs)]))
    most = min(n, pairs // n)
    k = draw(st.integers(1, most) | st.integers(max(1, most - 3), most))
    return n, k, d


SEEDS = st.integers(0, 2**64 - 1)


@settings(max_examples=250, deadline=None)
@given(shapes(), st.sampled_from(sorted(KINDS)), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), SEEDS,
       st.integers(1, 5), st.integers(1, 5))  # fmt: skip
def test_drawn_fits(
    shape: tuple[int, int, int], kind: str, dtype: str, layout: str, seed: int, niter: int, n_threads: int
) -> None:
    n, k, d = shape
    x = datasets.make(kind, dtype, n, d, seed)
    check(x, k, layout, n_threads, niter=niter, seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_in_every_dtype(kind: str, dtype: str) -> None:
    """Run to the end, so that rows move in and out of clusters on every scale."""
    check(datasets.make(kind, dtype, 150, 5, seed=len(kind)), 13, niter=12, tol=0)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(KINDS)), SEEDS)
def test_given_centroids(shape: tuple[int, int, int], kind: str, other: str, seed: int) -> None:
    """From any start, with repeated and far centroids: clusters are empty, then filled, one row per donor."""
    n, k, d = shape
    rng = np.random.default_rng(seed)
    init = datasets.make(other, "f4", k, d, seed + 1 & 0xFFFF)[rng.integers(0, k, k)]
    check(datasets.make(kind, "f4", n, d, seed), k, init=init, niter=4, tol=-1)


@st.composite
def adversarial(draw: st.DrawFn, n: int, d: int, seed: int) -> Any:
    """Rows (n, d) in fp32 with any scale for each row and column, constant columns, copies, and outliers."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + draw(st.sampled_from([0, 0, 10, 1e5]))
    low = draw(st.integers(-149, 40))
    x = np.ldexp(x, draw(st.sampled_from([0, 0, low])))
    if draw(st.booleans()):
        x = np.ldexp(x, rng.integers(0, draw(st.integers(1, 40)), (n, 1)))
    if draw(st.booleans()):
        x = np.ldexp(x, rng.integers(-draw(st.integers(1, 60)), 1, d))
    if draw(st.booleans()):
        constant = rng.random(d) < draw(st.sampled_from([0.1, 0.9]))
        x[:, constant] = draw(st.sampled_from([0, 1, 1e-3, 1e9, 2.0**-140]))
    if draw(st.booleans()):
        x = x[rng.integers(0, max(1, n // draw(st.integers(1, 20))), n)]
    if draw(st.booleans()):
        x = np.rint(x)
    if draw(st.booleans()):  # one element, one row or one column is huge
        row, column = rng.integers(n), rng.integers(d)
        index = draw(st.sampled_from([(row, column), (row, slice(None)), (slice(None), column)]))
        x[index] = np.ldexp(x[index], draw(st.integers(10, 200)))
    return np.clip(x, -datasets.LARGEST, datasets.LARGEST).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(st.data(), shapes(), st.sampled_from(["f4", "f8", "f2"]), st.sampled_from(LAYOUTS), SEEDS, st.integers(1, 5))
def test_no_data_loses_the_nearest(
    data: st.DataObject, shape: tuple[int, int, int], dtype: str, layout: str, seed: int, n_threads: int
) -> None:
    """From centroids that are rows, rows moved a little, or a draw of their own; until the bounds have been used."""
    n, k, d = shape
    x, rng = data.draw(adversarial(n, d, seed)), np.random.default_rng(seed)
    init = x[rng.integers(0, n, k)]
    if data.draw(st.booleans()):
        init *= 1 + np.float32(2.0 ** data.draw(st.integers(-23, -1))) * rng.integers(-1, 2, (k, 1), dtype=np.int8)
    elif data.draw(st.booleans()):
        init = data.draw(adversarial(k, d, seed ^ 1))
    init = np.clip(init, -datasets.LARGEST, datasets.LARGEST)
    if dtype == "f2":
        x = np.clip(x, -65504, 65504)
    check(x.astype(dtype), k, layout, n_threads, init=init, niter=4, tol=-1)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(1, 3), st.integers(1, 20), SEEDS)
def test_subsamples_and_runs(shape: tuple[int, int, int], nredo: int, most: int, seed: int) -> None:
    n, k, d = shape
    x = datasets.make("blobs", "f4", n, d, seed)
    check(x, k, nredo=nredo, max_points_per_centroid=most, niter=3, seed=seed)


def test_all_rows() -> None:
    check(datasets.make("normal", "f4", 1000, 2, 0), 3, max_points_per_centroid=None, niter=5)


@pytest.mark.parametrize("k", [1, 2, 150])
@pytest.mark.parametrize("tol", [-1, 1e-8, 0.05, math.inf])
def test_stopping(k: int, tol: float) -> None:
    check(datasets.make("blobs", "f4", 150, 3, 1), k, tol=tol, niter=30)


def test_a_callback_stops_as_niter_does() -> None:
    x = datasets.make("blobs", "f4", 500, 8, 1)
    seen = []

    def callback(stats: Any) -> bool:
        seen.append(stats)
        return len(seen) == 3

    found = datasets.outcome(x, 20, callback=callback)
    assert found == expected(x, 20, niter=3)
    assert [(s.inertia.hex(), s.shift.hex()) for s in seen] == [s[:2] for s in found["stats"]]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_predict(path: tuple[str, str], kind: str) -> None:
    """Any rows against any centroids: `predict` is not limited to the rows of the fit."""
    km = FastKMeans(40, 77, gpu=False, niter=1, seed=5)
    with datasets.forced(*path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = datasets.make(kind, "f4", 200, 40, 3)
        km.train(rows)
        datasets.expect_ran(*path, km, rows)
        for other in KINDS:
            x = datasets.make(other, "f4", 100, 40, 4)
            assert km.predict(x).tolist() == oracle.predict(x, km.centroids).tolist(), other


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_near_ties(path: tuple[str, str]) -> None:
    """Integers in 2,048 dimensions: D rounds, so its order differs from that of the true distances."""
    rng = np.random.default_rng(11)
    centre, steps = rng.integers(-3000, 3000, 2048), rng.integers(1400, 1600, 2048)
    centroids = (centre + np.stack([rng.permutation(steps) for _ in range(80)])).astype(np.float32)  # ties at centre
    x = (centre + rng.integers(-1, 2, (60, 2048)) * (rng.random((60, 2048)) < 0.01)).astype(np.float32)
    d, true = oracle.distances(x, centroids), datasets.true_distances(x, centroids)
    assert (np.take_along_axis(true, d.argmin(axis=1)[:, None], axis=1)[:, 0] > true.min(axis=1)).sum() > 10
    km = FastKMeans(2048, 80, gpu=False)
    km.centroids = centroids
    with datasets.forced(*path):
        assert km.predict(x).tolist() == d.argmin(axis=1).tolist()


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_ties_go_to_the_lowest_index(path: tuple[str, str]) -> None:
    x = datasets.make("integers", "f4", 500, 4, 1)
    with datasets.forced(*path):
        km = FastKMeans(4, 200, gpu=False)
        km.centroids = np.repeat(x[:50], 4, axis=0)
        labels = km.predict(x)
    first = datasets.true_distances(x, km.centroids).argmin(axis=1)  # small integers: fp64 and D are both exact
    assert labels.tolist() == first.tolist()
