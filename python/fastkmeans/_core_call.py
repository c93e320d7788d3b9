# SPDX-License-Identifier: Apache-2.0
"""Calls of the compiled core by what is not `FastKMeans`, with the same options of where and how to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, _input
from .kmeans import FastKMeans


class Core:
    """The core for rows of d columns; device, n_threads, memory_limit: checked and used as by `FastKMeans`."""

    def __init__(self, d: int, *, device: Any, n_threads: int | None, memory_limit: int | float | None) -> None:
        self._d = d
        self._options = FastKMeans(d, 1, device=device, n_threads=n_threads, memory_limit=memory_limit)
        self._device = self._options._device()

    def read(self, X: Any) -> _input.Rows:
        """X (n, d), n >= 1, where the core will read it; errors as of `_input.read`."""
        return _input.read(X, self._d, "X", device=self._device)

    def fit(
        self,
        rows: _input.Rows,
        *,
        k: int,
        niter: int,
        tol: float,
        seed: int = 0,
        nredo: int = 1,
        init: str | npt.NDArray[Any] = "random",
        weights: npt.NDArray[np.float64] | None = None,
        callback: Callable[[_core.IterationStats], object] | None = None,
    ) -> _core._FitResult:
        """All rows are used, and get labels; init: a method, or (k, d), float32 or float64; weights (n,)."""
        method, start = (init, None) if isinstance(init, str) else ("random", init)
        return _core.fit(
            rows.array,
            rows.dtype,
            k=k,
            niter=niter,
            tol=tol,
            seed=seed,
            max_points_per_centroid=None,
            nredo=nredo,
            **_input.as_init(None if start is None else _input.Rows(start, start.dtype.name)),
            init_method=method,
            weights=weights,
            labels=True,
            callback=callback,
            **self._options._execution(rows, self._device),
        )

    def predict(
        self, rows: _input.Rows, centroids: npt.NDArray[np.float32], distances: bool = False
    ) -> _core._Prediction:
        """The nearest of centroids (k, d) for each row, and D to it if asked for."""
        execution = self._options._execution(rows, self._device)
        return _core.predict(rows.array, rows.dtype, centroids, "float32", distances=distances, **execution)
