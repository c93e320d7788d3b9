# SPDX-License-Identifier: Apache-2.0
"""`KMeans`: the exact core as an estimator of scikit-learn, which is imported with this file if it is installed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _centring, _core, _input
from ._checks import init_method, integer, real
from ._core_call import Core
from ._distances import distances
from ._report import issue, iteration_report, not_fitted
from ._sklearn import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    ConvergenceWarning,
    TransformerMixin,
    check_random_state,
    validate_data,
)

# Up to this many rows are sorted before a fit, which takes milliseconds.
_FEW = 4096


Weights = npt.NDArray[np.float64]  # (n,)


class _Fitted(NamedTuple):
    """How a fit saw float64 data: cluster_centers_ = centre + centroids."""

    centre: _centring.Centre  # (d,)
    centroids: npt.NDArray[np.float32]  # (k, d)


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Exact k-means with scikit-learn's interface.

    Parameters, methods and attributes are those of `sklearn.cluster.KMeans`, and so is what they mean; what differs is
    said here. scikit-learn (1.6 or newer) is optional: without it only what is its own is missing (`set_output`, tags,
    metadata routing).

    Parameters
    ----------
    n_clusters : at least 1.
    init : "k-means++", "random" (distinct rows), for large n_clusters "k-means||" or "afk-mc2", as in `FastKMeans`, the
        initial centers (n_clusters, d), which are copied in `fit`, or a callable `init(X, n_clusters, random_state=)`
        that returns them; X is as given, a numpy array or a tensor.
    n_init : runs from different initial centers, of which the one of lowest inertia is kept; "auto": 10 for "random"
        and a callable, else 1.
    max_iter : most iterations of a run.
    tol : scikit-learn stops when the sum of squared distances that centers moved is at most tol times the mean variance
        of the columns. Here it is the square of the sum of these distances, which is never less: a run stops no earlier
        than scikit-learn's. It also stops when no label changes, as with tol=0.
    verbose : whether to write a line per iteration, on the logger "fastkmeans" or to stdout.
    random_state : None (numpy's global random state), an integer, or a numpy.random.RandomState.
    copy_x : has no effect: X is never modified.
    algorithm : "lloyd" or "elkan"; the result is the same, exact k-means.
    device, n_threads, memory_limit : as in `FastKMeans`.

    X is dense: sparse input is a TypeError. All rows are used. float32 is read in place, in any layout. float64, and
    what becomes float64 (integers and others), is taken less a centre in float64 before it is rounded to float32, so
    that an offset costs no digits. Values of 2**56 and more, after that, raise ValueError.

    Up to 4,096 rows are sorted, and equal ones taken together, before a fit: the result depends neither on their order,
    nor on whether a row is given twice or has weight 2.

    torch tensors and cupy arrays are read as `FastKMeans` reads them, on a CUDA device in place; `predict`,
    `fit_predict`, `transform` and `fit_transform` return the same kind of array on the same device (distances of
    `transform` are computed on the host). Attributes are numpy arrays always.

    Attributes
    ----------
    cluster_centers_ : (n_clusters, d), float64 if X was, or became, float64, else float32. Others may be assigned.
    labels_ : (n,), int32; what `predict` returns for the same rows.
    inertia_ : sum of the squared distances of rows to their centers, each times its weight.
    n_iter_ : iterations of the run that was kept.
    n_features_in_, feature_names_in_ : columns of X, and their names where X has names for all, as strings.

    Fewer clusters than n_clusters that have rows at the end are a ConvergenceWarning of scikit-learn (without it an
    EmptyClusterWarning). Clusters that lose all rows are given one as in `FastKMeans`, by another rule than
    scikit-learn's.
    """

    cluster_centers_: npt.NDArray[Any]
    labels_: npt.NDArray[np.int32]
    inertia_: float
    n_iter_: int
    n_features_in_: int
    _fitted: _Fitted | None = None

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        device: Any = None,
        n_threads: int | None = None,
        memory_limit: int | float | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.device = device
        self.n_threads = n_threads
        self.memory_limit = memory_limit

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Find the centers of X (n, d), n >= n_clusters. y is ignored. Returns self.

        sample_weight : (n,), how often each row counts, finite and >= 0, not all 0; None: once.

        Raises ValueError for parameters, shapes, NaN and infinity, TypeError for sparse input and for dtypes that are
        no real numbers.
        """
        self._fit(self._matrix(X, reset=True), sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """`fit`, and its labels: int32 (n,), the kind of array that X is."""
        home = self._fit(self._matrix(X, reset=True), sample_weight)
        return _input.give_back(self.labels_.copy(), home)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """`fit`, then `transform`."""
        X = self._matrix(X, reset=True)
        self._fit(X, sample_weight)
        return self._distances(X)

    def predict(self, X: Any) -> Any:
        """The nearest center of each row of X (n, d), ties to the lowest index: int32 (n,), the kind of array X is."""
        found, home = self._nearest(self._checked(X))
        return _input.give_back(found["labels"].astype(np.int32), home)

    def transform(self, X: Any) -> Any:
        """The Euclidean distances of rows of X (n, d) to the centers: (n, n_clusters), in the dtype of the centers."""
        return self._distances(self._checked(X))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of X (n, d) for the present centers; sample_weight as in `fit`. y is ignored."""
        X = self._checked(X)
        weights = _weights(sample_weight, X.shape[0])
        found, _ = self._nearest(X, distances=True)
        nearest = found["distances"]
        assert nearest is not None
        return -math.fsum(nearest if weights is None else weights * nearest)

    def __sklearn_tags__(self) -> Any:
        tags: Any = super().__sklearn_tags__()  # type: ignore[misc]  # asked for by scikit-learn alone
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _matrix(self, X: Any, reset: bool) -> Any:
        """X as a matrix: float32 or float64 numpy, or a tensor as it is; `reset` notes its columns and their names."""
        X = _centring.as_tensor(X)
        if not _centring.is_tensor(X):
            return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])
        if len(X.shape) != 2:
            raise ValueError(f"X must be a matrix of shape (n, d), given shape {tuple(X.shape)}.")
        if reset:
            self.n_features_in_ = X.shape[1]
            vars(self).pop("feature_names_in_", None)
        return X

    def _checked(self, X: Any) -> Any:
        """The matrix X, if there are centers."""
        if not hasattr(self, "cluster_centers_"):
            raise not_fitted(f"This {type(self).__name__} instance is not fitted yet: call fit before this.")
        return self._matrix(X, reset=False)

    def _fit(self, X: Any, sample_weight: Any) -> Any:
        """Fit to a matrix, and say where labels for it belong (_input.Rows.home)."""
        n, d = X.shape
        self._check_parameters()
        weights = _weights(sample_weight, n)
        core = self._core_for(d)
        given = core.read(X)
        data, counts = _distinct(X, weights, self.n_clusters)
        if data.shape[0] < self.n_clusters:
            raise ValueError(f"n_samples={n} should be >= n_clusters={self.n_clusters}.")
        centre = _centring.centre_of(data) if given.dtype == "float64" else None
        seen = _centring.less(data, centre)
        rows = given if seen is X else core.read(seen)
        best = self._best_run(core, rows, counts, X, centre)
        labels = best["labels"]
        if labels is None or data is not X:
            labels = core.predict(core.read(_centring.less(X, centre)), best["centroids"])["labels"]
        self._hold(best, labels, centre)
        return given.home

    def _best_run(
        self, core: Core, rows: _input.Rows, weights: Weights | None, X: Any, centre: _centring.Centre | None
    ) -> _core._FitResult:
        """The run of lowest inertia, for rows that are seen from a centre; X is for callables."""
        random = check_random_state(self.random_state)
        n_init = self._runs()
        tol = self._core_tol(core, rows, weights)
        runs = n_init if isinstance(self.init, str) else 1
        return min(
            (
                core.fit(
                    rows,
                    k=self.n_clusters,
                    niter=self.max_iter,
                    tol=tol,
                    seed=int(random.randint(2**32, dtype=np.uint64)) if isinstance(start, str) else 0,
                    nredo=n_init if isinstance(start, str) else 1,
                    init=start if isinstance(start, str) else _centring.less(start, centre),
                    weights=weights,
                    callback=iteration_report(self.max_iter, runs, self.verbose),
                )
                for start in self._starts(X, n_init, random)
            ),
            key=lambda found: found["inertia"],
        )

    def _hold(self, found: _core._FitResult, labels: npt.NDArray[np.int64], centre: _centring.Centre | None) -> None:
        """Keep what a fit found, in one step: Ctrl-C leaves no mixture of two fits."""
        centroids = found["centroids"]
        distinct = np.count_nonzero(np.bincount(labels, minlength=len(centroids)))
        if distinct < len(centroids):
            issue(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({len(centroids)}). "
                "Possibly due to duplicate points in X.",
                ConvergenceWarning,
            )
        vars(self).update(
            _fitted=None if centre is None else _Fitted(centre, centroids),
            _n_features_out=len(centroids),
            cluster_centers_=centroids if centre is None else centre + centroids,
            labels_=labels.astype(np.int32),
            inertia_=found["inertia"],
            n_iter_=found["n_iter"],
        )

    def _nearest(self, X: Any, distances: bool = False) -> tuple[_core._Prediction, Any]:
        """What the core finds for a matrix and the present centers, and where labels for it belong."""
        centre, centroids = self._seen_centers()
        core = self._core_for(centroids.shape[1])
        given = core.read(X)
        rows = given if centre is None else core.read(_centring.less(X, centre))
        return core.predict(rows, centroids, distances), given.home

    def _seen_centers(self) -> _Fitted | tuple[None, npt.NDArray[np.float32]]:
        """The present centers as the fit saw them, or as it would have seen those that were assigned since."""
        centers = np.asarray(self.cluster_centers_)
        if centers.dtype == np.float32:
            return None, centers
        if self._fitted is not None and np.array_equal(self._fitted.centre + self._fitted.centroids, centers):
            return self._fitted
        centre = _centring.centre_of(centers)
        return _Fitted(centre, _centring.less(centers, centre))

    def _distances(self, X: Any) -> Any:
        rows = _input.read(X, self.cluster_centers_.shape[1], "X")
        centers = np.asarray(self.cluster_centers_)
        return _input.give_back(distances(_input.numbers(rows), centers, centers.dtype), rows.home)

    def _core_for(self, d: int) -> Core:
        return Core(d, device=self.device, n_threads=self.n_threads, memory_limit=self.memory_limit)

    def _check_parameters(self) -> None:
        """The constructor checks nothing, as scikit-learn's clone and set_params want it."""
        counts = {"n_clusters": self.n_clusters, "max_iter": self.max_iter}
        if self.n_init != "auto":
            counts["n_init"] = self.n_init
        for name, value in counts.items():
            if not isinstance(value, numbers.Integral):
                raise TypeError(f"{name} must be an integer, given {value!r} ({type(value).__name__}).")
            integer(name, value, high=2**31 - 1)
        if not real("tol", self.tol) >= 0:
            raise ValueError(f"tol must be at least 0, given {self.tol}.")
        init_method(self.init, "an array of shape (n_clusters, n_features) or a callable")
        if self.algorithm not in ("lloyd", "elkan"):
            raise ValueError(f"algorithm must be 'lloyd' or 'elkan', given {self.algorithm!r}.")
        if self.algorithm == "elkan" and self.n_clusters == 1:
            issue("algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.", RuntimeWarning)

    def _runs(self) -> int:
        """How many runs from different initial centers."""
        if isinstance(self.init, str) or callable(self.init):
            if self.n_init != "auto":
                return int(self.n_init)
            return 10 if callable(self.init) or self.init == "random" else 1
        if self.n_init not in ("auto", 1):
            name = type(self).__name__
            message = "Explicit initial center position passed: performing only one init in"
            issue(f"{message} {name} instead of n_init={self.n_init}.", RuntimeWarning)
        return 1

    def _starts(self, X: Any, n_init: int, random: np.random.RandomState) -> Iterator[Any]:
        """The initial centers of each call of the core, or how it is to draw those of all runs."""
        if isinstance(self.init, str):
            yield str(self.init)
            return
        for _ in range(n_init):
            given = self.init(X, self.n_clusters, random_state=random) if callable(self.init) else self.init
            shape = np.shape(given)
            message = f"The shape of the initial centers {shape} does not match the number of"
            if len(shape) != 2 or shape[0] != self.n_clusters:
                raise ValueError(f"{message} clusters {self.n_clusters}.")
            if shape[1] != X.shape[1]:
                raise ValueError(f"{message} features of the data {X.shape[1]}.")
            yield _input.copied(_input.read(given, shape[1], "init"))

    def _core_tol(self, core: Core, rows: _input.Rows, weights: Weights | None) -> float:
        """tol in the core's terms: the least sum of distances moved that lets a run go on."""
        smallest = 5e-324  # labels that do not change stop a run, which the core's 0 would not
        if self.tol == 0:
            return smallest
        n, d = rows.array.shape
        one = core.fit(rows, k=1, niter=1, tol=0, weights=weights)
        variance = one["inertia"] / (n if weights is None else weights.sum()) / d
        return max(smallest, math.sqrt(self.tol * variance))


KMeans.__module__ = __package__  # messages and pickles name it by where users import it


def _weights(sample_weight: Any, n: int) -> Weights | None:
    """A weight for each of n rows, or None for none; one number is that of all."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n, sample_weight)
    weights = _input.read_weights(sample_weight, n, what="sample_weight")
    bad = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
    if len(bad):
        raise ValueError(f"sample_weight[{bad[0]}] is {weights[bad[0]]}; weights must be finite and at least 0.")
    if not weights.any():
        raise ValueError("sample_weight is zero for all rows; at least one weight must be above zero.")
    return weights


def _distinct(X: Any, weights: Weights | None, k: int) -> tuple[Any, Weights | None]:
    """Of few rows the distinct ones of weight > 0 in lexicographic order, and the sum of the weights of each.

    So neither their order matters, nor whether a row comes twice or has weight 2. Many rows, and rows of which fewer
    than k are distinct, are left as they are.
    """
    if X.shape[0] > _FEW:
        return X, weights
    array = _input.numbers(_input.read(X, X.shape[1], "X"))
    each = np.ones(len(array)) if weights is None else weights
    distinct, of_row = np.unique(array[each > 0], axis=0, return_inverse=True)
    if len(distinct) < k:
        return X, weights
    return distinct, np.bincount(of_row.ravel(), each[each > 0]).astype(np.float64)
