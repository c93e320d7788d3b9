# SPDX-License-Identifier: Apache-2.0
"""`fastkmeans.KMeans` is an estimator of scikit-learn, and finds what scikit-learn's KMeans finds."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import datasets
import fastkmeans
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.cluster
from fastkmeans import FastKMeans, KMeans
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

MANY = 5000  # rows; more than are merged and sorted before a fit


def blobs(n: int = 600, d: int = 4, k: int = 5, dtype: Any = np.float64) -> np.ndarray:
    return make_blobs(n, d, centers=k, cluster_std=2.0, random_state=0)[0].astype(dtype)


@parametrize_with_checks([KMeans(), KMeans(n_clusters=3, init="random", n_init=2, algorithm="elkan")])
def test_scikit_learns_checks(estimator: KMeans, check: Callable[[KMeans], None]) -> None:
    check(estimator)


def test_no_check_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    done = check_estimator(KMeans(), on_skip=None, on_fail=None)
    assert {one["status"] for one in done} == {"passed"}
    assert len(done) > 50


def lloyd(x: np.ndarray, centers: np.ndarray) -> float | None:
    """The inertia that a plain loop in float64 comes to; None if a cluster loses all rows on the way."""
    labels = np.full(len(x), -1)
    while True:
        squared = (x**2).sum(1)[:, None] - 2 * x @ centers.T + (centers**2).sum(1)
        before, labels = labels, squared.argmin(1)
        if (labels == before).all():
            return float(squared.min(1).sum())
        counts = np.bincount(labels, minlength=len(centers))
        if not counts.all():
            return None
        centers = np.stack([np.bincount(labels, column) for column in x.T], axis=1) / counts[:, None]


@pytest.mark.parametrize(
    ("x", "k"),
    [
        pytest.param(load_digits().data, 10, id="digits"),
        pytest.param(load_iris().data, 3, id="iris"),
        pytest.param(make_blobs(1000, 8, centers=12, cluster_std=3.0, random_state=0)[0], 12, id="blobs"),
    ],
)
def test_inertia_is_scikit_learns(x: np.ndarray, k: int) -> None:
    # Runs whose rows lie equally near to two centers go apart, by rounding: those of a plain loop as well.
    found = []
    for seed in range(100):
        start = x[np.random.RandomState(seed).choice(len(x), k, replace=False)]
        plain = lloyd(x, start)
        options: dict[str, Any] = {"n_clusters": k, "init": start, "tol": 0, "max_iter": 1000}
        theirs = sklearn.cluster.KMeans(**options).fit(x).inertia_
        found.append((theirs, KMeans(**options).fit(x).inertia_, plain))
    means = np.mean([run[:2] for run in found], axis=0)
    assert means[1] == pytest.approx(means[0], rel=1e-3)
    theirs, ours, plain = np.array([run for run in found if run[2] is not None]).T
    assert len(ours) > 80  # in the others a cluster lost all rows, for which libraries have rules of their own
    assert (abs(ours / theirs - 1) > 1e-6).sum() <= (abs(plain / theirs - 1) > 1e-6).sum()


def test_parameters_are_scikit_learns_and_ours() -> None:
    ours, theirs = KMeans().get_params(), sklearn.cluster.KMeans().get_params()
    assert ours == {**theirs, "device": None, "n_threads": None, "memory_limit": None}
    with pytest.raises(TypeError):
        KMeans(8, "random")  # keyword-only, as there


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_clusters": 0}, ValueError, "n_clusters must be at least 1, given 0"),
        ({"n_clusters": 2.0}, TypeError, r"n_clusters must be an integer, given 2.0 \(float\)"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1, given 0"),
        ({"n_init": "often"}, TypeError, "n_init must be an integer, given 'often'"),
        ({"tol": -1e-9}, ValueError, "tol must be at least 0, given -1e-09"),
        ({"tol": float("nan")}, ValueError, "tol must be a number, given nan"),
        ({"init": "best"}, ValueError, "init must be 'random.*'afk-mc2', an array.*given 'best'"),
        ({"algorithm": "full"}, ValueError, "algorithm must be 'lloyd' or 'elkan', given 'full'"),
        ({"random_state": "x"}, ValueError, "x"),
        ({"device": "tpu"}, ValueError, "device must be"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ({"memory_limit": 0.0}, ValueError, "memory_limit must be"),
        ({"init": np.zeros((2, 4))}, ValueError, "initial centers .* does not match the number of clusters 8"),
        ({"init": np.full((8, 4), np.nan)}, ValueError, "init"),
    ],
)
def test_bad_parameters_are_named_in_fit(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        KMeans(**parameters).fit(blobs())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"sample_weight must have shape \(600,\)"),
        (np.full((600, 1), 1.0), r"sample_weight must have shape \(600,\)"),
        (np.r_[np.ones(599), -1], r"sample_weight\[599\] is -1"),
        (np.r_[np.nan, np.ones(599)], r"sample_weight\[0\] is nan"),
        (np.zeros(600), "sample_weight is zero for all rows"),
    ],
)
def test_bad_weights_are_named(weights: Any, message: str) -> None:
    for call in (KMeans(2).fit, KMeans(2).fit(blobs()).score):
        with pytest.raises(ValueError, match=message):
            call(blobs(), sample_weight=weights)


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_rows_are_refused_with_advice(container: Any) -> None:
    km = KMeans(2).fit(blobs())
    for call in (KMeans(2).fit, km.predict, km.transform, km.score):
        with pytest.raises(TypeError, match="toarray"):
            call(container(blobs()))
    assert not km.__sklearn_tags__().input_tags.sparse


@pytest.mark.parametrize("n", [600, MANY])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predict_repeats_the_labels_and_score_the_inertia(n: int, dtype: Any) -> None:
    x = blobs(n, dtype=dtype)
    before = x.copy()
    km = KMeans(5, random_state=0, copy_x=False).fit(x)
    assert km.cluster_centers_.dtype == dtype
    assert km.labels_.dtype == np.int32
    assert (km.predict(x) == km.labels_).all()
    assert (KMeans(5, random_state=0).fit_predict(x) == km.labels_).all()
    assert km.score(x) == -km.inertia_
    squared = euclidean_distances(x.astype("f8"), km.cluster_centers_.astype("f8"), squared=True)
    assert (squared.argmin(1) == km.labels_).all()
    assert km.inertia_ == pytest.approx(squared.min(1).sum(), rel=1e-6)
    assert (x == before).all()


def test_an_offset_costs_no_digits() -> None:
    x = np.round(blobs(MANY) * 2**10) / 2**10  # so that an offset is added exactly
    near = KMeans(5, random_state=0).fit(x)
    for offset in (1e6, np.array([1e6, -3e9, 0, 7e5])):
        far = KMeans(5, random_state=0).fit(x + offset)
        assert (far.labels_ == near.labels_).all()
        assert far.inertia_ == near.inertia_
        assert (far.predict(x + offset) == near.labels_).all()
        np.testing.assert_allclose(far.cluster_centers_ - offset, near.cluster_centers_, atol=1e-5)
        np.testing.assert_allclose(far.transform(x + offset), near.transform(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [600, MANY])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", datasets.LAYOUTS)
def test_layouts_and_threads_do_not_change_a_bit(n: int, dtype: Any, layout: str) -> None:
    x = blobs(n, dtype=dtype)
    a = KMeans(5, random_state=0, n_threads=1).fit(x)
    b = KMeans(5, random_state=0, n_threads=3).fit(datasets.lay(x, layout))
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
    assert a.inertia_ == b.inertia_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integer_weights_are_repeated_rows(dtype: Any) -> None:
    x = blobs(MANY, dtype=dtype)
    weights = np.random.RandomState(0).randint(0, 4, len(x))
    km = KMeans(5, init=x[weights > 0][:5])
    weighted, repeated = clone(km).fit(x, sample_weight=weights), clone(km).fit(np.repeat(x, weights, axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-5)
    assert (np.repeat(weighted.labels_, weights) == repeated.labels_).all()
    assert weighted.score(x, sample_weight=weights) == pytest.approx(-weighted.inertia_, rel=1e-12)
    if dtype == np.float32:  # rows as given
        assert weighted.cluster_centers_.tobytes() == repeated.cluster_centers_.tobytes()
        assert weighted.inertia_ == repeated.inertia_


def test_rows_of_weight_0_do_not_change_when_a_run_stops() -> None:
    x = blobs(MANY, k=9, dtype=np.float32)
    km = KMeans(9, init=x[:9])
    alone = clone(km).fit(x)
    with_others = clone(km).fit(np.r_[x, 100 * x], sample_weight=np.repeat([1, 0], MANY))
    assert with_others.n_iter_ == alone.n_iter_
    assert with_others.cluster_centers_.tobytes() == alone.cluster_centers_.tobytes()


@pytest.mark.parametrize("better", ["k-means++", "k-means||", "afk-mc2"])
def test_far_rows_start_better(better: str) -> None:
    x = make_blobs(MANY, 2, centers=20, cluster_std=0.1, random_state=0)[0]
    inertia = {
        init: np.median([KMeans(20, init=init, n_init=1, max_iter=1, random_state=i).fit(x).inertia_ for i in range(9)])
        for init in (better, "random")
    }
    assert inertia[better] < inertia["random"] / 2


def test_the_centre_is_the_median_of_few_rows() -> None:
    x = blobs(MANY)
    km = KMeans(5, init=x[:5], tol=0).fit(x)
    centre = np.median(x[::5], axis=0)  # 1,000 of 5,000
    same = FastKMeans(4, 5, init=x[:5] - centre, niter=300, max_points_per_centroid=None)
    assert (centre + same.fit((x - centre).astype(np.float32)).centroids).tobytes() == km.cluster_centers_.tobytes()


def test_distances_to_near_centers_keep_their_digits() -> None:
    x = blobs(60)
    km = KMeans(5, random_state=0).fit(x)
    for size in (1e-3, 1e-6, 1e-9):
        rows = km.cluster_centers_ + size
        expected = np.sqrt(((rows - km.cluster_centers_) ** 2).sum(1))
        np.testing.assert_allclose(km.transform(rows).diagonal(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("init", ["k-means++", "random", "k-means||", "afk-mc2"])
@pytest.mark.parametrize("n", [7, 300])
def test_order_and_repeats_of_few_rows_do_not_matter(init: str, n: int) -> None:
    x = blobs(n)
    rng = np.random.RandomState(0)
    weights = rng.permutation(np.r_[0, 0, 1, 1, 1, 2, 3, rng.randint(0, 4, n - 7)])  # of 7 rows 5 are left, and k is 5
    repeated, order = np.repeat(x, weights, axis=0), rng.permutation(len(x))
    one = KMeans(5, init=init, random_state=0).fit(x, sample_weight=weights)
    two = KMeans(5, init=init, random_state=0).fit(x[order], sample_weight=weights[order])
    three = KMeans(5, init=init, random_state=0).fit(repeated[rng.permutation(len(repeated))])
    for other in (two, three):
        assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        assert one.inertia_ == other.inertia_


def test_centers_may_be_assigned() -> None:
    x = blobs()
    km = KMeans(5, random_state=0).fit(x + 1e6)
    centers = km.cluster_centers_[[3, 1]] - 1e6
    km.cluster_centers_ = centers.copy()
    expected = euclidean_distances(x, centers)
    assert (km.predict(x) == expected.argmin(1)).all()
    np.testing.assert_allclose(km.transform(x), expected, rtol=1e-6)
    assert km.score(x) == pytest.approx(-(expected.min(1) ** 2).sum(), rel=1e-6)
    km.cluster_centers_[0] += 1e3  # in place
    assert (km.predict(x) == 1).all()
    new = KMeans(2)
    new.cluster_centers_ = centers
    assert (new.predict(x) == expected.argmin(1)).all()


def test_n_init() -> None:
    x, calls = blobs(), []

    def init(rows: np.ndarray, k: int, random_state: np.random.RandomState) -> np.ndarray:
        assert (rows == x).all()
        calls.append(rows[random_state.permutation(len(rows))[:k]])
        return calls[-1]

    km = KMeans(5, init=init, random_state=0).fit(x)
    assert len(calls) == 10
    runs = [KMeans(5, init=start).fit(x).inertia_ for start in calls]
    assert km.inertia_ == min(runs) < max(runs)
    KMeans(5, init=init, n_init=3).fit(x)
    assert len(calls) == 13
    with pytest.warns(RuntimeWarning, match="only one init in KMeans instead of n_init=4") as found:
        KMeans(5, init=calls[0], n_init=4, verbose=1).fit(x)
    assert [warning.filename for warning in found] == [__file__]
    once = KMeans(5, init="random", n_init=1, max_iter=1, random_state=0).fit(x).inertia_
    assert KMeans(5, init="random", n_init=10, max_iter=1, random_state=0).fit(x).inertia_ < once


def test_given_centers_are_kept_as_they_are() -> None:
    start = blobs()[:5]
    km = KMeans(5, init=start)
    assert km.init is start
    before = start.copy()
    km.fit(blobs())
    assert (start == before).all()
    assert clone(km).get_params()["init"] is not None


def test_random_state() -> None:
    x = blobs(MANY, k=30)

    def fit(state: Any) -> bytes:
        return KMeans(30, init="random", n_init=1, random_state=state, max_iter=2).fit(x).cluster_centers_.tobytes()

    assert fit(3) == fit(3) == fit(np.random.RandomState(3)) != fit(4)
    shared = np.random.RandomState(3)
    assert fit(shared) != fit(shared)
    np.random.seed(5)  # noqa: NPY002
    first = fit(None)
    np.random.seed(5)  # noqa: NPY002
    assert fit(None) == first != fit(None)


def test_stops_no_earlier_than_scikit_learn() -> None:
    x = blobs(MANY, k=9)
    for tol in (0, 1e-8, 1e-4, 1e-2, 1.0):
        options: dict[str, Any] = {"n_clusters": 9, "init": x[:9], "tol": tol}
        ours, theirs = KMeans(**options).fit(x), sklearn.cluster.KMeans(**options).fit(x)
        assert ours.n_iter_ >= theirs.n_iter_
        assert ours.inertia_ <= theirs.inertia_ * (1 + 1e-6)
    assert ours.n_iter_ < 10  # so that tol does something
    exact = KMeans(9, init=x[:9], tol=0).fit(x)
    assert exact.n_iter_ < 300
    assert KMeans(9, init=exact.cluster_centers_, tol=0).fit(x).n_iter_ <= 2


@pytest.mark.parametrize("n", [6, MANY])
def test_fewer_distinct_rows_than_clusters(n: int) -> None:
    x = np.array([[0.0, 0], [0, 1], [1, 1]])[np.arange(n) % 3]
    with pytest.warns(
        ConvergenceWarning, match=r"distinct clusters \(3\) found smaller than n_clusters \(4\)"
    ) as found:
        km = KMeans(4, random_state=0).fit(x)
    assert [warning.filename for warning in found] == [__file__]
    assert km.inertia_ == 0
    assert km.cluster_centers_.shape == (4, 2)


def test_in_pipelines_searches_and_other_processes() -> None:
    x = blobs()
    pipeline = make_pipeline(StandardScaler(), KMeans(5, random_state=0)).set_output(transform="pandas")
    frame = pipeline.fit_transform(pd.DataFrame(x, columns=list("abcd")))
    assert list(frame.columns) == ["kmeans0", "kmeans1", "kmeans2", "kmeans3", "kmeans4"]
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 5]}, cv=3).fit(x)
    assert search.best_params_ == {"n_clusters": 5}
    km = KMeans(5, random_state=0).fit(x)
    again = pickle.loads(pickle.dumps(km))
    assert (again.predict(x) == km.labels_).all()
    fits = joblib.Parallel(n_jobs=2)(joblib.delayed(clone(km).fit)(x) for _ in range(2))
    assert [fit.inertia_ for fit in fits] == [km.inertia_] * 2


def test_feature_names() -> None:
    frame = pd.DataFrame(blobs(), columns=list("abcd"))
    km = KMeans(3, random_state=0).fit(frame)
    assert list(km.feature_names_in_) == list("abcd")
    assert km.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        km.predict(frame[list("dcba")])
    with pytest.raises(ValueError, match="3 features"):
        km.predict(blobs()[:, :3])


def test_unfitted() -> None:
    for call in (KMeans().predict, KMeans().transform, KMeans().score):
        with pytest.raises(NotFittedError, match="This KMeans instance is not fitted yet"):
            call(blobs())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32"])
@pytest.mark.parametrize("n", [600, MANY])
def test_tensors_give_tensors(dtype: str, n: int) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(blobs(n)).to(getattr(torch, dtype))
    km = KMeans(5, random_state=0)
    for labels in (km.fit_predict(x), km.predict(x)):
        assert isinstance(labels, torch.Tensor)
        assert (labels.numpy() == km.labels_).all()
    numpy = x.to(torch.float64 if dtype == "float64" else torch.float32).numpy()
    same = KMeans(5, random_state=0).fit(numpy)
    assert isinstance(km.cluster_centers_, np.ndarray)
    assert km.cluster_centers_.tobytes() == same.cluster_centers_.tobytes()
    assert km.n_features_in_ == 4
    far = km.transform(x)
    assert isinstance(far, torch.Tensor)
    np.testing.assert_allclose(far.numpy(), same.transform(numpy), rtol=1e-6)
    assert km.score(x) == -km.inertia_
    with pytest.raises(ValueError, match="columns"):
        km.predict(x[:, :3])
    with pytest.raises(ValueError, match="matrix of shape"):
        km.fit(x[0])
    named = KMeans(5).fit(pd.DataFrame(blobs(), columns=list("abcd"))).fit(x)
    assert not hasattr(named, "feature_names_in_")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [600, MANY])
@pytest.mark.parametrize("library", ["torch", "cupy"])
@datasets.on_gpu[0]
@datasets.on_gpu[1]
def test_rows_on_a_gpu(library: str, n: int, dtype: str) -> None:
    xp = pytest.importorskip(library)
    x = blobs(n, dtype=dtype) + 1e3
    there = xp.asarray(x, device="cuda") if library == "torch" else xp.asarray(x)
    host = KMeans(5, random_state=0, device="cpu").fit(x)
    km = KMeans(5, random_state=0)
    for labels in (km.fit_predict(there), km.predict(there)):
        assert labels.device == there.device
        assert labels.tolist() == host.labels_.tolist()
    assert km.cluster_centers_.tobytes() == host.cluster_centers_.tobytes()
    assert km.inertia_ == host.inertia_ == -km.score(there)
    assert km.transform(there).tolist() == host.transform(x).tolist()


@pytest.mark.parametrize("n", [600, MANY])
def test_arrays_of_cupy_give_arrays_of_cupy(cupy: Any, n: int) -> None:
    x = blobs(n, dtype=np.float32)
    km = KMeans(5, random_state=0, device="cpu")
    labels = km.fit_predict(cupy.array(x))
    assert isinstance(labels, cupy.ndarray)
    assert (labels.get() == KMeans(5, random_state=0).fit(x).labels_).all()
    assert (km.predict(cupy.array(x)).get() == km.labels_).all()


def test_verbose_says_what_fastkmeans_says(capsys: pytest.CaptureFixture[str]) -> None:
    km = KMeans(5, random_state=0, verbose=1).fit(blobs())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == km.n_iter_
    assert lines[0].startswith("Iteration 1/300: inertia")


def test_scikit_learn_is_imported_with_the_class_alone() -> None:
    code = """
import sys, fastkmeans
assert "sklearn" not in sys.modules and "KMeans" in dir(fastkmeans)
from fastkmeans import KMeans
assert "sklearn" in sys.modules and KMeans.__module__ == "fastkmeans"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'kmeans_plus'"):
        _ = fastkmeans.kmeans_plus


WITHOUT = """
import sys, warnings
sys.modules["sklearn"] = None
import numpy as np
from fastkmeans import KMeans, EmptyClusterWarning, NotFittedError
x = np.random.RandomState(0).normal(size=(SIZE, 4)) + 1e6
km = KMeans(5, random_state=0)
assert repr(km.set_params(n_init=2)) == "KMeans(n_clusters=5, n_init=2, random_state=0)", km
try:
    km.predict(x)
    raise SystemExit("predict before fit")
except NotFittedError:
    pass
assert km.fit(x) is km and km.get_params()["n_init"] == 2
assert (km.predict(x) == km.labels_).all() and km.score(x) == -km.inertia_
assert (km.transform(x).argmin(1) == km.labels_).all() and km.n_features_in_ == 4
assert (KMeans(**km.get_params()).fit(x.tolist(), sample_weight=1).labels_ == km.labels_).all()
assert list(km.get_feature_names_out()) == [f"kmeans{i}" for i in range(5)]
assert KMeans(2).fit(np.arange(10).reshape(5, 2)).cluster_centers_.dtype == np.float64
for bad, error in ((x[0], ValueError), (x[:, :3], ValueError), (x * np.nan, ValueError), ("x", TypeError)):
    try:
        km.predict(bad)
        raise SystemExit(f"predicted {bad}")
    except error as found:
        assert "X " in str(found), found
try:
    km.set_params(k=3)
    raise SystemExit("k=3")
except ValueError as found:
    assert "KMeans has no parameter 'k'" in str(found)
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    KMeans(3, random_state=0).fit(np.ones((9, 1)))
assert [one.category for one in found] == [EmptyClusterWarning]
print(km.inertia_.hex())
"""


@pytest.mark.parametrize("n", [600, MANY])
def test_without_scikit_learn(n: int) -> None:
    command = [sys.executable, "-c", WITHOUT.replace("SIZE", str(n))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    x = np.random.RandomState(0).normal(size=(n, 4)) + 1e6
    assert done.stdout.strip() == KMeans(5, random_state=0, n_init=2).fit(x).inertia_.hex()


def test_is_what_fast_kmeans_finds() -> None:
    x = blobs(MANY, dtype=np.float32)
    km = KMeans(5, init=x[:5], tol=0).fit(x)
    same = FastKMeans(4, 5, init=x[:5], niter=300, max_points_per_centroid=None).fit(x)
    assert km.cluster_centers_.tobytes() == same.centroids.tobytes()
    assert (km.labels_ == same.labels_).all()
    assert km.inertia_ == same.inertia_


def test_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KMeans(5, random_state=0).fit(blobs() + 1e9)
