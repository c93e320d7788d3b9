# SPDX-License-Identifier: Apache-2.0
"""`faiss_compat.Kmeans`: code written for faiss.Kmeans runs after a change of import."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans, FewPointsWarning, faiss_compat
from fastkmeans.faiss_compat import Kmeans


def rows(n: int = 400, d: int = 6) -> Any:
    return 20 * np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)


def trained(k: int = 9, **options: Any) -> Kmeans:
    kmeans = Kmeans(6, k, **options)
    kmeans.train(rows())
    return kmeans


def test_train_is_that_of_fastkmeans_with_faiss_defaults() -> None:
    kmeans = Kmeans(6, 9)
    assert (kmeans.centroids, kmeans.obj, kmeans.iteration_stats) == (None, None, None)
    returned = kmeans.train(rows())
    expected = FastKMeans(6, 9, niter=25, tol=0, seed=1234, gpu=False)
    expected.train(rows())
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert kmeans.obj.tolist() == expected.obj.tolist()
    assert len(kmeans.obj) == len(kmeans.iteration_stats) == 25
    assert returned == kmeans.obj[-1]
    assert set(kmeans.iteration_stats[0]) == {"obj", "time", "time_search", "imbalance_factor", "nsplit"}
    times = [stats["time"] for stats in kmeans.iteration_stats]
    assert times == sorted(times)


def test_weights_and_init_centroids() -> None:
    data = rows()
    weights = np.random.default_rng(1).random(400).astype(np.float32)
    kmeans = Kmeans(6, 9, niter=3, frozen_centroids=True, int_centroids=True, nredo=2, seed=5)
    kmeans.train(data, weights=weights, init_centroids=np.rint(data[:4]))
    expected = FastKMeans(6, 9, niter=3, tol=0, seed=5, nredo=2, frozen_centroids=True, int_centroids=True, gpu=False)
    expected.train(data, weights, np.rint(data[:4]))
    assert np.array_equal(kmeans.centroids, expected.centroids)
    assert np.array_equal(kmeans.centroids[:4], np.rint(data[:4]))


def test_search_finds_the_nearest_in_order() -> None:
    kmeans = trained()
    data = rows()
    exact = oracle.distances(data, kmeans.centroids)
    order = exact.argsort(axis=1, kind="stable")
    for m in (1, 2, 9):
        distances, labels = kmeans.index.search(data, m)
        assert (distances.dtype, labels.dtype) == (np.float32, np.int64)
        assert np.array_equal(labels, order[:, :m])
        assert np.array_equal(distances, np.take_along_axis(exact, order[:, :m], axis=1))
    distances, labels = kmeans.index.search(data[:3], 11)
    assert np.array_equal(labels[:, :9], order[:3])
    assert (labels[:, 9:] == -1).all()
    assert (distances[:, 9:] == np.finfo(np.float32).max).all()
    assert (kmeans.index.ntotal, kmeans.index.d) == (9, 6)
    assert [found.shape for found in kmeans.index.search(data[:0], 3)] == [(0, 3), (0, 3)]


def test_search_in_steps_and_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = Kmeans(1, 3, min_points_per_centroid=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kmeans.train(np.array([[1.0], [1.0], [3.0]]), init_centroids=np.array([[3.0], [1.0], [1.0]]))
    monkeypatch.setattr(faiss_compat, "_DISTANCES_AT_A_TIME", 4)
    distances, labels = kmeans.index.search([[1.0], [2.0], [3.0]], 3)
    assert labels.tolist() == [[1, 2, 0], [0, 1, 2], [0, 1, 2]]
    assert distances.tolist() == [[0, 0, 4], [1, 1, 1], [0, 4, 4]]


def test_assign() -> None:
    kmeans = trained()
    distances, labels = kmeans.assign(rows())
    assert distances.shape == labels.shape == (400,)
    assert np.array_equal(labels, kmeans.index.search(rows(), 1)[1][:, 0])


def test_spherical_searches_by_inner_product() -> None:
    kmeans = trained(spherical=True)
    products = rows().astype(np.float64) @ kmeans.centroids.T
    for m in (1, 4):
        found, labels = kmeans.index.search(rows(), m)
        assert np.array_equal(labels, (-products).argsort(axis=1)[:, :m])
        assert np.allclose(found, np.take_along_axis(products, labels, axis=1), rtol=1e-6)
    assert (kmeans.index.search(rows(), 10)[0][:, 9] == -np.finfo(np.float32).max).all()


def test_reset() -> None:
    kmeans = trained()
    kmeans.reset(4)
    assert (kmeans.k, kmeans.centroids, kmeans.obj) == (4, None, None)
    with pytest.raises(RuntimeError, match=r"^Must call train\(\) before searching\.$"):
        kmeans.assign(rows())
    kmeans.train(rows())
    assert kmeans.centroids.shape == (4, 6)


def test_few_points_are_a_warning() -> None:
    with pytest.warns(FewPointsWarning, match="fewer than min_points_per_centroid = 39 each"):
        Kmeans(6, 9).train(rows(300))


def test_more_gpus_than_one_are_logged(caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger="fastkmeans"):
        Kmeans(6, 9, gpu=False)
        Kmeans(6, 9, gpu=1)
        assert not caplog.records
        Kmeans(6, 9, gpu=3)
    assert "gpu=3: one GPU is used" in caplog.text


def test_options() -> None:
    Kmeans(6, 9, update_index=True, decode_block_size=7, check_input_data_for_NaNs=False)
    with pytest.raises(TypeError, match=r"^Kmeans has no option 'progressive_dim_steps'; "):
        Kmeans(6, 9, progressive_dim_steps=3)
    with pytest.raises(ValueError, match=r"^niter must be at least 1, given 0"):
        Kmeans(6, 9, niter=0)
    with pytest.raises(ValueError, match=r"^k must be at least 1, given 0"):
        trained().index.search(rows(), 0)
