# SPDX-License-Identifier: Apache-2.0
"""What becomes of empty clusters: the rules "split" and "random", beside the oracle and by hand."""

from __future__ import annotations

import warnings
from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from fastkmeans import EmptyClusterWarning, FastKMeans
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import SEEDS, check

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RULES = ["farthest", "split", "random"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from(RULES[1:]),
    st.sampled_from(sorted(datasets.KINDS)),
    st.booleans(),
    st.booleans(),
    SEEDS,
)
def test_equals_the_oracle(
    n: int, k: int, d: int, rule: str, kind: str, spherical: bool, integers: bool, seed: int
) -> None:
    """From starts with copies and far centroids."""
    k = min(n, k)
    rng = np.random.default_rng(seed)
    init = datasets.make(kind, "f4", k, d, seed + 1 & 0xFFFF)[rng.integers(0, k, k)] * rng.choice([1, -0.5], (k, 1))
    options: dict[str, Any] = {"spherical": spherical, "niter": 4, "tol": -1, "seed": seed}
    x = datasets.make(kind, "f4", n, d, seed)
    if not integers and not spherical:
        check(x, k, init=init.astype(np.float32), empty_clusters=rule, **options)
        return
    weights = rng.integers(0, 4, n)
    weights[:k] = 1
    got = FastKMeans(d, k, empty_clusters=rule, int_centroids=integers, gpu=False, init=init, **options)
    got.fit(x, weights=weights)
    expected = oracle.fit(x, k, init=init, weights=weights, integers=integers, empty_clusters=rule, **options)
    assert np.array_equal(got.centroids, expected.centroids)
    assert [s.relocated for s in got.iteration_stats or []] == [s.relocated for s in expected.stats]


@pytest.mark.parametrize("rule", RULES[1:])
def test_frozen_ones_neither_give_nor_take(rule: str) -> None:
    data = np.random.default_rng(0).standard_normal((200, 6), dtype=np.float32)
    given_ones = np.concatenate([np.zeros((1, 6)), np.full((3, 6), 1e3)]).astype(np.float32)
    for redo in (1, 2):
        km = FastKMeans(6, 9, niter=3, nredo=redo, frozen_centroids=True, empty_clusters=rule, gpu=False)
        km.train(data, init_centroids=given_ones)
        expected = oracle.fit(data, 9, niter=3, nredo=redo, given=given_ones, frozen=True, empty_clusters=rule)
        assert np.array_equal(km.centroids[:4], given_ones)
        assert np.array_equal(km.centroids, expected.centroids)


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_random_rows_of_a_sample_and_of_several_runs(seed: int) -> None:
    data = np.random.default_rng(1).integers(0, 3, (400, 3)).astype(np.float32)
    check(data, 20, max_points_per_centroid=4, nredo=3, niter=5, tol=-1, seed=seed, empty_clusters="random")


def test_split_by_hand() -> None:
    rows = np.array([[1024.0, 0, -2048]] * 3 + [[-1024.0, 512, 0]] * 2, np.float32)
    km = FastKMeans(3, 4, niter=1, init=[rows[0], rows[3], [9e3] * 3, [9e4] * 3], empty_clusters="split", gpu=False)
    with pytest.warns(EmptyClusterWarning, match=r"^2 of 4 clusters ended empty$"):
        km.train(rows)
    # The first of 3 rows is split into 2 and 1; then there are two of 2, and the lowest is split.
    assert km.centroids.tolist() == [
        [1024 * (1 - 2**-10) ** 2, 0, np.float32(-2048 * (1 - 2**-10) ** 2)],
        [-1024, 512, 0],
        [1025, 0, -2050],
        [1023 * (1 + 2**-10), 0, np.float32(-2046 * (1 + 2**-10))],
    ]


def test_a_split_stays_below_the_limit() -> None:
    most = np.nextafter(np.float32(2.0**56), np.float32(0))
    rows = np.full((4, 1), most)
    km = FastKMeans(1, 2, niter=1, init=np.array([[most], [-1]]), empty_clusters="split", gpu=False).fit(rows)
    assert km.centroids.tolist() == [[most * np.float32(1 - 2.0**-10)], [most]]
    assert np.array_equal(km.predict(rows), [1] * 4)


def test_random_fills_with_rows_off_their_centroid() -> None:
    rows = np.array([[0.0]] * 50 + [[1.0]] * 50)
    for seed in range(5):
        km = FastKMeans(1, 2, niter=2, seed=seed, init=[[0.0], [50.0]], empty_clusters="random", gpu=False).fit(rows)
        assert sorted(km.centroids[:, 0]) != [0, 50]
        assert km.inertia_ == 0


@pytest.mark.parametrize("rule", RULES)
def test_not_from_nothing(rule: str) -> None:
    """All rows are equal: whatever the rule, the fit ends and says what is empty."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        km = FastKMeans(2, 3, niter=5, empty_clusters=rule, gpu=False).fit(np.ones((9, 2)))
    assert np.isfinite(km.centroids).all()
    assert km.inertia_ == 0 or rule == "split"
    assert [str(w.message) for w in caught if w.category is EmptyClusterWarning]


def test_wrong_values() -> None:
    with pytest.raises(ValueError, match=r"^empty_clusters must be 'farthest', 'split' or 'random', given 'drop'\.$"):
        FastKMeans(2, 3, empty_clusters="drop")
    with pytest.raises(TypeError, match=r"^empty_clusters must be a string, given None \(NoneType\)\.$"):
        FastKMeans(2, 3, empty_clusters=None)  # type: ignore[arg-type]
