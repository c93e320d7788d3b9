# SPDX-License-Identifier: Apache-2.0
"""Euclidean distances of all pairs of rows and centers, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]

_ELEMENTS = 2**20  # of a block's largest matrix: 8 MiB
# Below this share of |x|^2 + |c|^2 the product's rounding shows in |x|^2 + |c|^2 - 2 <x, c>, and differences are taken.
_NEAR = 1e-4


def distances(rows: Matrix, centers: Matrix, dtype: Any) -> Matrix:
    """|x - c| for rows (n, d) and centers (k, d): (n, k) of `dtype`, 0 where they are equal."""
    origin = np.asarray(centers, np.float64).mean(axis=0)  # an offset of all costs digits of the products
    c = centers - origin
    found = np.empty((len(rows), len(c)), dtype)
    step = max(1, _ELEMENTS // max(c.shape))
    for start in range(0, len(rows), step):
        x = rows[start : start + step] - origin
        found[start : start + step] = np.sqrt(_squared(x, c))
    return found


def _squared(x: Matrix, c: Matrix) -> Matrix:
    lengths = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", c, c)
    squared: Matrix = lengths - 2 * (x @ c.T)
    of_row, of_center = np.nonzero(squared <= _NEAR * lengths)
    step = max(1, _ELEMENTS // x.shape[1])
    for start in range(0, len(of_row), step):
        i, j = of_row[start : start + step], of_center[start : start + step]
        apart = x[i] - c[j]
        squared[i, j] = np.einsum("ij,ij->i", apart, apart)
    return squared
