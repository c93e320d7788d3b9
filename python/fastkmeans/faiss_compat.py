# SPDX-License-Identifier: Apache-2.0
"""`Kmeans` in place of `faiss.Kmeans`: its constructor, attributes and return values, on `FastKMeans`.

What differs: the seed draws other rows; empty clusters take rows that lie badly; bad input raises ValueError and
TypeError, and few points are a warning (`fastkmeans.FewPointsWarning`). With spherical=True rows are scaled to length
1, where faiss takes them as they are, and obj is the sum of their squared distances, where faiss has the sum of inner
products.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from ._checks import integer
from ._report import not_fitted
from .kmeans import FastKMeans

_Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

# Options of faiss that change no result here.
_WITHOUT_EFFECT = {"update_index", "decode_block_size", "check_input_data_for_NaNs", "use_faster_subsampling"}
_FARTHEST = np.finfo(np.float32).max  # where fewer centroids exist than were asked for
_DISTANCES_AT_A_TIME = 1 << 22  # of 8 bytes each


class Kmeans:
    """k-means as `faiss.Kmeans` has it.

    Parameters
    ----------
    d, k : columns of the data, and number of clusters.
    gpu : False: the CPU. True, or a number of GPUs: one GPU if there is one (a line on the logger `fastkmeans` says so
        if more were asked for), else the CPU.
    niter, nredo, verbose, spherical, int_centroids, frozen_centroids, min_points_per_centroid, max_points_per_centroid,
    seed : as in `FastKMeans`, with faiss's defaults. All iterations are run.
    update_index, decode_block_size, check_input_data_for_NaNs, use_faster_subsampling : have no effect.

    Attributes
    ----------
    centroids : None before training, then (k, d), float32.
    obj : the sum of squared distances in each iteration, (niter,), float64.
    iteration_stats : a list of dicts with obj, time and time_search (seconds since the beginning, the same here),
        nsplit (empty clusters that were given a row) and imbalance_factor (NaN: not measured).
    index : `index.search(x, m)` finds the m nearest centroids.
    """

    def __init__(
        self,
        d: int,
        k: int,
        *,
        gpu: bool | int = False,
        niter: int = 25,
        nredo: int = 1,
        verbose: bool = False,
        spherical: bool = False,
        int_centroids: bool = False,
        frozen_centroids: bool = False,
        min_points_per_centroid: int = 39,
        max_points_per_centroid: int = 256,
        seed: int = 1234,
        **without_effect: Any,
    ) -> None:
        unknown = sorted(set(without_effect) - _WITHOUT_EFFECT)
        if unknown:
            raise TypeError(f"Kmeans has no option {unknown[0]!r}; beside its own it takes {sorted(_WITHOUT_EFFECT)}.")
        if gpu is not True and int(gpu) not in (0, 1):
            logging.getLogger("fastkmeans").info("gpu=%s: one GPU is used", gpu)
        self.d = d
        self.gpu = gpu
        self._options: dict[str, Any] = {
            "niter": niter,
            "nredo": nredo,
            "verbose": verbose,
            "spherical": spherical,
            "int_centroids": int_centroids,
            "frozen_centroids": frozen_centroids,
            "min_points_per_centroid": min_points_per_centroid,
            "max_points_per_centroid": max_points_per_centroid,
            "seed": seed,
        }
        self.reset(k)
        self._new()  # for its checks

    def reset(self, k: int | None = None) -> None:
        """Forget what was found; k: another number of clusters."""
        if k is not None:
            self.k = k
        self.centroids: npt.NDArray[np.float32] | None = None
        self.obj: npt.NDArray[np.float64] | None = None
        self.iteration_stats: list[dict[str, float]] | None = None
        self.index = Index(self.d, None)

    def train(self, x: Any, weights: Any = None, init_centroids: Any = None) -> float:
        """Find the centroids of x, (n, d); weights (n,) and init_centroids (m, d), m <= k, as in `FastKMeans.train`.

        Returns the objective of the last iteration.
        """
        kmeans = self._new()
        kmeans.train(x, weights, init_centroids)
        stats, obj = kmeans.iteration_stats, kmeans.obj
        assert stats is not None
        assert obj is not None
        seconds = np.cumsum([found.seconds for found in stats])
        self.centroids, self.obj, self.index = kmeans.centroids, obj, Index(self.d, kmeans)
        self.iteration_stats = [
            {
                "obj": found.inertia,
                "time": float(time),
                "time_search": float(time),
                "imbalance_factor": float("nan"),
                "nsplit": found.relocated,
            }
            for found, time in zip(stats, seconds, strict=True)
        ]
        return float(obj[-1])

    def assign(self, x: Any) -> _Found:
        """(D, I) of the nearest centroid of each row of x (n, d): (n,) each, as `index.search` has."""
        distances, labels = self.index.search(x, 1)
        return distances.ravel(), labels.ravel()

    def _new(self) -> FastKMeans:
        return FastKMeans(self.d, self.k, tol=0, gpu=bool(self.gpu), **self._options)


class Index:
    """The centroids of a `Kmeans`, to be searched."""

    def __init__(self, d: int, kmeans: FastKMeans | None) -> None:
        self.d = d
        self.ntotal = 0 if kmeans is None else kmeans.k
        self._kmeans = kmeans

    def search(self, x: Any, k: int) -> _Found:
        """(D, I) of the k nearest centroids of each row of x, in order of D, then of their numbers.

        x : (n, d), read as float32. D : (n, k) float32, squared distances; with spherical=True inner products of x with
        the centroids. I : (n, k) int64; -1 where there are fewer centroids. Raises what `FastKMeans.predict` raises.
        """
        if self._kmeans is None:
            raise not_fitted("Must call train() before searching.")
        x, k = np.ascontiguousarray(x, np.float32), integer("k", k)
        if k == 1:
            distances, labels = (found[:, None] for found in self._kmeans.assign(x))
        else:
            distances, labels = self._nearest(x, k)
        if self._kmeans.spherical:
            chosen = self._kmeans.centroids[labels]  # those of -1 are overwritten
            products = np.einsum("nd,nmd->nm", x, chosen, dtype=np.float64, casting="unsafe").astype(np.float32)
            distances = np.where(labels < 0, -_FARTHEST, products)
        return distances, labels

    def _nearest(self, x: npt.NDArray[np.float32], k: int) -> _Found:
        """By all distances: those to one centroid after the other, as the core has them."""
        assert self._kmeans is not None
        centroids, some = self._kmeans.centroids, min(k, self.ntotal)
        one = FastKMeans(self.d, 1, gpu=self._kmeans.gpu, spherical=self._kmeans.spherical)
        distances = np.full((len(x), k), _FARTHEST, np.float32)
        labels = np.full((len(x), k), -1, np.int64)
        step = max(1, _DISTANCES_AT_A_TIME // self.ntotal)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            to_all = np.empty((len(x[rows]), self.ntotal))
            for c in range(self.ntotal):
                one.centroids = centroids[c : c + 1]
                to_all[:, c] = one._predict(x[rows], distances=True)[0]["distances"]
            labels[rows, :some] = to_all.argsort(axis=1, kind="stable")[:, :some]
            distances[rows, :some] = np.take_along_axis(to_all, labels[rows, :some], axis=1)
        return distances, labels
