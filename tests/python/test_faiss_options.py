# SPDX-License-Identifier: Apache-2.0
"""What faiss's users know: frozen_centroids, int_centroids, init_centroids, min_points_per_centroid, obj, assign."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from fastkmeans import FastKMeans, FewPointsWarning


def rows(n: int = 200, d: int = 6) -> Any:
    return 20 * np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)


def trained(data: Any, k: int = 9, init_centroids: Any = None, **options: Any) -> FastKMeans:
    kmeans = FastKMeans(data.shape[1], k, **{"tol": 0, "gpu": False, "seed": 3, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # frozen clusters that end empty
        kmeans.train(data, init_centroids=init_centroids)
    return kmeans


@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("spherical", [False, True])
def test_equals_the_oracle(init: str, frozen: bool, integers: bool, spherical: bool) -> None:
    data = rows()
    for given in (data[:4] + np.float32(0.25), np.full((3, 6), 1000, np.float32), data[[5, 5]]):
        options = {"niter": 4, "nredo": 2, "init": init, "spherical": spherical}
        got = trained(data, 9, given, frozen_centroids=frozen, int_centroids=integers, **options)
        expected = oracle.fit(data, 9, tol=0, seed=3, given=given, frozen=frozen, integers=integers, **options)
        assert np.array_equal(got.centroids, expected.centroids)
        assert got.inertia_ == expected.train_inertia
        assert [s.relocated for s in got.iteration_stats] == [s.relocated for s in expected.stats]


def test_frozen_centroids_stay() -> None:
    data = rows()
    given = data[:4] + np.float32(0.25)
    centroids = trained(data, 9, given, frozen_centroids=True).centroids
    assert np.array_equal(centroids[:4], given)
    assert not np.array_equal(centroids, trained(data, 9, given).centroids)
    every = data[:9]
    kmeans = trained(data, 9, every, frozen_centroids=True)
    assert np.array_equal(kmeans.centroids, every)
    assert kmeans.converged_
    kmeans = FastKMeans(6, 9, init=every, frozen_centroids=True, gpu=False).fit(data)
    assert np.array_equal(kmeans.centroids, every)
    assert np.array_equal(kmeans.labels_, kmeans.predict(data))


def test_frozen_clusters_get_no_row() -> None:
    data = rows()
    given = np.full((2, 6), 1e6, np.float32)
    with pytest.warns(UserWarning, match="^2 of 9 clusters ended empty$"):
        FastKMeans(6, 9, frozen_centroids=True, gpu=False).train(data, init_centroids=given)
    assert np.isfinite(trained(data, 9, given).centroids).all()
    assert trained(data, 9, given).centroids.max() < 1e3  # thawed ones take rows


def test_int_centroids() -> None:
    kmeans = trained(rows(), int_centroids=True)
    assert np.array_equal(kmeans.centroids, np.rint(kmeans.centroids))
    data = np.array([[0.0], [1.0], [3.0], [10.5]])
    assert trained(data, 1, int_centroids=True).centroids.tolist() == [[4.0]]  # 3.625
    assert trained(data[:2], 1, int_centroids=True).centroids.tolist() == [[0.0]]  # half to even
    assert trained(data[1:2] + 0.5, 1, np.array([[2.5]]), int_centroids=True, frozen_centroids=True).centroids == 2


def test_too_few_points() -> None:
    data = rows(200)
    said = r"^training on 200 points for 9 centroids, fewer than min_points_per_centroid = 39 each$"
    with pytest.warns(FewPointsWarning, match=said):
        FastKMeans(6, 9, min_points_per_centroid=39, gpu=False).train(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FastKMeans(6, 5, min_points_per_centroid=40, gpu=False).train(data)
        FastKMeans(6, 9, gpu=False).train(data)


def test_the_log_counts_the_runs(caplog: pytest.LogCaptureFixture) -> None:
    data = rows()
    for given, said in ((data[:9], "Iteration 1/2"), (data[:8], "Run 2/3, iteration 1/2")):
        with caplog.at_level("INFO", logger="fastkmeans"):
            FastKMeans(6, 9, niter=2, nredo=3, verbose=True, gpu=False).train(data, init_centroids=given)
        assert said in caplog.text
        caplog.clear()


def test_obj() -> None:
    kmeans = FastKMeans(6, 9, gpu=False)
    assert kmeans.obj is None
    kmeans.train(rows())
    assert kmeans.obj.dtype == np.float64
    assert kmeans.obj.tolist() == [stats.inertia for stats in kmeans.iteration_stats]


def test_assign() -> None:
    data = rows()
    kmeans = trained(data)
    distances, labels = kmeans.assign(data)
    assert (distances.dtype, labels.dtype) == (np.float32, np.int64)
    assert np.array_equal(labels, kmeans.predict(data))
    expected = oracle.assign(data, kmeans.centroids)
    assert np.array_equal(labels, expected[0])
    assert np.array_equal(distances, expected[1])
    assert [len(found) for found in kmeans.assign(data[:0])] == [0, 0]
    with pytest.raises(RuntimeError, match=r"^Must call train\(\) or fit\(\)"):
        FastKMeans(6, 9, gpu=False).assign(data)


def test_assign_gives_tensors_for_tensors() -> None:
    torch = pytest.importorskip("torch")
    data = rows()
    kmeans = trained(data)
    distances, labels = kmeans.assign(torch.from_numpy(data))
    assert (distances.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert np.array_equal(distances.numpy(), kmeans.assign(data)[0])


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (np.zeros((10, 6)), ValueError, r"init_centroids must have at most k = 9 rows, given 10\."),
        (np.zeros((3, 5)), ValueError, r"init_centroids must have d = 6 columns, given 5"),
        (np.zeros((0, 6)), ValueError, r"init_centroids is empty"),
        (np.full((3, 6), np.nan), ValueError, r"init has NaN"),
        ("random", TypeError, r"init_centroids must be a matrix"),
    ],
)
def test_wrong_init_centroids(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match="^" + said):
        FastKMeans(6, 9, gpu=False).train(rows(), init_centroids=given)


@pytest.mark.parametrize("name", ["frozen_centroids", "int_centroids"])
def test_only_bools(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be True or False, given 1"):
        FastKMeans(6, 9, **{name: 1})


def test_wrong_min_points() -> None:
    with pytest.raises(ValueError, match=r"^min_points_per_centroid must be at least 1, given 0"):
        FastKMeans(6, 9, min_points_per_centroid=0)
