# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: NPY002 (numpy's global random state is what must be left alone)
"""Training and predicting with `FastKMeans`: what comes back, from which rows, and what is left alone."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
from fastkmeans import FastKMeans, SubsampledWarning


def test_train_gives_centroids_and_no_labels(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    assert kmeans.centroids is None
    assert kmeans.train(data=x) is None
    c = kmeans.centroids
    assert (c.dtype, c.shape, c.flags.c_contiguous, c.flags.writeable) == (np.float32, (5, 7), True, True)
    assert kmeans.labels_ is None
    assert kmeans.inertia_ == kmeans.iteration_stats[-1].inertia
    assert kmeans.n_used_ == 400


def test_fit_gives_labels_and_inertia_of_the_centroids_returned(x: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(7, 5, niter=2)
    assert kmeans.fit(data=x) is kmeans
    assert kmeans.labels_.dtype == np.int64
    np.testing.assert_array_equal(kmeans.labels_, nearest(x, kmeans.centroids))
    exact = ((x.astype(np.float64) - kmeans.centroids[kmeans.labels_]) ** 2).sum()
    assert kmeans.inertia_ == pytest.approx(exact, rel=1e-6)
    np.testing.assert_array_equal(kmeans.predict(data=x), kmeans.labels_)
    np.testing.assert_array_equal(FastKMeans(7, 5, niter=2).fit_predict(data=x), kmeans.labels_)


def test_labels_and_inertia_are_of_all_rows_after_a_subsample(x: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(7, 5, max_points_per_centroid=10)
    with pytest.warns(SubsampledWarning, match=r"\b50\b") as caught:
        kmeans.fit(x)
    assert [w.filename for w in caught] == [__file__]
    assert kmeans.n_used_ == 50
    np.testing.assert_array_equal(kmeans.labels_, nearest(x, kmeans.centroids))
    exact = ((x.astype(np.float64) - kmeans.centroids[kmeans.labels_]) ** 2).sum()
    assert kmeans.inertia_ == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("method", ["train", "fit", "fit_predict"])
@pytest.mark.parametrize("most", [None, 80, 10**9, 2**63 - 1])
def test_no_subsample(x: np.ndarray, most: Any, method: str) -> None:
    kmeans = FastKMeans(7, 5, max_points_per_centroid=most)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(kmeans, method)(x)
    assert kmeans.n_used_ == 400


def test_iteration_stats(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5, niter=4, tol=-1).fit(x)
    stats = kmeans.iteration_stats
    assert kmeans.n_iter_ == 4 == len(stats)
    assert [s.iteration for s in stats] == [0, 1, 2, 3]
    assert stats[0].changed == 400
    assert stats[0].shift > 0
    assert stats[0].inertia > stats[-1].inertia > 0
    assert all(s.empty == 0 and s.seconds >= 0 for s in stats)


def test_iteration_stats_say_how(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for search, name in [("fp32", "fp32"), ("fp32_bounds", "fp32"), ("low_dim", "low_dim")]:
        monkeypatch.setenv("FASTKMEANS_FILTER", search)
        monkeypatch.setenv("FASTKMEANS_ISA", "baseline")
        stats = FastKMeans(7, 5, gpu=False, niter=4, tol=-1).fit(x).iteration_stats
        assert all(s._fields[-4:] == ("filter", "scored", "refined", "isa") for s in stats)
        assert all(s.filter == name and s.scored >= 0 and s.refined >= 0 for s in stats)
        assert stats[0].scored >= 400 * 5
    monkeypatch.setenv("FASTKMEANS_ISA", "scalar")
    stats = FastKMeans(7, 5, gpu=False, niter=4, tol=-1).fit(x).iteration_stats
    assert {(s.filter, s.scored) for s in stats} == {("none", 0)}


@pytest.mark.parametrize("isa", ["", "baseline"])
def test_an_unknown_filter(x: np.ndarray, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTKMEANS_ISA", isa)
    monkeypatch.setenv("FASTKMEANS_FILTER", "int4")
    with pytest.raises(RuntimeError, match=r"FASTKMEANS_FILTER.*int4.*fp32, low_dim, int8, narrow, fp32_bounds"):
        FastKMeans(7, 5, gpu=False).fit(x)
    monkeypatch.setenv("FASTKMEANS_FILTER", "int8")
    monkeypatch.setenv("FASTKMEANS_ISA", "baseline")
    with pytest.raises(RuntimeError, match=r"int8.*not available"):
        FastKMeans(7, 5, gpu=False).fit(x)


@pytest.mark.parametrize("tol", [0, 0.0, -1, -1e9])
def test_tol_not_above_zero_runs_all_iterations(x: np.ndarray, tol: float) -> None:
    assert FastKMeans(7, 5, niter=60, tol=tol).fit(x).n_iter_ == 60
    stopped = FastKMeans(7, 5, niter=60).fit(x)
    assert stopped.n_iter_ < 60
    assert stopped.converged_ is True


def test_a_large_tol_stops_after_one_iteration(x: np.ndarray) -> None:
    assert FastKMeans(7, 5, tol=float("inf")).fit(x).n_iter_ == 1


def test_nredo_keeps_the_lowest_inertia(x: np.ndarray) -> None:
    runs: dict[int, float] = {}
    kmeans = FastKMeans(7, 9, niter=3, nredo=6, callback=lambda s: runs.__setitem__(s.redo, s.inertia))
    kmeans.train(x)
    assert sorted(runs) == [0, 1, 2, 3, 4, 5]
    assert len(set(runs.values())) > 1
    assert kmeans.inertia_ == min(runs.values())
    assert {s.redo for s in kmeans.iteration_stats} == {min(runs, key=lambda redo: (runs[redo], redo))}


def test_seeds(x: np.ndarray) -> None:
    def centroids(seed: int) -> bytes:
        return FastKMeans(7, 20, niter=1, seed=seed).fit(x).centroids.tobytes()

    assert centroids(0) == centroids(0)
    assert len({centroids(seed) for seed in (0, 1, 2**32, 2**64 - 1)}) == 4


def test_init_array(x: np.ndarray) -> None:
    start = x[:5].astype(np.float64)
    from_start = FastKMeans(7, 5, niter=1, init=start, seed=1).fit(x)
    again = FastKMeans(7, 5, niter=1, init=start.tolist(), seed=2).fit(x)
    assert from_start.centroids.tobytes() == again.centroids.tobytes()
    first = ((x[:, None].astype(np.float64) - start[None]) ** 2).sum(axis=2).min(axis=1).sum()
    assert from_start.iteration_stats[0].inertia == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 7), (5, 6), (5,), (0, 7)])
def test_init_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^init "):
        FastKMeans(7, 5, init=np.zeros(shape))


def test_init_that_is_not_finite(x: np.ndarray) -> None:
    start = x[:5].copy()
    start[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"init.*\b1\b.*\b2\b"):
        FastKMeans(7, 5, init=start).fit(x)


def test_training_again_starts_over(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    kmeans.fit(x + 100)
    kmeans.fit(x)
    assert kmeans.centroids.tobytes() == FastKMeans(7, 5).fit(x).centroids.tobytes()
    kmeans.train(x)
    assert kmeans.labels_ is None


def test_the_data_is_never_modified(x: np.ndarray) -> None:
    before = x.tobytes()
    FastKMeans(7, 5).fit_predict(x)
    assert x.tobytes() == before


def test_global_random_state_is_neither_read_nor_written(x: np.ndarray) -> None:
    states, results = [], []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        before = (random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2])
        results.append(FastKMeans(7, 5).fit(x).centroids.tobytes())
        states.append((before, (random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2])))
    assert all(before == after for before, after in states)
    assert results[0] == results[1]


def test_torch_random_state_is_left_alone(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state()
    FastKMeans(7, 5).fit(x)
    assert torch.equal(before, torch.get_rng_state())


def test_centroids_that_somebody_assigned(x: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(7, 5)
    for centroids in (x[:5], x[:5].astype(np.float64), x[:5].tolist(), np.asfortranarray(x[:5])):
        kmeans.centroids = centroids
        np.testing.assert_array_equal(kmeans.predict(x), nearest(x, x[:5]))
    for wrong in (x[:5, :6], x[0], np.zeros((0, 7)), np.full((5, 7), np.nan)):
        kmeans.centroids = wrong
        with pytest.raises(ValueError, match="centroids"):
            kmeans.predict(x)


def test_ties_go_to_the_lowest_index() -> None:
    kmeans = FastKMeans(1, 3)
    kmeans.centroids = np.array([[1.0], [-1.0], [1.0]], np.float32)
    assert kmeans.predict(np.array([[0.0], [3.0], [-3.0]])).tolist() == [0, 0, 1]
