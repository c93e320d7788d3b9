# SPDX-License-Identifier: Apache-2.0
"""`fit_batch`: many k-means problems in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, _input
from ._checks import boolean, init_method, integer
from ._device_input import DeviceMatrix
from ._device_results import Room, results_room
from ._report import warn
from .kmeans import FastKMeans


class BatchResult(NamedTuple):
    """What `fit_batch` found in B problems; problem b has element b of what has (B,).

    centroids : float32 (B, k, d); where k is an array (sum of k, d), problem after problem.
    labels : int64 (B, n), or (N,) with offsets; None unless they were wanted.
    inertia, n_iter, converged, timed_out, n_used, n_zero : (B,) float64, int64, bool, bool, int64, int64, as those of
        `FastKMeans`.
    n_empty : int64 (B,), clusters that ended without a row; k - n_empty have rows.
    centroid_offsets : int64 (B + 1,), where k is an array: problem b has centroids [offsets[b], offsets[b + 1]). Else
        None.
    """

    centroids: Any
    labels: Any
    inertia: npt.NDArray[np.float64]
    n_iter: npt.NDArray[np.int64]
    converged: npt.NDArray[np.bool_]
    timed_out: npt.NDArray[np.bool_]
    n_used: npt.NDArray[np.int64]
    n_zero: npt.NDArray[np.int64]
    n_empty: npt.NDArray[np.int64]
    centroid_offsets: npt.NDArray[np.int64] | None


def fit_batch(
    data: Any,
    k: Any,
    *,
    offsets: Any = None,
    niter: int = 25,
    tol: float = 1e-8,
    seed: int = 0,
    max_points_per_centroid: int | None = 256,
    nredo: int = 1,
    init: Any = "random",
    metric: str | None = None,
    spherical: bool = False,
    frozen_centroids: bool = False,
    int_centroids: bool = False,
    min_points_per_centroid: int | None = None,
    empty_clusters: str = "farthest",
    inertia_tol: float = 0.0,
    changed_tol: float = 0.0,
    max_runtime_secs: float | None = None,
    weights: Any = None,
    labels: bool = True,
    device: Any = None,
    n_threads: int | None = None,
    memory_limit: float | None = None,
) -> BatchResult:
    """A fit of each of B problems: bit for bit that of a `FastKMeans` with the same parameters, the same seed included.

    Small problems run side by side, a thread or a part of a GPU each; large ones one after the other. The rows are
    read where they lie, in any layout: the parts of vectors for product quantisation may be a view of these.

    Parameters
    ----------
    data : (B, n, d), or with offsets the rows of all problems, (N, d), one problem after the other.
    k : clusters of each problem: one number, or (B,) integers. A problem may have fewer rows than that, or none: it has
        as many clusters with rows as it has distinct rows, and the rest are empty. Empty clusters that nothing is known
        of are copies of the first (zeros, without rows); an EmptyClusterWarning says so, and `n_empty` how many.
    offsets : (B + 1,) integers, from 0 to N, ascending: problem b has rows [offsets[b], offsets[b + 1]).
    init : "random", "k-means++", "k-means||", "afk-mc2", or the first initial centroids: (B, m, d) with m <= k; (m, d),
        the same for all; or where k is an array (sum of k, d), problem after problem. No callable.
    max_runtime_secs : of the whole call: when this time is over, every problem that is left gets one iteration, and its
        labels.
    weights : how much each row counts, (B, n), or (N,) with offsets.
    labels : whether labels are wanted; inertia is then that of all rows, to the centroids returned.
    device : where to compute, as `FastKMeans` has it. A CUDA device computes large problems alone, one after the other.
        32 small ones or more whose rows lie there iterate together. Others run on the CPU, whatever device is named,
        and so do those with weights, a sample, float64 rows, inner products, frozen or integer centroids, methods other
        than "random", several runs, or a cluster that gets empty. Their rows are copied for that, 256 MiB at a time.

    The other parameters are those of `FastKMeans`. Labels and centroids come back as the kind of array that data is, on
    its device, beside the memory_limit; those of problems that iterate there, and initial centroids that lie there,
    never leave it.
    Of warnings of one kind the first is issued, with the number of problems that have it too. There is no callback.

    Raises what `FastKMeans.fit` raises, but for few rows; a message about a problem names it, the first that is wrong.
    """
    device_options = {"device": device, "n_threads": n_threads, "memory_limit": memory_limit}
    method = init_method(init, "or an array")
    if callable(init):
        raise TypeError(f"init must be the name of a method or an array, and no callable, given {init!r}.")
    options = FastKMeans(
        1,
        1,
        niter=niter,
        tol=tol,
        seed=seed,
        max_points_per_centroid=max_points_per_centroid,
        nredo=nredo,
        init=method or "random",
        metric=metric,
        spherical=spherical,
        frozen_centroids=frozen_centroids,
        int_centroids=int_centroids,
        min_points_per_centroid=min_points_per_centroid,
        empty_clusters=empty_clusters,
        inertia_tol=inertia_tol,
        changed_tol=changed_tol,
        max_runtime_secs=max_runtime_secs,
        **device_options,
    )
    where = options._device()
    rows = _read(data, where, offsets is None)
    shape = rows.array.shape
    wanted = "(B, n, d)" if offsets is None else "(N, d), as there are offsets"
    if len(shape) != (3 if offsets is None else 2) or shape[-1] == 0:
        raise ValueError(f"data must have shape {wanted}, with d >= 1, given shape {tuple(shape)}.")
    row_offsets = None if offsets is None else _offsets(offsets, shape[0])
    count = shape[0] if row_offsets is None else len(row_offsets) - 1
    one_k = np.ndim(k) == 0
    ks = _clusters(k, count)
    initial, init_offsets = (None, None) if method else _initial(_read_init(init, rows), ks, one_k, shape[-1])
    wants_labels = boolean("labels", labels)
    room = _room(rows, ks, wants_labels)
    found = _core.fit_batch(
        rows.array,
        rows.dtype,
        offsets=row_offsets,
        k=ks,
        **options._training(),
        **_input.as_init(initial),
        init_offsets=init_offsets,
        weights=None if weights is None else _input.read_weights(weights, *shape[:-1]).reshape(-1),
        labels=wants_labels,
        **room.addresses,
        **options._execution(rows, where),
    )
    warn(_first_of_each_kind(found["warnings"]))
    centroids = _given_back(room.centroids, found["centroids"], rows.home)
    labels_found = _given_back(room.labels, found["labels"], rows.home)
    return BatchResult(
        centroids.reshape(*((count, integer("k", k)) if one_k else (int(ks.sum()),)), shape[-1]),
        None if labels_found is None else labels_found.reshape(shape[:-1]),
        found["inertia"],
        found["n_iter"],
        found["converged"].astype(bool),
        found["timed_out"].astype(bool),
        found["n_used"],
        found["n_zero"],
        found["n_empty"],
        None if one_k else _ends(ks),
    )


def _read(data: Any, where: str, stacked: bool) -> _input.Rows:
    try:
        return _input.read_array(data, device=where)
    except (TypeError, ValueError) as error:
        if stacked and isinstance(data, Sequence) and _are_unlike_matrices(data):
            raise type(error)(f"{error}; problems of unlike sizes are one matrix of all rows, with offsets") from None
        raise


def _are_unlike_matrices(parts: Sequence[Any]) -> bool:
    shapes = {tuple(getattr(part, "shape", ())) for part in parts}
    return len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)


def _ends(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each begins that stands after the others, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _integers(name: str, values: Any) -> npt.NDArray[np.int64]:
    array = _input.numbers(_input.read_array(values, name))
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size > 0):  # [] is of float64
        raise TypeError(
            f"{name} must be a one-dimensional array of integers, given shape {array.shape}, dtype {array.dtype}."
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def _offsets(offsets: Any, n: int) -> npt.NDArray[np.int64]:
    array = _integers("offsets", offsets)
    if len(array) == 0 or array[0] != 0 or array[-1] != n:
        given = f"{array[0]} to {array[-1]}" if len(array) else "none"
        raise ValueError(f"offsets must go from 0 to the number of rows, {n}, given {given}.")
    falls = np.flatnonzero(np.diff(array) < 0)
    if len(falls):
        b = falls[0]
        raise ValueError(f"offsets must ascend, given {array[b]} and then {array[b + 1]} for problem {b}.")
    return array


def _clusters(k: Any, count: int) -> npt.NDArray[np.int64]:
    """k of each problem."""
    if np.ndim(k) == 0:
        return np.full(count, integer("k", k), dtype=np.int64)
    ks = _integers("k", k)
    if len(ks) != count:
        raise ValueError(f"k must be one number, or one for each of {count} problems, given {len(ks)}.")
    return ks


def _read_init(init: Any, data: _input.Rows) -> _input.Rows:
    """Initial centroids: on the device where the data are read, if one stream wrote both; else on the host."""
    if isinstance(data.array, DeviceMatrix):
        rows = _input.read_array(init, "init", f"cuda:{data.array.device}")
        if not isinstance(rows.array, DeviceMatrix) or rows.array.stream == data.array.stream:
            return rows
    return _input.read_array(init, "init")


def _room(data: _input.Rows, ks: npt.NDArray[np.int64], labels: bool) -> Room:
    """For results on the device where the data are: more centroids than rows are no work for one."""
    n = int(np.prod(data.array.shape[:-1]))
    if not len(ks) or ks.min() < 1 or ks.max() > n or ks.sum() > n:
        return Room()
    return results_room(data.array, data.home, int(ks.sum()), labels)


def _given_back(there: Any, here: npt.NDArray[Any] | None, home: Any) -> Any:
    if there is not None:
        return there
    return None if here is None else _input.give_back(here, home)


def _initial(
    rows: _input.Rows, ks: npt.NDArray[np.int64], one_k: bool, d: int
) -> tuple[_input.Rows, npt.NDArray[np.int64] | None]:
    """The first initial centroids of each problem: three-dimensional, or a matrix with offsets."""
    shape, count = rows.array.shape, len(ks)
    if len(shape) == 2 and not one_k and shape == (ks.sum(), d):
        return rows, _ends(ks)
    if len(shape) == 2 and one_k and shape[1] == d:
        return rows._replace(array=_repeated(rows.array, count)), None
    if len(shape) != 3 or shape[0] != count or shape[2] != d:
        matrix = f"(m, {d})" if one_k else f"({ks.sum()}, {d})"
        raise ValueError(f"init must have shape ({count}, m, {d}) or {matrix}, given shape {tuple(shape)}.")
    return rows, None


def _repeated(matrix: Any, count: int) -> Any:
    """The same matrix for so many problems, in place."""
    if isinstance(matrix, DeviceMatrix):
        return matrix._replace(shape=(count, *matrix.shape), strides=(0, *matrix.strides))
    return np.broadcast_to(matrix, (count, *matrix.shape))


def _first_of_each_kind(found: Iterable[tuple[int, str, str]]) -> list[tuple[str, str]]:
    """Kind and message, which names the first problem and counts the others."""
    firsts: dict[str, tuple[int, str]] = {}
    more: dict[str, int] = {}
    for problem, kind, message in found:
        if kind in firsts:
            more[kind] = more.get(kind, 0) + 1
        else:
            firsts[kind] = (problem, message)
    return [
        (kind, f"problem {problem}" + (f", and {more[kind]} more" if kind in more else "") + f": {message}")
        for kind, (problem, message) in firsts.items()
    ]
