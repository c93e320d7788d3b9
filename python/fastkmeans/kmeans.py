# SPDX-License-Identifier: Apache-2.0
"""`FastKMeans`: the face of the core, in place of fastkmeans 0.5.0 by Clavie and Warner (AnswerDotAI)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, _input
from ._checks import (
    EMPTY_CLUSTERS,
    boolean,
    device_name,
    init_method,
    integer,
    integer_or_none,
    limit_in_bytes,
    memory_limit,
    metric_name,
    one_of,
    real,
    seconds,
    share,
    usable_device,
)
from ._device_input import DeviceMatrix
from ._device_results import Room, copied_there, held, on_host, results_room
from ._report import (
    IterationStats,
    as_call,
    iteration_report,
    iteration_stats,
    not_fitted,
    warn,
)

# The original asks whether Triton could be imported; here what it stands for, triton_kernels.triton_kmeans, always can.
HAS_TRITON = True


def _as_device(name: str) -> Any:
    torch = sys.modules.get("torch")
    return name if torch is None else torch.device(name)


def _get_device(preset: Any = None) -> Any:
    """The device that `preset` names; for None or a GPU's number the best we have: CUDA, else the CPU."""
    name = None if isinstance(preset, int) else device_name(preset)
    return _as_device(name or usable_device(None, gpu=True))


def _is_bfloat16_supported(device: Any) -> bool:
    """Whether a CUDA or XPU device computes in bfloat16; False on the CPU."""
    backend: Any = getattr(sys.modules.get("torch"), str(device).split(":")[0], None)
    return hasattr(backend, "is_bf16_supported") and backend.is_available() and bool(backend.is_bf16_supported())


class FastKMeans:
    """Exact k-means on a CUDA GPU or the CPU.

    The result depends on the data, its weights, d, k, niter, tol, inertia_tol, changed_tol, seed, nredo, init,
    max_points_per_centroid, metric, spherical, frozen_centroids, int_centroids and empty_clusters alone: not on the
    device, threads, chunk sizes, instruction set or memory layout.

    Parameters
    ----------
    d, k : columns of the data, and number of clusters.
    niter : most iterations, at least 1.
    tol : stop when the sum over centroids of the Euclidean distance they moved is below; <= 0 runs all iterations.
    gpu, device : where to compute: on the CPU if gpu is False or device is "cpu". device=None: a CUDA device if there
        is one that we support (compute capability 8.0, a driver for CUDA 13), else the CPU, with a UserWarning once a
        process if the driver or all devices are too old; data that lie on a CUDA device are computed there, and small
        work may be done on the CPU. "cuda", "cuda:N" or the number N: that device, or RuntimeError. "mps" and "xpu"
        raise NotImplementedError. A process that was forked after CUDA was used needs spawn: RuntimeError.
    seed : 0 <= seed < 2**64, of the sample and of the initial centroids, which are others than the original's for the
        same seed. Global random states are left alone.
    max_points_per_centroid : train on at most k times this many rows, drawn at random, with a SubsampledWarning; None:
        all. (256 is the default of the original's source; that of its 0.5.0 on PyPI is 10**9.)
    chunk_size_data, chunk_size_centroids : most rows and centroids handled at a time; speed and memory only.
    dtype, pin_gpu_memory, use_triton : hints for a GPU; never change the result and never fail. use_triton=None becomes
        True where the device is a CUDA device, else False.
    verbose : one line per iteration on the logger "fastkmeans" at INFO, or on stdout if no handler would take it.
    nredo : runs from different initial centroids, of which the one of best inertia is kept (ties: the first).
    n_threads : threads to use; None: OMP_NUM_THREADS if set, else the CPUs this process may use. More than these CPUs,
        or than 16 if they are fewer, are not used.
    init : "random" (distinct rows), "k-means++" (greedy, as in scikit-learn: rows far from each other; it takes 3
        + log k distances a row and centroid), for large k "k-means||" (a few assignments) or "afk-mc2" (chains of 200
        rows, which look at few of the others), the initial centroids, (k, d), copied, or a callable init(data, k, seed)
        that returns them, data being what `train` or `fit` was given; with these nredo is 1.
    metric : "euclidean" (None): labels by the nearest centroid, means. "cosine": the same for rows and centroids scaled
        to length 1; rows of zeros stay zero, with a ZeroRowsWarning; `predict` takes centroids as they are; distances
        and inertia are of scaled rows. "inner_product": labels by the largest product (ties: the lowest index), means,
        as faiss's IndexFlatIP trains; D of `assign`, inertia and inertia_tol are about products, where more is better,
        `init` still about distances.
    spherical : faiss's name of metric="cosine"; True with another metric is a ValueError.
    frozen_centroids : the initial centroids that are given stay where they are; where they are empty they get no row.
    int_centroids : centroids are rounded to integers, half to even, from the initial ones on.
    min_points_per_centroid : a FewPointsWarning if fewer than k times this many rows are trained on (faiss: 39).
    empty_clusters : what becomes of clusters without rows: "farthest" gives each the farthest row of the cluster of
        largest inertia, "random" a random row that lies off its centroid, "split" half of the largest cluster, as faiss
        does: the two centroids lie 2**-10 of its centroid's elements to either side.
    inertia_tol : also stop when inertia got better by less than this share of it since the iteration before, as cuVS's
        tol; 0: do not.
    changed_tol : also stop when less than this share of the rows changed their label, as kmcuda's tolerance; 0: do not.
    max_runtime_secs : begin no iteration and no run this many seconds after the fit began, as in H2O; at least one
        iteration is run, and labels are found, whatever that takes. None: any time. A fit that was cut short depends on
        the speed of the machine, and has timed_out_ = True.
    callback : called with an IterationStats after each iteration; returning True stops. Its exceptions end the fit.
    memory_limit : most memory of a CUDA device that a call takes beside data that lie there: bytes (an int), or a share
        of all that the device has (a float, 0 < share <= 1); None: what is free. Rows that do not fit are streamed.

    All are attributes of these names, and may be set: the next call checks and uses them. k=1e3 is a whole number too.

    Data is an (n, d) matrix of float32, float64, float16, bfloat16, integers or bools: numpy, torch, cupy, or anything
    with DLPack, __cuda_array_interface__ or the buffer protocol, in any memory layout. It is read in place, on a CUDA
    device after what its current stream was given, and never modified. (Rows on a GPU are copied where the CPU or
    another GPU computes; long double becomes float64; other byte orders are converted, which takes a copy. Arrays on a
    GPU that are neither torch's nor cupy's are read through one of these, if it is imported.)
    Values are converted to float32; NaN, infinity and values of 2**56 or more raise ValueError.

    `fit` calls `train`, and `fit_predict` calls `fit` and `predict`, where a subclass or an instance replaces them.

    Warnings are UserWarnings: SubsampledWarning, EmptyClusterWarning (clusters that ended without a row),
    PrecisionWarning (float64 data of which float32 loses much) and, with metric="cosine", ZeroRowsWarning.

    Attributes
    ----------
    centroids : None before training, then a numpy array (k, d), float32. Others may be assigned; what is below is
        then None again, since it belongs to those that were found.
    centroids_device : the centroids as the kind of array that was trained on, on its device. There they stay, as the
        labels of a fit do, until `centroids` or `labels_` is asked for: 4 k d and 8 n bytes, if that is a small part of
        what is free and there is no memory_limit.
    labels_ : after `fit` and `fit_predict`, the nearest of `centroids` for every row given, int64 (n,); else None, also
        where `train` is replaced.
    inertia_ : sum of weight times squared distance, or inner product: with labels_, of all rows given to `centroids`;
        after `train`, the last iteration's, over the rows used.
    n_iter_, converged_, timed_out_, n_used_, n_zero_ : iterations of the run kept, whether it stopped because it was
        done, whether max_runtime_secs cut the fit short, rows trained on (those of weight 0 do not count), and how many
        of these are zero.
    iteration_stats : list of IterationStats, of the run kept.
    """

    inertia_: float | None = None
    n_iter_: int | None = None
    converged_: bool | None = None
    timed_out_: bool | None = None
    n_used_: int | None = None
    n_zero_: int | None = None
    iteration_stats: list[IterationStats] | None = None
    _centroids: Any = None  # as _device_results.held() has them
    _labels: Any = None  # likewise
    _home: Any = None  # of the rows trained on, see _input.Rows

    def __init__(
        self,
        d: int,
        k: int,
        niter: int = 25,
        tol: float = 1e-8,
        gpu: bool = True,
        seed: int = 0,
        max_points_per_centroid: int | None = 256,
        chunk_size_data: int = 51_200,
        chunk_size_centroids: int = 10_240,
        device: Any = None,
        dtype: Any = None,
        pin_gpu_memory: bool = True,
        verbose: bool = False,
        nredo: int = 1,
        use_triton: bool | None = None,
        *,
        n_threads: int | None = None,
        init: Any = "random",
        callback: Callable[[IterationStats], object] | None = None,
        memory_limit: float | None = None,
        metric: str | None = None,
        spherical: bool = False,
        frozen_centroids: bool = False,
        int_centroids: bool = False,
        min_points_per_centroid: int | None = None,
        empty_clusters: str = "farthest",
        inertia_tol: float = 0.0,
        changed_tol: float = 0.0,
        max_runtime_secs: float | None = None,
    ) -> None:
        self.d = d
        self.k = k
        self.niter = niter
        self.tol = tol
        self.gpu = gpu
        self.seed = seed
        self.max_points_per_centroid = max_points_per_centroid
        self.chunk_size_data = chunk_size_data
        self.chunk_size_centroids = chunk_size_centroids
        self.dtype = dtype
        self.pin_gpu_memory = pin_gpu_memory
        self.verbose = verbose
        self.nredo = nredo
        self.n_threads = n_threads
        self.init = init
        self.callback = callback
        self.memory_limit = memory_limit
        self.metric = metric
        self.spherical = spherical
        self.frozen_centroids = frozen_centroids
        self.int_centroids = int_centroids
        self.min_points_per_centroid = min_points_per_centroid
        self.empty_clusters = empty_clusters
        self.inertia_tol = inertia_tol
        self.changed_tol = changed_tol
        self.max_runtime_secs = max_runtime_secs
        self.device = device
        self.use_triton = self._usable(device) != "cpu" if use_triton is None else use_triton
        self._check()
        initial = self._initial()
        if initial is not None:
            self.init = _input.copied(initial)

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in _OPTIONS}
        return as_call(FastKMeans, type(self).__name__, {**options, "device": self._asked_device})

    @property
    def device(self) -> Any:
        """Where fits run: a torch.device if torch is imported, else a string. Set it as in the constructor."""
        return _as_device(self._usable(self._asked_device))

    @device.setter
    def device(self, device: Any) -> None:
        self._usable(device)
        self._asked_device = device_name(device)  # not what it came to, which depends on `gpu` and the machine

    @property
    def centroids(self) -> Any:
        """None before training, then (k, d): a numpy array of float32, or what was assigned."""
        return on_host(self._centroids)

    @centroids.setter
    def centroids(self, centroids: Any) -> None:
        self._hold(centroids)

    @property
    def centroids_device(self) -> Any:
        """The centroids as the kind of array that was trained on; on the CPU they share the memory of `centroids`.

        On a GPU it is a copy, of what lies there until `centroids` is asked for, then of `centroids`.
        """
        home, there = self._home, copied_there(self._centroids)
        if there is not None:
            return there
        centroids = self.centroids
        return centroids if centroids is None or home is None else _input.give_back(centroids, home)

    @property
    def labels_(self) -> npt.NDArray[np.int64] | None:
        """The nearest of `centroids` for every row given to `fit`, (n,) int64; None where no labels were found."""
        labels: npt.NDArray[np.int64] | None = on_host(self._labels)
        return labels

    @labels_.setter
    def labels_(self, labels: Any) -> None:
        self._labels = labels

    def train(self, data: Any, weights: Any = None, init_centroids: Any = None) -> None:
        """Find the centroids of `data`, (n, d) with n >= k; like faiss, no labels.

        weights : how much each row counts, (n,) real numbers >= 0 in any kind of array; None: each once. A row of
            integer weight w is w equal rows; rows of weight 0 are not trained on, and k others are needed.
        init_centroids : the first initial centroids, (m, d) with m <= k, in place of those that `init` gives; the
            others are rows, as `init` says if it is a string. With m = k there is one run.

        Raises ValueError for data or weights of another shape, NaN, infinity, weights below 0, or fewer than k rows,
        TypeError for dtypes that are no real numbers. Whatever goes wrong, Ctrl-C and warnings made errors included,
        leaves what the object held.
        """
        self._train(data, weights, labels=False, init_centroids=init_centroids)

    def fit(self, data: Any, y: Any = None, *, weights: Any = None) -> FastKMeans:
        """`train`, then assign every row given once more: sets `labels_`, and `inertia_` to match. Returns self.

        y is ignored: scikit-learn's pipelines pass it. Where `train` is replaced, nothing else is called, and weights
        are passed on if there are any: `labels_` is None if that found centroids alone.
        """
        if self._is_ours("train"):
            self._train(data, weights, labels=True)
            return self
        earlier = self.iteration_stats
        self.train(data, **_if_given(weights))
        if earlier is not None and self.iteration_stats is earlier:  # it wrote into the centroids of an earlier fit
            self._hold(self._centroids, self._home)
        return self

    @property
    def obj(self) -> npt.NDArray[np.float64] | None:
        """Like faiss: the inertia of each iteration of the run kept, (n_iter_,) float64; None before training."""
        stats = self.iteration_stats
        return None if stats is None else np.array([found.inertia for found in stats])

    def assign(self, data: Any) -> tuple[Any, Any]:
        """Like faiss, (D, I): D, (n,) float32, of each row to its nearest centroid, and I, the labels of `predict`.

        D is the squared distance, with metric="cosine" of the row scaled to length 1; with "inner_product" the product.
        Kinds of array and errors as in `predict`.
        """
        found, home = self._predict(data, distances=True)
        assert found["distances"] is not None
        return (
            _input.give_back(found["distances"].astype(np.float32), home),
            _input.give_back(found["labels"], home),
        )

    def predict(self, data: Any) -> Any:
        """The nearest centroid of each row of `data` (n, d), n >= 0, ties to the lowest index: int64 (n,).

        numpy for numpy, a tensor on the same device for a tensor. Raises what `train` raises for bad data, and before
        training a RuntimeError that is also scikit-learn's NotFittedError if that is imported.
        """
        found, home = self._predict(data)
        return _input.give_back(found["labels"], home)

    def fit_predict(self, data: Any, y: Any = None, *, weights: Any = None) -> Any:
        """`fit`, then `predict`: a label for every row given, apart from `labels_`; kinds of array as in `predict`."""
        if self._is_ours("train", "fit", "predict"):  # a fit computes the labels
            labels, home = self._train(data, weights, labels=True)
            there = copied_there(labels)
            return _input.give_back(on_host(labels).copy(), home) if there is None else there
        self.fit(data, **_if_given(weights))
        return self.predict(data)

    def _is_ours(self, *names: str) -> bool:
        """Whether the methods are those of this file: no subclass, instance or assignment to the class replaced one."""
        return all(getattr(self, name) == MethodType(_OURS[name], self) for name in names)

    def _predict(self, data: Any, distances: bool = False) -> tuple[Any, Any]:
        """What the core finds, and the kind of array that `data` is."""
        if self.centroids is None:
            raise not_fitted("Must call train() or fit() before predict().")
        self._check()
        centroids = _input.read(self.centroids, self.d, "centroids")
        device = self._device()
        rows = _input.read(data, self.d, least=0, device=device)
        found = _core.predict(
            rows.array,
            rows.dtype,
            centroids.array,
            centroids.dtype,
            distances=distances,
            metric=metric_name(self.metric, self.spherical),
            **self._execution(rows, device),
        )
        return found, rows.home

    def _hold(self, centroids: Any, home: Any = None, **found: Any) -> None:
        """Keep centroids and what was found with them, in one step: Ctrl-C leaves no mixture of two fits."""
        vars(self).update({**_NOTHING_FOUND, **found, "_centroids": centroids, "_home": home})

    def _check(self) -> None:
        """The attributes are public: what the constructor checks, a fit checks again."""
        most = 2**31 - 1  # the core counts iterations, runs and threads with an int
        self.d = integer("d", self.d)
        self.k = integer("k", self.k)
        self.niter = integer("niter", self.niter, high=most)
        self.tol = real("tol", self.tol)
        self.seed = integer("seed", self.seed, low=0, high=2**64 - 1)
        self.max_points_per_centroid = integer_or_none("max_points_per_centroid", self.max_points_per_centroid)
        self.chunk_size_data = integer("chunk_size_data", self.chunk_size_data)
        self.chunk_size_centroids = integer("chunk_size_centroids", self.chunk_size_centroids)
        self.nredo = integer("nredo", self.nredo, high=most)
        self.n_threads = integer_or_none("n_threads", self.n_threads, high=most)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable, given {self.callback!r} ({type(self.callback).__name__}).")
        self.memory_limit = memory_limit(self.memory_limit)
        self.spherical = boolean("spherical", self.spherical)
        metric_name(self.metric, self.spherical)
        self.frozen_centroids = boolean("frozen_centroids", self.frozen_centroids)
        self.int_centroids = boolean("int_centroids", self.int_centroids)
        self.min_points_per_centroid = integer_or_none("min_points_per_centroid", self.min_points_per_centroid)
        self.empty_clusters = one_of("empty_clusters", self.empty_clusters, EMPTY_CLUSTERS)
        self.inertia_tol = share("inertia_tol", self.inertia_tol)
        self.changed_tol = share("changed_tol", self.changed_tol)
        self.max_runtime_secs = seconds("max_runtime_secs", self.max_runtime_secs)
        self._usable(self._asked_device)

    def _device(self) -> str:
        """The core's name of where to compute: "" where none was named, so that it may choose."""
        return "cpu" if self._usable(self._asked_device) == "cpu" else self._asked_device or ""

    def _usable(self, device: Any) -> str:
        return usable_device(device, self.gpu)

    def _execution(self, rows: _input.Rows, device: str) -> _core._Execution:
        """How the core is to compute on these rows; device: as _device() has it."""
        limit = 0
        if self.memory_limit is not None:
            on_device = isinstance(rows.array, DeviceMatrix)
            place = f"cuda:{rows.array.device}" if on_device else self._usable(self._asked_device)
            limit = limit_in_bytes(self.memory_limit, place)
        return {
            "device": device,
            "memory_limit": limit,
            "n_threads": self.n_threads or 0,
            "chunk_size_data": self.chunk_size_data,
            "chunk_size_centroids": self.chunk_size_centroids,
        }

    def _training(self) -> _core._Training:
        """What the core is to compute, but for k and what is given."""
        return {
            "niter": self.niter,
            "tol": self.tol,
            "inertia_tol": self.inertia_tol,
            "changed_tol": self.changed_tol,
            "max_runtime_secs": self.max_runtime_secs or 0.0,
            "seed": self.seed,
            "max_points_per_centroid": self.max_points_per_centroid,
            "nredo": self.nredo,
            "metric": metric_name(self.metric, self.spherical),
            "frozen_centroids": self.frozen_centroids,
            "int_centroids": self.int_centroids,
            "min_points_per_centroid": self.min_points_per_centroid,
            "empty_clusters": self.empty_clusters,
            "init_method": self.init if isinstance(self.init, str) else "random",
        }

    def _initial(self) -> _input.Rows | None:
        """The initial centroids, or None where `init` is the name of a method, or must see the data."""
        if init_method(self.init, "an array of shape (k, d) or a callable") or callable(self.init):
            return None
        return self._centroids_of(self.init)

    def _centroids_of(self, init: Any) -> _input.Rows:
        """All k initial centroids as the core reads them."""
        rows = _input.read(init, self.d, "init")
        if len(rows.array) != self.k:
            raise ValueError(f"init must have k = {self.k} rows, given {len(rows.array)}.")
        return rows

    def _first(self, init_centroids: Any) -> _input.Rows:
        """init_centroids as the core reads them."""
        rows = _input.read(init_centroids, self.d, "init_centroids")
        if len(rows.array) > self.k:
            raise ValueError(f"init_centroids must have at most k = {self.k} rows, given {len(rows.array)}.")
        return rows

    def _train(self, data: Any, weights: Any, labels: bool, init_centroids: Any = None) -> tuple[Any, Any]:
        """Train, and hold what is found. Returns the labels, if wanted, and the kind of array that `data` is.

        Returned as well, since another thread may use this object at the same time.
        """
        self._check()
        device = self._device()
        rows = _input.read(data, self.d, device=device)
        n = rows.array.shape[0]
        if n < self.k:
            raise ValueError(f"Number of training points ({n}) is less than k ({self.k}).")
        given_weights = None if weights is None else _input.read_weights(weights, n)
        if init_centroids is not None:
            initial: _input.Rows | None = self._first(init_centroids)
        elif callable(self.init):
            initial = self._centroids_of(self.init(data, self.k, self.seed))
        else:
            initial = self._initial()
        # With a limit of memory the results have none of it.
        room = results_room(rows.array, rows.home, self.k, labels) if self.memory_limit is None else Room()
        runs = 1 if initial is not None and len(initial.array) == self.k else self.nredo
        result = _core.fit(
            rows.array,
            rows.dtype,
            k=self.k,
            **self._training(),
            **_input.as_init(initial),
            weights=given_weights,
            labels=labels,
            callback=iteration_report(self.niter, runs, self.verbose, self.callback),
            **room.addresses,
            **self._execution(rows, device),
        )
        found = held(room.labels, result["labels"])
        if result["warnings"]:
            warn(result["warnings"])
        self._hold(
            held(room.centroids, result["centroids"]),
            rows.home,
            _labels=found,
            inertia_=result["inertia"],
            n_iter_=result["n_iter"],
            converged_=result["converged"],
            timed_out_=result["timed_out"],
            n_used_=result["n_used"],
            n_zero_=result["n_zero"],
            iteration_stats=[iteration_stats(its) for its in result["iterations"]],
        )
        return found, rows.home


def _if_given(weights: Any) -> dict[str, Any]:
    """As an argument for methods that may be replaced, by ones that know no weights."""
    return {} if weights is None else {"weights": weights}


_OURS = {name: vars(FastKMeans)[name] for name in ("train", "fit", "predict")}
_NOTHING_FOUND = dict.fromkeys(
    ("_labels", "inertia_", "n_iter_", "converged_", "timed_out_", "n_used_", "n_zero_", "iteration_stats")
)
# What a repr shows; use_triton, a hint, is not what was asked for.
_OPTIONS = [name for name in inspect.signature(FastKMeans).parameters if name != "use_triton"]
